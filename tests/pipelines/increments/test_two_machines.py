"""The lease of a corpus between two machines: PID namespaces with equal process ids and equal host names."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

MACHINE = ("unshare", "--map-root-user", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child")
EXPIRES_SEC = 3.0

HOLDS = f"""
import os, signal, socket, sys, time
from pipelines.increments import lease
from schemas.errors import CorpusError
lease.RENEW_SEC, lease.EXPIRES_SEC = 0.3, {EXPIRES_SEC}
socket.sethostname("node")
try:
    with lease.held(sys.argv[1], lease.new_token()) as mine:
        print("holds", os.getpid(), socket.gethostname(), flush=True)
        time.sleep(float(sys.argv[2]))
        mine.check()
        os.kill(os.getpid(), int(sys.argv[3]))
except CorpusError as error:
    print("refused", os.getpid(), error, flush=True)
"""


def run(corpus: Path, seconds: float, ends_by: int) -> Sequence[str]:
    """A command on a machine of its own, which goes on after it."""
    work = f"{sys.executable} -c '{HOLDS}' {corpus} {seconds} {ends_by}"
    return [*MACHINE, "sh", "-c", f"{work}; echo ended $?; exec sleep {300 if ends_by else 0}"]


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Path]:
    try:
        tried = subprocess.run([*MACHINE, "true"], capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("this system has no `unshare`")
    if tried.returncode:
        pytest.skip(f"this system permits no namespaces: {tried.stderr.decode().strip()}")
    (tmp_path / "corpus").mkdir()
    yield tmp_path / "corpus"


def attempt(corpus: Path) -> str:
    return subprocess.run(run(corpus, 0, 0), capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
def test_a_machine_does_not_take_the_lease_of_another_with_its_name_and_process_id(corpus: Path) -> None:
    first = subprocess.Popen(run(corpus, 6, signal.SIGKILL), stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        holds = first.stdout.readline()
        assert holds == "holds 2 node\n"
        second = attempt(corpus)
        assert second.startswith("refused 2 ") and "process 2 on node" in second, second
        assert "ended" in (line := first.stdout.readline()), (
            line
        )  # killed, so that nothing releases the lease
        killed = time.monotonic()
        said = attempt(corpus)
        assert said.startswith("refused 2 "), said
        while not said.startswith(holds):
            assert said.startswith("refused 2 ") and time.monotonic() - killed < 60, said
            said = attempt(corpus)
        # Never before its time; the last renewal was 0.3 s before the end at most.
        assert time.monotonic() - killed > EXPIRES_SEC - 0.3
    finally:
        first.kill()
        first.wait()
