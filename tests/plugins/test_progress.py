"""The line that shows how far a command is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from plugins.progress import Mode, line_of, note, set_mode, tracked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("plugins.progress.time.monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def _lines() -> Iterator[None]:
    yield
    set_mode(Mode.LINES)


def ten(clock: list[float], seconds: float, total: int | None = 10) -> None:
    for _ in tracked(range(10), "verify", unit="shards", total=total):
        clock[0] += seconds


def test_what_ends_within_two_seconds_prints_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    ten(clock, 0.19)
    assert capsys.readouterr() == ("", "")


def test_a_line_comes_after_two_seconds_and_then_every_ten(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    ten(clock, 4.0)
    assert capsys.readouterr().err.splitlines() == [
        "verify: 10%, 1 of 10 shards, 0.25/s, 36 s left",
        "verify: 40%, 4 of 10 shards, 0.25/s, 24 s left",
        "verify: 70%, 7 of 10 shards, 0.25/s, 12 s left",
        "verify: 100%, 10 of 10 shards",
    ]


def test_without_a_known_total_there_is_no_share_and_no_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    ten(clock, 4.0, total=None)
    assert capsys.readouterr().err.splitlines()[0] == "verify: 1 shards, 0.25/s"


def test_more_than_was_announced_is_no_negative_time() -> None:
    assert line_of(12, 10, "rows", 3.0) == "100%, 12 of 10 rows"


def test_quiet_shows_neither_progress_nor_notes(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    set_mode(Mode.QUIET)
    ten(clock, 4.0)
    note("a note")
    assert capsys.readouterr() == ("", "")


def test_events_are_objects_of_json(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    set_mode(Mode.EVENTS)
    note("größer")
    ten(clock, 6.0)
    first, *events = map(json.loads, capsys.readouterr().err.splitlines())
    assert first == {"event": "note", "text": "größer"}
    assert events[0] == {
        "event": "progress",
        "step": "verify",
        "done": 1,
        "total": 10,
        "unit": "shards",
        "share": 0.1,
        "per_sec": 0.167,
        "left_sec": 54.0,
        "seconds": 6.0,
    }
    assert [event["done"] for event in events] == [1, 3, 5, 7, 9]


def test_of_several_ranks_the_first_alone_shows_progress(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    ten(clock, 4.0)
    assert capsys.readouterr() == ("", "")


_WORK = """
import time
from plugins import progress
progress._FIRST_SEC = 0.0
with progress.Progress("outer ü", unit="rows", total=4, first_sec=0.0) as outer:
    for _ in range(4):
        with progress.Progress("inner", unit="batches", total=2, first_sec=0.0) as inner:
            inner.add(2)
            time.sleep(0.3)
        outer.add()
        time.sleep(0.3)
print("done")
"""


def run(encoding: str, **streams: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm", "LC_ALL": "C"}
    return subprocess.Popen([sys.executable, "-c", _WORK], env=environment, stdout=subprocess.PIPE, **streams)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii:backslashreplace", "utf-8"])
def test_a_terminal_has_one_line_in_its_own_characters(encoding: str) -> None:
    ours, theirs = pty.openpty()
    process = run(encoding, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # the end, on Linux
            break
    os.close(ours)
    assert process.communicate(timeout=60)[0] == b"done\n" and process.returncode == 0
    text = said.decode()
    assert "50%, 2 of 4 rows" in text and "inner: 100%, 2 of 2 batches" in text
    assert text.isascii() == encoding.startswith("ascii")
    assert text.endswith("\x1b[2K") or "\x1b[?25h" in text  # the line is gone, the cursor is back


@pytest.mark.slow
def test_without_a_terminal_no_control_characters_are_written() -> None:
    process = run("ascii:backslashreplace", stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"done\n", 0)
    assert err.startswith(b"inner: 100%, 2 of 2 batches") and b"\x1b" not in err and b"\r" not in err
