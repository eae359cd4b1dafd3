"""Write permission and disk space are checked before the first step of a run."""

from __future__ import annotations

import collections
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import train
from trainer.startup import disk_space

Usage = collections.namedtuple("Usage", "total used free")


def with_free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda folder: Usage(10**12, 0, free))


@pytest.fixture
def config(write_config: Callable[..., str], tmp_path: Path) -> str:
    """A run with 6 checkpoints of 2.5 MB and an export of 0.4 MB."""
    return write_config(
        save_folder=str(tmp_path / "checkpoints"),
        save_interval="1ba",
        callbacks={"hf_export": {"folder": str(tmp_path / "export"), "dtype": "bfloat16"}},
    )


def test_a_disk_without_room_for_a_checkpoint_and_the_export_is_refused(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free_bytes(monkeypatch, 2_400_000)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    message = (
        f"the disk of save_folder '{tmp_path / 'checkpoints'}' and callbacks.hf_export.folder "
        f"'{tmp_path / 'export'}' has 2.4 MB free, but a checkpoint of 2.5 MB and the export of 0.4 MB take "
        "2.9 MB. Free some space, or give another folder."
    )
    for more in ([], ["--dry-run"]):
        assert train.main([config, *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_that_will_not_all_fit_are_told(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free_bytes(monkeypatch, 8_000_000)
    assert train.main([config, "save_num_checkpoints_to_keep=1"]) == 0  # two at most, and the export
    assert "take up to" not in capsys.readouterr().err
    assert train.main([config, "save_folder=null", "max_duration=3ba"]) == 0
    assert "take up to" not in capsys.readouterr().err
    folder = "save_folder=" + config.replace("train.yaml", "all")
    assert train.main([config, folder]) == 0
    assert "take up to 15.2 MB (6 checkpoints of 2.5 MB). Set save_num_checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["save_folder", "callbacks.hf_export.folder", "callbacks.domain_eval.output"])
def test_a_place_that_is_not_writable_is_refused_at_once(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    place = str(tmp_path / "file" / "runs" / "{run_name}")
    config = write_config(callbacks={"domain_eval": {"tasks": []}} if "domain_eval" in key else {})
    assert train.main([config, f"{key}={place}"]) == 2
    err = capsys.readouterr().err
    assert f"{key}: nothing can be written in '{tmp_path / 'file'}': NotADirectoryError" in err
    assert "step 1" not in err


@pytest.mark.slow
def test_a_generation_configuration_that_cannot_be_saved_again_is_exported(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    said = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**said, "temperature": 0.6}))
    config = write_config(
        model={"pretrained_model_name_or_path": str(base)},
        callbacks={"hf_export": {"folder": str(tmp_path / "export")}},
        max_duration="3ba",
        save_folder=str(tmp_path / "checkpoints"),
    )
    assert train.main([config]) == 0
    from plugins.commands.main import main

    assert main(["export", config, "--output", str(tmp_path / "by-command")]) == 0
    for export in ("export", "by-command"):
        written = (tmp_path / export / "generation_config.json").read_bytes()
        assert written == (base / "generation_config.json").read_bytes()


def test_what_an_export_cannot_write_is_refused_before_the_first_step(
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import GenerationConfig

    def fail(self: Any, path: str) -> None:
        raise ValueError("no such value")

    monkeypatch.setattr(GenerationConfig, "to_json_file", fail)
    config = write_config(callbacks={"hf_export": {"folder": str(tmp_path / "export")}})
    assert train.main([config]) == 2
    err = capsys.readouterr().err
    assert "the export at the end of the run could not be written: ValueError: no such value." in err
    assert "step 1" not in err
    assert not [path for path in tmp_path.iterdir() if "try" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598"), True),
        (OSError(28, "No space left on device", "/nowhere/ep0-ba2-rank0.pt"), True),
        (RuntimeError('SafetensorError: IoError(Os { code: 28, message: "No space left on device" })'), True),
        (RuntimeError("CUDA out of memory"), False),
    ],
)
def test_a_disk_that_fills_up_is_told(
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    is_full: bool,
) -> None:
    import torch

    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "save", fail)
    config = write_config(save_folder=str(tmp_path / "run"), max_duration="3ba")
    assert train.main([config]) == 1
    err = capsys.readouterr().err
    assert "There is no sound checkpoint in save_folder" in err
    if not is_full:
        assert "RuntimeError: CUDA out of memory" in err
        assert "the disk is full" not in err
        return
    assert "the disk is full, or its quota used up: " in err
    assert f"({str(error).splitlines()[0]}). Free some space, or lower save_num_checkpoints_to_keep;" in err
    assert "autoresume: true the same command resumes from the newest sound checkpoint" in err


@pytest.mark.slow
def test_an_export_that_fails_behind_the_last_step_is_told_with_the_checkpoint_that_is_there(
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from plugins.callbacks import export_while_training as hf_export

    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(30, "Read-only file system", "/export/model.safetensors")

    monkeypatch.setattr(hf_export, "write_export", fail)
    config = write_config(
        save_folder=str(tmp_path / "run"),
        max_duration="2ba",
        callbacks={"hf_export": {"folder": str(tmp_path / "export")}},
    )
    assert train.main([config]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        "TrainingError: all 2 steps are trained, but an action after the last one failed. The newest "
        f"checkpoint is {tmp_path}/run/ep"
    )
    assert "-ba2" in said
    assert "`tutelage export FILE.yaml --output DIR` makes a model of it, and with autoresume: true" in said
    assert "/export/model.safetensors: read-only file system. Use a folder that you can write to." in said
