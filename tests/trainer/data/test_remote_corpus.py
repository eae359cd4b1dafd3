"""Training on a corpus in an object store, with reader processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.bucket import environment
from tests.trainer.ranks import ROOT


@pytest.mark.slow
def test_reader_processes_fetch_shards_through_gcsfs(
    write_config: Callable[..., str], bucket: tuple[str, dict[str, bytes]], corpus: str, tmp_path: Path
) -> None:
    address, objects = bucket
    for path in Path(corpus).rglob("*"):
        if path.is_file():
            objects[f"corpus/{path.relative_to(corpus)}"] = path.read_bytes()
    config = write_config(
        train_loader={
            "dataset": {
                "streams": {"domain": {"corpus": "gs://bucket/corpus"}},
                "cache_dir": str(tmp_path / "cache"),
            },
            "num_workers": 2,
        },
        max_duration="3ba",
    )
    done = subprocess.run(
        [sys.executable, "-m", "trainer.train", config, "--json"],
        env={**os.environ, **environment(address), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 3
    assert list((tmp_path / "cache").rglob("*.mds*"))
