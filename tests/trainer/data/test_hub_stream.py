"""Training on a corpus on the hub, read at its hf:// URI; against a stand-in on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem

from plugins.commands.main import main
from tests.stand_in_hub import Hub
from tests.trainer.conftest import random_rows
from tests.trainer.ranks import ROOT

URI = "hf://datasets/me/leaflets"
LAST = "increments/000002/shards/domain/00000/shard.00000.mds.zstd"


def stream(corpus: str, cache: Path) -> dict[str, object]:
    dataset = {"streams": {"domain": {"corpus": corpus}}, "cache_dir": str(cache)}
    return {"dataset": dataset, "num_workers": 2}


def train(config: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.train", config, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_a_training_on_a_private_corpus_goes_on_after_a_failed_fetch_and_equals_a_local_one(
    make_corpus: Callable[..., str], write_config: Callable[..., str], hub: Hub, tmp_path: Path
) -> None:
    rows = [random_rows(30, first=100), random_rows(18, first=130, seed=1)]
    corpus = make_corpus({"domain": rows}, name="hashed", hashes=["sha1"])
    files = {
        str(each.relative_to(corpus)): each.read_bytes() for each in Path(corpus).rglob("*") if each.is_file()
    }
    hub.repos["datasets/me/leaflets"] = [("a" * 40, files)]
    hub.private["datasets/me/leaflets"] = True
    shards = sorted(path for path in files if path.endswith(".zstd"))
    assert len(shards) == 3

    sound = files[LAST]
    files[LAST] = sound[:-1] + bytes([sound[-1] ^ 1])
    config = write_config(train_loader=stream(URI, tmp_path / "cache"), max_duration="1ep")
    failed = train(config, tmp_path)
    assert failed.returncode == 1
    # In the words of the process that reads it, or of the one that hears of it.
    assert f"{LAST}: " in failed.stderr and "Restore the shard and resume." in failed.stderr
    assert LAST in hub.fetched
    cached = [*(tmp_path / "cache").rglob("*.mds")]

    files[LAST] = sound
    hub.fetched.clear()
    done = train(config, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    fetched = [path for path in hub.fetched if path.endswith(".zstd")]
    assert len(fetched) == 3 - len(cached) and LAST in fetched

    local = train(write_config(train_loader=stream(corpus, tmp_path / "own"), max_duration="1ep"), tmp_path)
    ended = [json.loads(each.stdout.splitlines()[-1]) for each in (done, local)]
    assert [each["steps"] for each in ended] == [12, 12]
    assert ended[0]["loss"] == ended[1]["loss"]


def test_a_repository_that_cannot_be_read_is_one_line_with_the_cure(
    write_config: Callable[..., str],
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.repos["datasets/me/leaflets"] = [("a" * 40, {"manifest/000001.json": b"{}"})]
    hub.private["datasets/me/leaflets"] = True

    def said(uri: str) -> str:
        HfFileSystem.clear_instance_cache()
        assert main(["train", write_config(train_loader=stream(uri, tmp_path / "cache")), "--dry-run"]) == 1
        return capsys.readouterr().err.partition(" Traceback: ")[0].strip()

    cure = "Name hf://datasets/OWNER/NAME. If it is private, log in with `hf auth login`, or set HF_TOKEN."
    for uri in ("hf://datasets/me/nothing", "hf://me/leaflets"):
        assert said(uri) == f"CorpusError: {uri}: holds no published corpus (no manifest/*.json). {cure}"
    monkeypatch.delenv("HF_TOKEN")
    assert said(URI) == f"CorpusError: {URI}: holds no published corpus (no manifest/*.json). {cure}"
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert said(URI) == (
        "MachineError: a remote store or server failed: HfHubHTTPError: 401 Client Error: Unauthorized for "
        f"url: {hub.url}/api/datasets/me/leaflets. Check its address, your credentials and the network, then "
        "run again."
    )
