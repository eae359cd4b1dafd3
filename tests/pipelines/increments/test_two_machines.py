"""The lease of a corpus between two machines: PID namespaces with equal process ids and equal host names."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

MACHINE = ("unshare", "--map-root-user", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child")
EXPIRES_SEC = 3.0

HOLDS = f"""
import os, socket, sys, time
from pipelines.increments import lease
from schemas.errors import CorpusError
lease.RENEW_SEC, lease.EXPIRES_SEC = 0.3, {EXPIRES_SEC}
socket.sethostname("node")
started = time.monotonic()
try:
    with lease.held(sys.argv[1], lease.new_token()) as mine:
        print("holds", os.getpid(), socket.gethostname(), f"{{time.monotonic() - started:.1f}}", flush=True)
        time.sleep(float(sys.argv[2]))
        mine.check()
except CorpusError as error:
    print("refused", os.getpid(), error, flush=True)
"""


def run(corpus: Path, seconds: float) -> Sequence[str]:
    return [*MACHINE, sys.executable, "-c", HOLDS, str(corpus), str(seconds)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    try:
        tried = subprocess.run([*MACHINE, "true"], capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("this system has no `unshare`")
    if tried.returncode:
        pytest.skip(f"this system permits no namespaces: {tried.stderr.decode().strip()}")
    (tmp_path / "corpus").mkdir()
    return tmp_path / "corpus"


@pytest.mark.slow
def test_a_machine_does_not_take_the_lease_of_another_with_its_name_and_process_id(corpus: Path) -> None:
    first = subprocess.Popen(run(corpus, 60), stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        holder = first.stdout.readline().split()
        assert holder[:3] == ["holds", "1", "node"]
        second = subprocess.run(run(corpus, 0), capture_output=True, text=True, timeout=120)
        assert second.stdout.startswith("refused 1 "), second
        assert "process 1 on node" in second.stdout
    finally:
        first.kill()  # its namespace ends with it, and nothing can release the lease
        first.wait()
    killed = time.monotonic()
    said = ""
    while not said.startswith("holds 1 node "):
        assert time.monotonic() - killed < 60, said
        said = subprocess.run(run(corpus, 0), capture_output=True, text=True, timeout=120).stdout
        assert said.startswith(("refused 1 ", "holds 1 ")), said
    # Never before its time; the last renewal was 0.3 s before the end at most.
    assert time.monotonic() - killed > EXPIRES_SEC - 0.3
