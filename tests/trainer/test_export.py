"""`tutelage export` writes from a checkpoint the same files as the callback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from plugins.commands.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(write_config: Callable[..., str], tmp_path: Path) -> str:
    """The configuration of a run of 4 steps with checkpoints, an evaluation and an export."""
    rows = [
        {"input": "the cell binds", "options": ["a dose", "acid"], "gold_index": number % 2}
        for number in range(4)
    ]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = write_config(
        callbacks={
            "hf_export": {"folder": str(tmp_path / "exported"), "dtype": "float32"},
            "domain_eval": {"tasks": [str(tmp_path / "quiz.jsonl")], "output": str(tmp_path / "{run_name}")},
        },
        max_duration="4ba",
        save_folder=str(tmp_path / "checkpoints"),
        save_interval="2ba",
    )
    assert main(["train", config]) == 0
    return config


def test_a_checkpoint_gives_what_the_callback_wrote(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], corpus: str
) -> None:
    output = tmp_path / "by-command"
    capsys.readouterr()
    assert main(["export", trained, "--output", str(output), "--dtype", "float32", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["steps"], Path(done["checkpoint"]).name) == (4, "ep0-ba4-rank0.pt")
    callback = tmp_path / "exported"
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"):
        assert (output / name).read_bytes() == (callback / name).read_bytes(), name
    lines = [(folder / "README.md").read_text().splitlines() for folder in (output, callback)]
    assert [line for line in lines[0] if line != "| checkpoint | ep0-ba4-rank0.pt |"] == lines[1]
    assert f"| stream domain | {corpus}, stream domain, manifest 2" in "\n".join(lines[1])
    assert f"| quiz/accuracy | {done['scores']['quiz/accuracy']:.4f} |" in lines[1]

    fsspec.filesystem("memory").put(done["checkpoint"], "/run/ep0-ba4-rank0.pt")
    for where in ("--checkpoint=memory://run/ep0-ba4-rank0.pt", "save_folder=memory://run"):
        assert main(["export", trained, "--output", str(output), "--dtype", "float32", where]) == 0
        assert "memory://run/ep0-ba4-rank0.pt after 4 steps" in capsys.readouterr().err
        weights = [(folder / "model.safetensors").read_bytes() for folder in (output, callback)]
        assert weights[0] == weights[1]


def test_a_named_checkpoint_is_exported_and_a_damaged_newest_one_passed_over(
    trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"
    newest = folder / "ep0-ba4-rank0.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    output = str(tmp_path / "output")
    assert main(["export", trained, "--output", output]) == 0
    told = capsys.readouterr().err
    assert f"checkpoint {newest} is damaged" in told
    assert "ep0-ba2-rank0.pt after 2 steps" in told
    assert main(["export", trained, "--output", output, "--checkpoint", str(newest)]) == 1
    assert f"--checkpoint '{newest}' is damaged" in capsys.readouterr().err
    (folder / "ep0-ba2-rank0.pt").unlink()
    assert main(["export", trained, "--output", output]) == 1
    assert "holds no sound checkpoint" in capsys.readouterr().err
    assert (tmp_path / "output" / "model.safetensors").exists()  # the last good export


def test_what_does_not_fit_is_named(trained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = [
        "export",
        trained,
        "--output",
        str(tmp_path / "output"),
        "model.config_overrides.rope_theta=5.0",
    ]
    named = f"--checkpoint={tmp_path / 'checkpoints' / 'ep0-ba2-rank0.pt'}"
    for more in ([], [named], [named, "save_folder=null"]):
        assert main([*refused, *more]) == 2
        assert (
            'model.config_overrides was {} and is {"rope_theta": 5.0}. Its checkpoints'
            in capsys.readouterr().err
        )
    (tmp_path / "checkpoints" / "run.json").unlink()
    for more, message in {
        "model.config_overrides.num_hidden_layers=1": "has weights 'model.layers.1.",
        "model.config_overrides.num_hidden_layers=3": "lacks weights 'model.layers.2.",
        "model.config_overrides.intermediate_size=64": "have shape (128, 64), expected (64, 64)",
        "--dtype=fp8": "Available: bfloat16, float16, float32",
        "--checkpoint=nowhere.pt": "--checkpoint 'nowhere.pt': no such checkpoint",
        "--checkpoint=memory://nowhere/ep0-ba4": "'memory://nowhere/ep0-ba4': no such checkpoint",
        "save_folder=null": "Name one with --checkpoint",
    }.items():
        assert main(["export", trained, "--output", str(tmp_path / "output"), more]) in (1, 2)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "output").exists()
