"""The checkpoint that a run resumes from: the newest sound one; damaged ones are renamed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from schemas.errors import TrainingError
from tests.trainer.checkpoints.test_checkpoint_files import save
from trainer.checkpoints.checkpoint_files import list_checkpoints
from trainer.checkpoints.resume_from import LATEST, settle_checkpoints


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(torch.full((4,), 4.0).numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_truncated_and_a_changed_checkpoint_are_set_aside_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, sound, changed, truncated = save(tmp_path, 1, 2, 4, 6)
    flip_a_byte(changed)
    truncated.write_bytes(truncated.read_bytes()[:-100])
    (tmp_path / LATEST).symlink_to(truncated.name)
    assert settle_checkpoints(str(tmp_path)) == str(sound)
    assert os.readlink(tmp_path / LATEST) == sound.name
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"checkpoint {truncated} is damaged: {truncated.name} is cut short")
    assert said[1].startswith(f"checkpoint {changed} is damaged: {changed.name}: the checksum of")
    assert "Renamed to ep0-ba4-rank0.pt.damaged; the run resumes from the one before it." in said[1]
    assert not changed.exists() and not truncated.exists()
    assert (tmp_path / "ep0-ba4-rank0.pt.damaged").exists()
    assert settle_checkpoints(str(tmp_path)) == str(sound)
    assert capsys.readouterr().err == ""


def test_a_link_that_a_crash_took_away_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (newest,) = save(tmp_path, 3)
    assert settle_checkpoints(str(tmp_path)) == str(newest)
    assert os.readlink(tmp_path / LATEST) == newest.name
    assert capsys.readouterr().err == ""


def test_a_run_killed_in_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    (only,) = save(tmp_path, 2)
    only.write_bytes(b"PK")
    (tmp_path / LATEST).symlink_to(only.name)
    assert settle_checkpoints(str(tmp_path)) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ep0-ba2-rank0.pt.damaged"]
    assert settle_checkpoints(str(tmp_path / "nowhere")) is None


def test_several_damaged_checkpoints_and_no_sound_one_are_left_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in save(tmp_path, 2, 4):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"ba4-rank0\.pt is damaged(?s:.*)No sound checkpoint is left"):
        settle_checkpoints(str(tmp_path))
    assert len(list_checkpoints(str(tmp_path))) == 2
    assert capsys.readouterr().err == ""
