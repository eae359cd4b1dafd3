"""Checkpoints away from this machine: in fsspec's memory file system, and in a store behind HTTP."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from schemas import storage
from schemas.config import load_config
from schemas.errors import TrainingError
from schemas.train_config import TrainConfig
from tests.trainer.bucket import environment
from tests.trainer.ranks import recorded, run_torchrun
from trainer import train
from trainer.checkpoints import uploads
from trainer.checkpoints.checkpoint_files import is_complete, list_checkpoints
from trainer.checkpoints.resume_from import RunCheckpoints, settle_checkpoints
from trainer.checkpoints.uploads import CheckpointUploads

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    uri = f"memory://{tmp_path.name}/run"
    yield uri
    storage.remove_tree(uri)


def save_sharded(path: Path, value: float) -> None:
    from torch.distributed.checkpoint import FileSystemWriter, save

    save({"w": torch.full((64,), value)}, storage_writer=FileSystemWriter(path), no_dist=True)


def names(uri: str) -> list[str]:
    fs, root = storage.filesystem(uri)
    fs.invalidate_cache()
    return sorted(os.path.basename(name.rstrip("/")) for name in fs.ls(root, detail=False))


def test_a_damaged_checkpoint_is_set_aside_where_it_is_and_the_one_before_it_fetched(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for batch in (2, 4):
        save_sharded(tmp_path / f"ep0-ba{batch}", batch)
    shard = tmp_path / "ep0-ba4" / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-100])
    fs, root = storage.filesystem(folder)
    for batch in (2, 4):
        fs.put(str(tmp_path / f"ep0-ba{batch}"), f"{root}/ep0-ba{batch}", recursive=True)
    (tmp_path / "cut").write_bytes(b"PK")
    storage.upload(str(tmp_path / "cut"), f"{folder}/ep0-ba6-rank0.pt")

    copies = tmp_path / "copies"
    capsys.readouterr()  # torch's warnings
    assert settle_checkpoints(folder, str(copies)) == f"{folder}/ep0-ba2"
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["checkpoint memory"] * 2
    assert f"{folder}/ep0-ba6-rank0.pt is damaged: ep0-ba6-rank0.pt is cut short" in said[0]
    assert f"{folder}/ep0-ba4 is damaged: __0_0.distcp is cut short" in said[1]
    assert names(folder) == ["ep0-ba2", "ep0-ba4.damaged", "ep0-ba6-rank0.pt.damaged"]
    assert names(f"{folder}/ep0-ba4.damaged") == [".metadata", "__0_0.distcp"]
    assert sorted(path.name for path in copies.iterdir()) == ["ep0-ba2", "latest-rank0.pt"]
    assert (copies / "latest-rank0.pt" / ".metadata").exists()


def test_the_newest_k_complete_checkpoints_stay(folder: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    uploader = CheckpointUploads(str(saved), folder, keep=1)

    def upload(*parts: str) -> None:
        uploader.upload_file(None, "ignored", saved.joinpath(*parts))  # type: ignore[arg-type]

    for batch in (2, 4):
        save_sharded(saved / f"ep0-ba{batch}", batch)
    upload("ep0-ba2", ".metadata")
    upload("ep0-ba2", "__0_0.distcp")
    upload("ep0-ba4", ".metadata")
    uploader.finish()
    assert [os.path.basename(path) for path in list_checkpoints(folder)] == ["ep0-ba2", "ep0-ba4"]
    assert is_complete(f"{folder}/ep0-ba2") and not is_complete(f"{folder}/ep0-ba4")
    assert [path.name for path in saved.rglob("*")] == ["ep0-ba4", "__0_0.distcp"]
    upload("ep0-ba4", "__0_0.distcp")
    (tmp_path / "log.txt").write_text("of another callback")
    uploader.upload_file(None, "log.txt", tmp_path / "log.txt")  # type: ignore[arg-type]
    uploader.finish()
    assert names(folder) == ["ep0-ba4"]
    assert list(saved.iterdir()) == []


def test_an_upload_is_tried_again_and_then_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []
    to_fail = 1

    def upload(path: str, uri: str) -> None:
        attempts.append(uri)
        if len(attempts) <= to_fail:
            raise PermissionError("no token")
        fsspec.filesystem("memory").put_file(path, uri)

    monkeypatch.setattr(storage, "upload", upload)
    monkeypatch.setattr(uploads, "_PAUSES_SEC", (0.0, 0.0))
    uploader = CheckpointUploads(str(tmp_path), folder, keep=-1)
    for batch in (2, 4):
        (tmp_path / f"ep0-ba{batch}-rank0.pt").write_bytes(b"weights")
    uploader.upload_file(None, "ignored", tmp_path / "ep0-ba2-rank0.pt")  # type: ignore[arg-type]
    uploader.finish()
    assert names(folder) == ["ep0-ba2-rank0.pt"] and len(attempts) == 2
    to_fail = 9
    uploader.upload_file(None, "ignored", tmp_path / "ep0-ba4-rank0.pt")  # type: ignore[arg-type]
    with pytest.raises(
        TrainingError, match=r"ba4-rank0\.pt could not be uploaded in 3 attempts: Perm.*token"
    ):
        uploader.finish()
    assert (tmp_path / "ep0-ba4-rank0.pt").exists()


@pytest.fixture
def write_remote(write_config: Callable[..., str], corpus: str, tmp_path: Path) -> Callable[..., str]:
    streams = {"domain": {"corpus": corpus}, "general": {"corpus": corpus}}

    def write(folder: str, **changes: Any) -> str:
        settings: dict[str, Any] = {
            "save_folder": folder,
            "save_interval": "2ba",
            "save_num_checkpoints_to_keep": 2,
            "autoresume": True,
            "scheduler": {"name": "constant_with_warmup", "t_warmup": "2ba"},
            "train_loader": {"dataset": {"streams": streams, "cache_dir": str(tmp_path / "cache")}},
        }
        return write_config(**settings | changes)

    return write


def test_two_processes_of_a_machine_do_not_share_a_run(write_remote: Callable[..., str], folder: str) -> None:
    config = load_config(TrainConfig, write_remote(folder), [])
    first, second = RunCheckpoints(config), RunCheckpoints(config)
    first.claim()
    with pytest.raises(TrainingError, match=f"another process .* checkpoints of {re.escape(folder)}"):
        second.claim(wait_sec=0)
    first.release()
    second.claim(wait_sec=0)
    second.release()


@pytest.mark.slow
def test_a_run_goes_on_from_memory_and_others_begin_there(
    write_remote: Callable[..., str], folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_remote(folder)

    def run(*overrides: str) -> tuple[float, str]:
        status = train.main([config, *overrides, "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        return json.loads(out.splitlines()[-1])["loss"], err

    unbroken, _ = run("save_folder=null", "autoresume=false")
    assert run()[0] == unbroken
    assert names(folder) == ["ep0-ba4-rank0.pt", "ep0-ba6-rank0.pt", "manifests.json", "run.json"]
    fs, root = storage.filesystem(folder)
    fs.pipe_file(f"{root}/ep0-ba6-rank0.pt", fs.cat_file(f"{root}/ep0-ba6-rank0.pt")[:-1000])

    loss, err = run()
    assert loss == unbroken
    assert f"checkpoint {folder}/ep0-ba6-rank0.pt is damaged" in err and "going on after step 4" in err
    assert names(folder) == [
        *("ep0-ba4-rank0.pt", "ep0-ba6-rank0.pt", "ep0-ba6-rank0.pt.damaged", "manifests.json", "run.json"),
    ]
    assert [path.name for path in (tmp_path / "cache" / "checkpoints").iterdir() if path.is_dir()] == []

    assert train.main([config, "autoresume=false"]) == 1
    assert f"{folder!r} holds checkpoints of an earlier run. Set autoresume" in capsys.readouterr().err
    later = [f"load_path={folder}/ep0-ba4-rank0.pt", "save_folder=null", "autoresume=false"]
    assert run(*later)[0] == unbroken
    assert train.main([config, *later, f"load_path={folder}/ep0-ba4-rank0.pt.damaged"]) == 2
    assert "no such checkpoint" in capsys.readouterr().err
    assert train.main([config, "save_folder=nowhere://run"]) == 2
    assert (
        "save_folder: nowhere://run: cannot be opened: Protocol not known: nowhere."
        in capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shards_of_two_ranks_go_to_a_store_and_a_killed_run_goes_on_from_there(
    write_remote: Callable[..., str],
    bucket: tuple[str, dict[str, bytes]],
    tiny_model: str,
    tmp_path: Path,
) -> None:
    address, objects = bucket

    def launch(part: str, **recorder: Any) -> str:
        config = write_remote(
            "gs://bucket/{run_name}",
            max_duration="8ba",
            parallelism_config={"fsdp": {"state_dict_type": "sharded"}},
            model={"pretrained_model_name_or_path": tiny_model, "init_device": "mixed"},
            callbacks={"recorder": {"path": str(tmp_path / part), **recorder}},
        )
        done = run_torchrun(tmp_path, config, env=environment(address))
        assert (done.returncode == 0) == (not recorder), done.stderr[-4000:]
        return done.stderr

    launch("killed", kill_at=7)
    saved = sorted({name.split("/")[1] for name in objects} - {"manifests.json", "run.json"})
    # The upload of step 6 was under way, and ranks do not end in the same instant.
    assert saved in (["ep0-ba2", "ep0-ba4"], ["ep0-ba4", "ep0-ba6"], ["ep0-ba2", "ep0-ba4", "ep0-ba6"])
    if saved[-1] == "ep0-ba6":
        objects["tiny/ep0-ba6/__1_0.distcp"] = objects.get("tiny/ep0-ba6/__1_0.distcp", b"")[:-9]

    err = launch("resumed")
    assert "going on after step 4" in err
    assert ("checkpoint gs://bucket/tiny/ep0-ba6 is damaged: " in err) == (saved[-1] == "ep0-ba6")
    for rank in (0, 1):
        killed, resumed = (recorded(tmp_path / part, rank) for part in ("killed", "resumed"))
        assert [step for step, *_ in resumed] == [5, 6, 7, 8]
        assert resumed[: len(killed) - 4] == killed[4:]
        assert len(killed) >= 6
    kept = {name for name in objects if ".damaged" not in name}
    assert kept == {
        *("tiny/manifests.json", "tiny/run.json"),
        *(f"tiny/ep0-ba{n}/{file}" for n in (6, 8) for file in (".metadata", "__0_0.distcp", "__1_0.distcp")),
    }
