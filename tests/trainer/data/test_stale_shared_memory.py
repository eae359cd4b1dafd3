"""Shared memory of runs that ended without cleaning up is removed; that of live runs stays."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data.stale_shared_memory import claim_segments, remove_stale_segments

CLAIM = """
import os, signal, sys
from trainer.data.stale_shared_memory import claim_segments
claim_segments(int(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def segments(folder: Path, number: int) -> list[str]:
    names = [f"{number:06}_{name}" for name in ("locals", "barrier", "shard_states")]
    for name in names:
        (folder / name).write_bytes(b"x" * 64)
    return names


@pytest.mark.slow
def test_only_segments_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    killed, others, ours = segments(tmp_path, 0), segments(tmp_path, 1), segments(tmp_path, 2)
    claim_segments(2, str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, "0", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    ) as run:
        assert run.stdout and run.stdout.readline() == "ready\n"
        assert remove_stale_segments(str(tmp_path)) == []  # its process is alive
        run.communicate("\n")
    assert sorted(remove_stale_segments(str(tmp_path))) == [*sorted(killed), "tutelage-000000.json"]
    assert sorted(os.listdir(tmp_path)) == sorted([*others, *ours, "tutelage-000002.json"])


def test_segments_that_another_process_still_maps_stay(tmp_path: Path) -> None:
    names = segments(tmp_path, 5)
    marker = tmp_path / "tutelage-000005.json"
    claim_segments(5, str(tmp_path))
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "pid": 2**22 + 1}))  # no such process
    with open(tmp_path / names[0], "r+b") as file, mmap.mmap(file.fileno(), 0):
        assert remove_stale_segments(str(tmp_path)) == []
    assert len(remove_stale_segments(str(tmp_path))) == 4


def test_a_marker_from_another_process_namespace_says_nothing(tmp_path: Path) -> None:
    segments(tmp_path, 7)
    marker = {"pid": 2**22 + 1, "started": "1", "namespace": "pid:[1]"}
    (tmp_path / "tutelage-000007.json").write_text(json.dumps(marker))
    assert remove_stale_segments(str(tmp_path)) == []
    assert remove_stale_segments(str(tmp_path / "nowhere")) == []
