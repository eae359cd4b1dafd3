"""llm-foundry finds our streams and callbacks by name.

The tests of its registries' contract run everywhere. The tests of the real package run if
TUTELAGE_FOUNDRY_PYTHON names an interpreter that has it; tests/pipelines/store/test_llm_foundry.py says how
to make one.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SEQ_LEN = 32

TRAIN = """
import json, sys
from llmfoundry.command_utils.train import train_from_yaml

trainer = train_from_yaml(sys.argv[1])
print("ANSWER " + json.dumps([int(trainer.state.timestamp.batch), int(trainer.state.timestamp.token)]))
trainer.close()
"""


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {
        each.name: each
        for each in importlib.metadata.entry_points(group=group)
        if each.dist is not None and each.dist.name == "tutelage"
    }


def test_its_registries_find_a_function_of_loaders_and_classes_of_callbacks() -> None:
    """llm-foundry 0.22 calls a loader with the YAML's keys, tokenizer and device_batch_size. It refuses a
    callback that is not a subclass of Composer's Callback."""
    from composer.core import Callback

    from trainer.data.foundry_loader import build_dataloader

    loaders = entry_points("llmfoundry_dataloaders")
    assert {name: each.load() for name, each in loaders.items()} == {"tutelage": build_dataloader}
    callbacks = {name: each.load() for name, each in entry_points("llmfoundry_callbacks").items()}
    assert set(callbacks) == {"domain_eval", "hf_export"}
    assert all(issubclass(kind, Callback) for kind in callbacks.values())


def test_the_loader_gives_batches_of_the_size_asked_for(
    make_corpus: Callable[..., str], tiny_model: str, tmp_path: Path
) -> None:
    from trainer.data.foundry_loader import build_dataloader

    def rows(*ids: int) -> list[tuple[list[int], list[int]]]:
        return [([row] * SEQ_LEN, [SEQ_LEN]) for row in range(*ids)]

    corpus = make_corpus({"domain": [rows(100, 130)], "general": [rows(200, 260)]})
    streams = {"domain": {"corpus": corpus, "manifest": 1}, "general": {"corpus": corpus, "manifest": 1}}
    spec = build_dataloader(
        tokenizer=load_tokenizer(tiny_model),
        device_batch_size=6,
        dataset={"streams": streams, "cache_dir": str(tmp_path / "cache")},
    )
    batches = list(spec.dataloader)
    assert len(batches) == 15
    seen = sorted(row for batch in batches for row in batch["input_ids"][:, 0].tolist())
    assert seen == [*range(100, 130), *range(200, 260)]
    assert spec.get_num_tokens_in_batch(batches[0]) == 6 * SEQ_LEN


def test_a_stream_without_a_manifest_and_a_foreign_tokenizer_are_refused(
    make_corpus: Callable[..., str], tiny_model: str
) -> None:
    from trainer.data.foundry_loader import build_dataloader

    corpus = make_corpus({"domain": [[([100 + row] * 32, [32]) for row in range(8)]]}, fingerprint="0" * 32)
    tokenizer = load_tokenizer(tiny_model)
    with pytest.raises(ConfigError, match=r"train_loader\.dataset\.streams\.domain\.manifest is missing"):
        build_dataloader(tokenizer, 2, dataset={"streams": {"domain": {"corpus": corpus}}})
    with pytest.raises(ConfigError, match=r"train_loader: .*'dataset\.sufle'"):
        build_dataloader(tokenizer, 2, dataset={"sufle": True, "streams": {"domain": {"corpus": corpus}}})
    with pytest.raises(ConfigError, match="did not make the corpus"):
        build_dataloader(tokenizer, 2, dataset={"streams": {"domain": {"corpus": corpus, "manifest": 1}}})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_llm_foundry_trains_on_our_streams_with_our_callbacks(
    corpus: str, tiny_model: str, tmp_path: Path
) -> None:
    python = os.environ.get("TUTELAGE_FOUNDRY_PYTHON")
    if not python:
        pytest.skip("TUTELAGE_FOUNDRY_PYTHON names no interpreter with llm-foundry")
    rows = [{"input": f"the cell {n}", "options": ["acid", "gene"], "gold_index": n % 2} for n in range(4)]
    (tmp_path / "genes.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = {
        "run_name": "of-foundry",
        "max_seq_len": SEQ_LEN,
        "model": {"name": "hf_causal_lm", "pretrained_model_name_or_path": tiny_model, "init_device": "cpu"},
        "tokenizer": {"name": tiny_model, "kwargs": {}},
        "train_loader": {
            "name": "tutelage",
            "dataset": {
                "streams": {"domain": {"corpus": corpus, "manifest": 2}},
                "cache_dir": str(tmp_path / "cache"),
            },
        },
        "optimizer": {"name": "decoupled_adamw", "lr": 1e-3},
        "scheduler": {"name": "constant_with_warmup", "t_warmup": "2ba"},
        "callbacks": {
            "domain_eval": {"tasks": str(tmp_path / "genes.jsonl"), "interval": "3ba"},
            "hf_export": {"folder": str(tmp_path / "export-{run_name}"), "dtype": "float32"},
        },
        "precision": "fp32",
        "max_duration": "3ba",
        "global_train_batch_size": 4,
        "device_train_microbatch_size": 2,
        "device_eval_batch_size": 4,
        "python_log_level": "error",
    }
    (tmp_path / "train.yaml").write_text(json.dumps(config))
    # The contents of an installed wheel: the packages, and metadata that name the entry points.
    own = importlib.metadata.distribution("tutelage")
    metadata = tmp_path / "site" / "tutelage-0.dist-info"
    metadata.mkdir(parents=True)
    for name in ("METADATA", "entry_points.txt"):
        (metadata / name).write_text(own.read_text(name) or "")
    done = subprocess.run(
        [python, "-c", TRAIN, str(tmp_path / "train.yaml")],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{metadata.parent}:{ROOT}",
        },
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stderr[-4000:]
    assert json.loads(answers[-1].removeprefix("ANSWER ")) == [3, 3 * 4 * SEQ_LEN]
    assert "domain_eval  batch 3  genes" in done.stdout
    export = tmp_path / "export-of-foundry"
    assert {path.name for path in export.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
