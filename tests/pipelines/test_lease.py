from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from pipelines.claim import claim, holds, release
from schemas import storage
from schemas.errors import CorpusError


def no() -> bool:
    return False


@pytest.fixture(params=["local", "memory"])
def increment(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = str(tmp_path) if request.param == "local" else f"memory://claim-{uuid.uuid4().hex}"
    return f"{root}/increments/000001"


def edit_claim(increment: str, **changes: object) -> None:
    uri = f"{increment}/RUNNING.json"
    storage.write_bytes(uri, json.dumps({**json.loads(storage.read_bytes(uri)), **changes}).encode())


def gone_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_claim_is_refused_with_who_holds_the_first(increment: str) -> None:
    claim(increment, is_published=no)
    edit_claim(increment, since="2026-01-02T03:04:05+00:00")
    with pytest.raises(CorpusError) as caught:
        claim(increment, is_published=no)
    assert str(caught.value) == (
        f"{increment}/RUNNING.json: another run holds this increment (process {os.getpid()} on "
        f"{os.uname().nodename}, since 2026-01-02T03:04:05+00:00). Wait for it; or, if that process is "
        "gone, remove the file and run again. Nothing was changed."
    )


def test_a_dead_processs_claim_is_taken_over_and_its_leftovers_removed(increment: str) -> None:
    claim(increment, is_published=no)
    storage.write_bytes(f"{increment}/shards/domain/00000/group.json", b"{}")
    storage.write_bytes(f"{increment}/stats.json", b"{}")
    edit_claim(increment, pid=gone_process())
    mine = claim(increment, is_published=no)
    assert holds(increment, mine)
    fs, path = storage.filesystem(increment)
    assert [name.rsplit("/", 1)[-1] for name in fs.find(path)] == ["RUNNING.json"]


def test_a_later_process_of_the_same_number_does_not_keep_a_dead_ones_claim(increment: str) -> None:
    first = claim(increment, is_published=no)
    edit_claim(increment, process_started="1")
    second = claim(increment, is_published=no)
    assert holds(increment, second)
    assert not holds(increment, first)


def test_a_killed_process_that_nobody_has_waited_for_is_dead(increment: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=-1
    )
    assert process.stdout is not None
    process.stdout.readline()
    claim(increment, is_published=no)
    started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    edit_claim(increment, pid=process.pid, process_started=started)
    with pytest.raises(CorpusError, match=f"process {process.pid} on"):
        claim(increment, is_published=no)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert holds(increment, claim(increment, is_published=no))
    process.wait()


def test_a_claim_of_another_host_is_refused_even_if_its_process_is_gone_here(increment: str) -> None:
    claim(increment, is_published=no)
    edit_claim(increment, host="elsewhere", pid=gone_process())
    with pytest.raises(CorpusError, match=r"process \d+ on elsewhere, since .*remove the file and run again"):
        claim(increment, is_published=no)


def test_a_claim_that_cannot_be_read_is_refused_with_what_to_do(increment: str) -> None:
    storage.write_bytes(f"{increment}/RUNNING.json", b"{half")
    with pytest.raises(CorpusError) as caught:
        claim(increment, is_published=no)
    assert str(caught.value) == (
        f"{increment}/RUNNING.json: cannot be understood. If no run is at work on this corpus, remove it and "
        "run again."
    )


def test_leftovers_without_a_claim_are_removed(increment: str) -> None:
    """A run that was killed while it cleaned up may have removed its claim first."""
    storage.write_bytes(f"{increment}/shards/domain/00007/group.json", b"{}")
    claim(increment, is_published=no)
    assert not storage.exists(f"{increment}/shards")


@pytest.mark.parametrize("holder", ["nobody", "a dead process"])
def test_an_increment_published_meanwhile_is_left_alone(increment: str, holder: str) -> None:
    if holder == "a dead process":
        claim(increment, is_published=no)
        edit_claim(increment, pid=gone_process())
    storage.write_bytes(f"{increment}/stats.json", b"{}")
    with pytest.raises(CorpusError) as caught:
        claim(increment, is_published=lambda: True)
    assert str(caught.value) == f"{increment}: another run published it meanwhile. Build again."
    assert storage.read_bytes(f"{increment}/stats.json") == b"{}"
    assert storage.exists(f"{increment}/RUNNING.json") == (holder == "a dead process")


def test_an_increment_given_back_keeps_its_files_and_can_be_claimed_again(increment: str) -> None:
    mine = claim(increment, is_published=no)
    storage.write_bytes(f"{increment}/stats.json", b"{}")
    release(increment)
    assert not holds(increment, mine)
    assert storage.exists(f"{increment}/stats.json")
    assert holds(increment, claim(increment, is_published=no))


def test_of_many_that_find_a_dead_claim_at_once_one_takes_it(tmp_path: Path) -> None:
    increment = str(tmp_path / "increments/000001")
    claim(increment, is_published=no)
    edit_claim(increment, pid=gone_process())
    claims: list[bytes] = []
    refused: list[CorpusError] = []
    ready = threading.Barrier(8)

    def run() -> None:
        ready.wait()
        try:
            claims.append(claim(increment, is_published=no))
        except CorpusError as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(claims), len(refused)) == (1, 7)
    assert holds(increment, claims[0])
