"""The lease of a corpus: one holder at any time, and a former holder notices the loss."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments import lease as leases
from pipelines.increments.lease import Lease, held, new_token, refuse_if_held
from schemas import storage
from schemas.errors import CorpusError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "corpus") if request.param == "local" else f"memory://lease-{uuid.uuid4().hex}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EXPIRES_SEC", 0.6)
    monkeypatch.setattr(leases, "RENEW_SEC", 0.1)


def lock(corpus: str, number: int = 1) -> str:
    return f"{corpus}/lock/{number:06d}.json"


def read(corpus: str, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(storage.read_bytes(lock(corpus, number)))
    return found


def leave(corpus: str, **changes: object) -> None:
    """Write the lease of a killed run, with some fields changed."""
    lease = Lease(corpus, new_token(), print)
    lease.take()
    storage.write_bytes(lease.uri, json.dumps({**read(corpus), **changes}).encode())


def at(seconds_ago: float) -> str:
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
    return then.isoformat(timespec="milliseconds")


def gone_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_run_is_refused_with_who_holds_the_lease_for_how_long_and_what_to_do(corpus: str) -> None:
    leave(corpus, host="elsewhere", pid=12, since="2026-01-02T03:04:05.000+00:00", renewed=at(30.2))
    with pytest.raises(CorpusError) as caught, held(corpus, new_token()):
        pass
    assert str(caught.value) == (
        f"{corpus}/lock/000001.json: another run holds this corpus (process 12 on elsewhere, since "
        "2026-01-02T03:04:05.000+00:00, last renewed 30 s ago). Wait for it. If that run is gone, the "
        "next run takes over 90 s after its last renewal. To take over now, remove the file and run again. "
        "Nothing was changed."
    )
    with pytest.raises(CorpusError, match="process 12 on elsewhere"):
        refuse_if_held(corpus)


def test_a_lease_is_renewed_while_it_is_held_and_released_at_the_end(corpus: str, short: None) -> None:
    with held(corpus, "a" * 12) as lease:
        first = read(corpus)
        assert (first["token"], first["pid"], first["released"]) == ("a" * 12, os.getpid(), False)
        until = time.monotonic() + 20
        while read(corpus)["renewed"] == first["renewed"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert lease.is_ours()
    assert read(corpus)["released"]
    with held(corpus, "b" * 12):
        assert read(corpus, 2)["token"] == "b" * 12
        assert not storage.exists(lock(corpus, 1))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"process_started": "1"}])
def test_a_lease_of_a_process_that_is_gone_from_here_is_taken_over_at_once(
    corpus: str, change: dict[str, str]
) -> None:
    leave(corpus, **(change or {"pid": gone_process()}))
    refuse_if_held(corpus)
    with held(corpus, new_token()) as lease:
        assert lease.taken_from is not None
        assert lease.uri == lock(corpus, 2)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["host", "boot", "pid_namespace"])
def test_that_a_process_number_is_free_here_says_nothing_of_another_host_boot_or_pid_namespace(
    corpus: str, change: str
) -> None:
    leave(corpus, **{change: "another", "pid": gone_process()})
    with pytest.raises(CorpusError, match="another run holds this corpus"), held(corpus, new_token()):
        pass


@pytest.mark.parametrize("seconds_ago", [3600.0, -3600.0])
def test_a_lease_that_is_not_renewed_while_it_is_watched_is_taken_over_whatever_clocks_say(
    corpus: str, short: None, seconds_ago: float
) -> None:
    leave(corpus, host="elsewhere", renewed=at(seconds_ago))
    said: list[str] = []
    started = time.monotonic()
    with held(corpus, new_token(), said.append) as lease:
        assert lease.uri == lock(corpus, 2)
    assert time.monotonic() - started > 0.6
    (line,) = said
    told = "60 min ago" if seconds_ago > 0 else "60 min in the future, by clocks that differ"
    assert f"last renewed {told}). This run watches it for 0.6 s and takes over if it is not renewed." in line


def test_a_lease_that_is_renewed_while_it_is_watched_is_refused_whatever_clocks_say(
    corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "EXPIRES_SEC", 20.0)
    leave(corpus, host="elsewhere", renewed=at(3600))
    renewed = {**read(corpus), "renewed": at(3590)}
    timer = threading.Timer(0.5, storage.write_bytes, (lock(corpus), json.dumps(renewed).encode()))
    timer.start()
    with pytest.raises(CorpusError, match="another run holds this corpus"), held(corpus, new_token(), print):
        pass
    timer.join()


@pytest.mark.parametrize("found", ["{half", "[1]", '{"token": "a"}'])
def test_a_lease_that_cannot_be_read_is_refused_with_what_to_do(corpus: str, found: str) -> None:
    storage.write_bytes(lock(corpus), found.encode())
    with pytest.raises(CorpusError) as caught, held(corpus, new_token()):
        pass
    assert str(caught.value).startswith(f"{lock(corpus)}: is damaged: ")
    assert str(caught.value).endswith(" If no run is at work on this corpus, remove it and run again.")


def test_a_run_whose_file_was_removed_as_the_message_says_loses_the_lease_to_the_next(corpus: str) -> None:
    with held(corpus, new_token()) as first:
        storage.remove_tree(lock(corpus))
        with pytest.raises(CorpusError, match=r"000001\.json: was removed while this run held it\. "):
            first.check()
        with held(corpus, new_token()) as second:
            second.check()
            with pytest.raises(CorpusError, match=r"another run took the lock over \(process .* Run again\."):
                first.check()
        assert read(corpus)["released"]
    assert read(corpus)["released"], "the first one's end changes nothing"


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("a store's own error")])
def test_a_run_that_cannot_renew_its_lease_ends_before_another_may_take_over(
    corpus: str, short: None, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(holder: Any) -> None:
        raise error

    with pytest.raises(CorpusError) as caught, held(corpus, new_token()):
        monkeypatch.setattr(leases.Holder, "write", fail)
        cut_off = time.monotonic()
        time.sleep(20)
    assert time.monotonic() - cut_off < 0.6 + 0.1
    assert f"could not be renewed for 0.4 s: {type(error).__name__}: {error}. The run ended" in str(
        caught.value
    )


def test_what_a_run_wrote_too_late_does_not_make_it_the_holder(corpus: str) -> None:
    """The run is suspended between listing the files and creating the next one; two runs overtake it."""
    leave(corpus, released=True)
    for _ in range(2):
        with held(corpus, new_token()):
            pass
    late = Lease(corpus, new_token(), print)
    assert storage.create_bytes(lock(corpus, 2), storage.read_bytes(lock(corpus, 3)))
    late.take()
    assert late.uri == lock(corpus, 4)


HOLD = """
import sys, time
from pipelines.increments import lease
from schemas.errors import CorpusError
held_by, until = sys.argv[2], time.monotonic() + float(sys.argv[3])
lease.EXPIRES_SEC, lease.RENEW_SEC = 5.0, 0.5
times = 0
while time.monotonic() < until:
    try:
        with lease.held(sys.argv[1], lease.new_token(), lambda line: None) as mine:
            open(held_by, "x").close()  # fails where another one holds it
            time.sleep(0.01)
            mine.check()
            import os; os.unlink(held_by)
            times += 1
    except CorpusError as error:
        assert "another run" in str(error), error
print(times)
"""


@pytest.mark.slow
def test_of_eight_processes_at_once_one_holds_the_lease_at_any_time(tmp_path: Path) -> None:
    seconds = os.environ.get("TUTELAGE_LEASE_SEC", "3")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "corpus"), str(tmp_path / "held"), seconds],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    ends = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, ends, strict=True)] == [
        (0, "")
    ] * 8
    assert sum(int(out) for out, _ in ends) > 1  # it changed hands, also on a busy machine
    assert len(list((tmp_path / "corpus/lock").iterdir())) == 1


@pytest.mark.slow
def test_sigterm_gives_the_lease_back(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pipelines.increments.lease import held;"
        "lease = held(sys.argv[1], 'a' * 12); lease.__enter__()\n"
        "try: print('held', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt as error: print('ended', lease.__exit__(type(error), error, None))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert read(str(tmp_path))["released"]
