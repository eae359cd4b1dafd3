"""Checkpoints on disk: finding whole ones, naming damaged ones, loading them as data."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
import torch

from schemas.errors import ConfigError, TrainingError
from trainer.checkpoints.checkpoint_files import (
    check_checkpoint,
    find_damage,
    keep_counting,
    list_checkpoints,
    read_checkpoint,
)
from trainer.checkpoints.unpickling import data_only


def save(folder: Path, *batches: int) -> list[Path]:
    paths = [folder / f"ep0-ba{batch}-rank0.pt" for batch in batches]
    for batch, path in zip(batches, paths, strict=True):
        torch.save({"state": {"model": {"w": torch.full((64,), float(batch))}}}, path)
    return paths


def test_checkpoints_are_listed_by_step_and_other_files_are_none(tmp_path: Path) -> None:
    paths = save(tmp_path, 10, 9, 100)
    for name in ("latest-rank0.pt", "metrics.jsonl", "ep0-ba11-rank0.pt.damaged", "ep0-ba12-rank1.pt"):
        (tmp_path / name).write_text("")
    (tmp_path / "ep0-ba50").mkdir()  # a sharded checkpoint
    listed = [os.path.basename(path) for path in list_checkpoints(str(tmp_path))]
    assert listed == ["ep0-ba9-rank0.pt", "ep0-ba10-rank0.pt", "ep0-ba50", "ep0-ba100-rank0.pt"]
    assert list_checkpoints(str(tmp_path / "nowhere")) == []
    assert find_damage(str(paths[0])) is None


def test_checkpoints_of_before_a_resumption_are_counted_up_to_its_step(tmp_path: Path) -> None:
    save(tmp_path, 2, 4, 6)
    (tmp_path / "ep0-ba3").mkdir()
    saver = SimpleNamespace(saved_checkpoints=[])
    keep_counting(saver, str(tmp_path), up_to_batch=4, sharded=False)
    assert [os.path.basename(path) for path in saver.saved_checkpoints] == [
        "ep0-ba2-rank0.pt",
        "ep0-ba4-rank0.pt",
    ]
    sharded = SimpleNamespace(saved_checkpoints=[])
    keep_counting(sharded, str(tmp_path), up_to_batch=4, sharded=True)
    assert sharded.saved_checkpoints == [str(tmp_path / "ep0-ba3" / "__0_0.distcp")]


def test_a_hugging_face_model_as_load_path_is_named_with_its_cure(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_bytes(b"{}")
    fsspec.filesystem("memory").put(str(model), "/hub/model", recursive=True)
    for path, base in (
        (str(model), str(model)),
        (str(model / "model.safetensors"), str(model)),
        ("memory://hub/model", "memory://hub/model"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_checkpoint(path, None if base == str(model) else str(tmp_path / "copies"))
        assert str(caught.value) == (
            f"load_path {path!r} is a Hugging Face model, no checkpoint. To begin from its weights, set "
            f"model.pretrained_model_name_or_path to {base!r}, and leave this out."
        )
    assert not (tmp_path / "copies").exists()  # nothing is fetched


def test_a_folder_of_checkpoints_as_load_path_is_named_with_the_newest(tmp_path: Path) -> None:
    _, newest = save(tmp_path, 2, 4)
    with pytest.raises(ConfigError, match="is a folder of checkpoints") as caught:
        check_checkpoint(str(tmp_path))
    assert str(newest) in str(caught.value)


def test_a_checkpoint_asked_for_by_name_is_looked_at_first(tmp_path: Path) -> None:
    (path,) = save(tmp_path, 2)
    check_checkpoint(str(tmp_path / "ep0-ba2-rank{rank}.pt"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TrainingError, match=r"load_path .* is damaged: ep0-ba2-rank0\.pt is cut short"):
        check_checkpoint(str(path))
    with pytest.raises(ConfigError, match="no such checkpoint"):
        check_checkpoint(str(tmp_path / "ep0-ba3-rank0.pt"))


class Act:
    """Payload of a hostile checkpoint: pickle makes a folder when it unpickles this object."""

    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


def test_a_checkpoint_that_acts_when_read_is_refused(tmp_path: Path) -> None:
    from composer.utils import checkpoint

    path, marker = tmp_path / "ep0-ba1-rank0.pt", tmp_path / "acted"
    torch.save({"state": Act(str(marker))}, path)
    checkpoint.safe_torch_load(path)
    marker.rmdir()  # Composer's own loader ran the payload; ours does not
    with pytest.raises(TrainingError) as raised, data_only(str(path)):
        checkpoint.safe_torch_load(path)
    assert str(raised.value).startswith(
        f"checkpoint {path} holds posix.mkdir, which is not data, and is not loaded"
    )
    with pytest.raises(TrainingError, match=r"holds posix\.mkdir, which is not data"):
        read_checkpoint(str(path))
    assert not marker.exists()


def test_metadata_that_acts_when_read_is_refused(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    marker = tmp_path / "acted"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Act(str(marker))))
    theirs = FileSystemReader.read_metadata
    with (
        pytest.raises(TrainingError, match=r"holds posix\.mkdir, which is not data"),
        data_only(str(tmp_path)),
    ):
        FileSystemReader(str(tmp_path)).read_metadata()
    assert (find_damage(str(tmp_path)) or "").startswith(".metadata cannot be read: it names posix.mkdir")
    assert not marker.exists()
    assert FileSystemReader.read_metadata is theirs


def test_a_sharded_checkpoint_that_acts_when_read_is_refused(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.state_dict_loader import load
    from torch.distributed.checkpoint.state_dict_saver import save

    marker, wanted = tmp_path / "acted", {"number": 0, "act": None}
    folder = str(tmp_path / "ep0-ba2")
    save({"number": 5, "act": Act(str(marker))}, checkpoint_id=folder, no_dist=True)
    with data_only(folder):
        load(number := {"number": 0}, checkpoint_id=folder, no_dist=True)
    assert number == {"number": 5}
    with pytest.raises(TrainingError, match=r"ep0-ba2 holds posix\.mkdir, which is not data"):
        with data_only(folder), data_only(folder):
            load(wanted, checkpoint_id=folder, no_dist=True)
    assert not marker.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    load(wanted, checkpoint_id=folder, no_dist=True)
    assert marker.exists()  # torch's own loader runs the payload
