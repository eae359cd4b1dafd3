"""`tutelage train` from YAML to export, and its error messages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_learns_and_its_export_answers_like_the_trained_model(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(tmp_path / "runs" / "{run_name}" / "export")
    config = write_config(
        callbacks={"hf_export": {"folder": folder, "dtype": "float32"}},
        save_folder=str(tmp_path / "runs" / "{run_name}" / "checkpoints"),
        save_interval="6ba",
    )
    assert train.main([config, "max_duration=12ba", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert (result["steps"], result["tokens"], result["run_name"]) == (12, 12 * 4 * 32, "tiny")
    assert result["manifests"] == {"domain": 2, "general": 2}
    assert result["loss"] < 7.5  # it starts near ln 2048 = 7.62
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    said = "\n".join(each.get("text", "") for each in events)
    assert "tiny: 12ba of 4 rows × 32 tokens; an epoch is 108 rows: domain 50.0%" in said
    assert "done: 12 steps, 1,536 tokens" in said
    first = next(each for each in events if each["event"] == "progress")
    assert (first["step"], first["done"], first["total"], first["tokens"]) == ("train", 1, 12, 4 * 32)

    export = AutoModelForCausalLM.from_pretrained(result["export"])
    checkpoint = torch.load(
        next(Path(result["checkpoints"]).glob("ep*-ba12-rank0.pt")), map_location="cpu", weights_only=False
    )
    weights = checkpoint["state"]["model"]
    trained = AutoModelForCausalLM.from_config(export.config)
    trained.load_state_dict({name.removeprefix("model."): w for name, w in weights.items()}, strict=False)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(export(ids).logits, trained.eval()(ids).logits)
    assert AutoTokenizer.from_pretrained(result["export"])("the cell").input_ids


@pytest.mark.slow
def test_autoresume_goes_on_with_the_same_manifests(
    write_config: Callable[..., str],
    make_corpus: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(tmp_path / "checkpoints")
    config = write_config(save_folder=folder, save_interval="2ba", autoresume=True)
    unbroken = write_and_train(config, capsys, [f"save_folder={tmp_path / 'unbroken'}"])
    # Schedules depend on the duration: hold it constant so that a stopped run is a prefix.
    first = write_and_train(config, capsys, ["max_duration=4ba", "scheduler.t_max=6ba"])
    Path(folder, "manifests.json").write_text(json.dumps({"domain": 1, "general": 1}))
    second = write_and_train(config, capsys, [])
    assert (first["steps"], second["steps"]) == (4, 6)
    assert first["manifests"] == unbroken["manifests"] == {"domain": 2, "general": 2}
    assert second["manifests"] == {"domain": 1, "general": 1}


@pytest.mark.slow
def test_a_resumed_run_ends_like_an_unbroken_one(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(
        autoresume=True, save_interval="2ba", scheduler={"name": "constant_with_warmup", "t_warmup": "2ba"}
    )
    unbroken = write_and_train(config, capsys, [f"save_folder={tmp_path / 'unbroken'}"])
    write_and_train(config, capsys, [f"save_folder={tmp_path / 'broken'}", "max_duration=4ba"])
    resumed = write_and_train(config, capsys, [f"save_folder={tmp_path / 'broken'}"])
    assert resumed["loss"] == pytest.approx(unbroken["loss"], abs=1e-6)


def write_and_train(config: str, capsys: pytest.CaptureFixture[str], overrides: list[str]) -> dict[str, Any]:
    status = train.main([config, *overrides, "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return dict(json.loads(out.splitlines()[-1]))


@pytest.mark.slow
def test_a_finished_run_started_again_is_done_and_writes_an_export_that_is_missing(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "export"
    config = write_config(
        autoresume=True,
        save_folder=str(tmp_path / "checkpoints"),
        callbacks={"hf_export": {"folder": str(export), "interval": "3ba"}},
    )
    first = write_and_train(config, capsys, [])
    expected = {path.name: path.read_bytes() for path in export.iterdir()}
    for lost in ("nothing", "all", "the end"):
        if lost == "all":
            shutil.rmtree(export)
        if lost == "the end":  # the newest is that of step 3
            (export / "README.md").write_text("| steps | 3 |\n")
            (export / "model.safetensors").write_bytes(b"")
        assert train.main([config, "--json"]) == 0
        out, err = capsys.readouterr()
        assert "done before this start: 6 steps, 768 tokens, nothing is left to train" in err
        again = json.loads(out.splitlines()[-1])
        assert {key: again[key] for key in ("steps", "tokens", "export", "checkpoints")} == {
            key: first[key] for key in ("steps", "tokens", "export", "checkpoints")
        }
        assert {path.name: path.read_bytes() for path in export.iterdir()} == expected, lost
    assert train.main([config, "max_duration=4ba"]) == 0


@pytest.mark.slow
def test_checkpoints_of_another_run_are_not_written_over(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(save_folder=str(tmp_path / "checkpoints"), max_duration="1ba")
    assert train.main([config]) == 0
    assert train.main([config]) == 1
    assert "holds checkpoints of an earlier run. Set autoresume: true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"name": "adamw", "learning_rate": 1}},
            "key 'optimizer.learning_rate' is unknown.",
        ),
        (
            {"optimizer": {"name": "adamw", "lr": -1}},
            "optimizer: Invalid learning rate: -1",
        ),
        (
            {"scheduler": {"name": "cosine_with_warmup"}},
            "key 'scheduler.t_warmup' is missing.",
        ),
        (
            {"scheduler": {"name": "cosine_with_warmup", "t_warmup": "ten"}},
            "scheduler.t_warmup is 'ten'; expected a number and a unit, such as 100ba",
        ),
        (
            {"algorithms": {"gradient_cliping": {}}},
            "algorithms: algorithm 'gradient_cliping' is unknown. Did you mean 'gradient_clipping'?",
        ),
        (
            {"callbacks": {"hf_exports": {}}},
            "callbacks: callback 'hf_exports' is unknown. Did you mean 'hf_export'?",
        ),
        ({"callbacks": {"hf_export": {}}}, "key 'callbacks.hf_export.folder' is missing."),
        (
            {"callbacks": {"hf_export": {"folder": "x", "dtype": "fp8"}}},
            "callbacks.hf_export.dtype: dtype 'fp8' is unknown. Available: bfloat16, float16, float32.",
        ),
        ({"loggers": {"tensorbord": {}}}, "Did you mean 'tensorboard'?"),
        ({"parallelism_config": {"fsdp2": {}}}, "parallelism_config has the key 'fsdp2'"),
        ({"global_train_batch_size": 500}, "an epoch has 108 rows, too few"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_cure(
    write_config: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert train.main([write_config(**changes)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_whose_package_is_not_installed_is_refused_by_its_key(
    write_config: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    logger: str,
) -> None:
    for name in [each for each in sys.modules if each.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, logger, None)  # each logger has its package's name
    assert train.main([write_config(loggers={logger: {}})]) == 2
    assert f"loggers.{logger} needs a package that is not installed" in capsys.readouterr().err


def test_a_tokenizer_that_did_not_make_the_corpus_is_refused(
    write_config: Callable[..., str], make_corpus: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_corpus({"domain": [[([3] * 32, [32])] * 8]}, name="other", fingerprint="0" * 32)
    config = write_config(train_loader={"dataset": {"streams": {"domain": {"corpus": other}}}})
    assert train.main([config]) == 2
    err = capsys.readouterr().err
    assert f"did not make the corpus {other!r}: " in err
    assert f"that was 'tiny' (fingerprint {'0' * 32})" in err


def test_a_model_with_fewer_embeddings_than_token_ids_is_refused(
    write_config: Callable[..., str], tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {
        "pretrained_model_name_or_path": tiny_model,
        "pretrained": False,
        "config_overrides": {"vocab_size": 64},
    }
    assert train.main([write_config(model=model)]) == 2
    assert "has 64 rows. Use the model's own tokenizer" in capsys.readouterr().err


@pytest.mark.slow
def test_auto_microbatch_is_settled_on_a_cpu(
    write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([write_config(max_duration="1ba")]) == 0
    assert (
        "device_train_microbatch_size: auto is 4 row(s) of 32 tokens on this CPU." in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_mistake_is_told_before_torch_is_imported(write_config: Callable[..., str], corpus: str) -> None:
    shard = sorted(Path(corpus).rglob("*.mds.zstd"))[0]
    shard.unlink()
    script = (
        "import sys; from trainer.train import main; status = main(sys.argv[1:]); "
        "print('torch' in sys.modules, status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, write_config()], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "False 1", done.stderr
    assert f"{shard.name}: shard is missing. Restore it from a copy, or pin an older manifest." in done.stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "trainer" / "yamls").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_configurations_are_valid_and_name_known_things(path: Path) -> None:
    from plugins.callbacks import CALLBACKS
    from schemas.config import load_config
    from schemas.train_config import TrainConfig
    from trainer.startup.config_checks import check_named_arguments

    config = load_config(TrainConfig, path)
    check_named_arguments(config)
    assert set(config.callbacks) <= set(CALLBACKS.names())
    assert yaml.safe_load(path.read_text())["optimizer"]["lr"] == config.optimizer.arguments["lr"]
