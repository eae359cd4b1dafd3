from __future__ import annotations

import io
import json
import pickle
import re
import time
from collections import Counter
from pathlib import Path

import pytest

import pipelines.runners.progress
from pipelines.runners.counters import Counters, progress_files_in, read_progress
from pipelines.runners.progress import ProgressView, describe
from pipelines.steps.read import ReadFiles
from plugins.progress import Mode, duration, set_mode


def test_the_progress_files_of_all_workers_add_up(tmp_path: Path) -> None:
    first, second = Counters("read", str(tmp_path)), Counters("read", str(tmp_path))
    other = Counters("write", str(tmp_path))
    first.add("documents", 3)
    second.add("documents", 4)
    second.add("files")
    other.add("rows", 5)
    for counters in (first, second, other):
        counters.flush()
        counters.flush()
    assert read_progress(str(tmp_path)) == Counter({"read/documents": 7, "read/files": 1, "write/rows": 5})


def test_counters_without_a_folder_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counters = Counters("read", None)
    counters.add("documents")
    counters.flush()
    assert list(tmp_path.iterdir()) == []


def test_a_steps_copy_in_a_worker_writes_to_the_folder_in_which_the_step_was_made(tmp_path: Path) -> None:
    with progress_files_in(str(tmp_path)):
        made = pickle.dumps(ReadFiles(()))
    for pickled in (made, pickle.dumps(ReadFiles(()))):
        step = pickle.loads(pickled)
        step.setup()
        step.counters.add("files")
        step.finish_bundle()
    assert read_progress(str(tmp_path)) == Counter({"read/files": 1})


def test_a_step_that_did_nothing_writes_nothing(tmp_path: Path) -> None:
    Counters("read", str(tmp_path)).flush()
    assert read_progress(str(tmp_path)) == Counter()


def test_steps_are_described_in_the_pipelines_order_with_readable_numbers() -> None:
    counts = Counter(
        {
            "write/rows": 1200,
            "read/documents": 4000,
            "read/rejected_empty": 2,
            "clean/rejected_too_short": 1,
            "ledger/new": 3000,
            "ledger/unchanged": 997,
            "chains/documents": 4500,
            "synthesize/documents": 3000,
            "synthesize/pairs": 9000,
            "synthesize/requests": 3000,
            "synthesize/in_flight": 64,
            "synthesize/retried": 5,
            "synthesize/from_journal": 12,
            "synthesize/prompt_tokens": 900000,
            "synthesize/cached_tokens": 450000,
            "synthesize/completion_tokens": 120000,
            "synthesize/failed_documents": 7,
            "synthesize/requests@http://a:1": 2000,
            "synthesize/requests@http://b:1": 1000,
            "synthesize/in_flight@http://a:1": 64,
            "synthesize/taken_out@http://b:1": 2,
            "tokenize/tokens": 1500000,
        }
    )
    rates = {"synthesize/documents": 0.5, "synthesize/prompt_tokens": 1000.0}
    assert describe(counts, rates) == [
        ("read", "4,000 documents"),
        ("new", "3,000 of 4,000 documents"),
        ("unchanged", "997"),
        ("synthesized", "67%, 3,000 of 4,500 documents, 0.5/s, 50 min left, 9,000 pairs, 7 failed"),
        (
            "requests",
            "3,000 done, 64 in flight, 5 retried, 12 from the journal, "
            "900,000 tokens in at 1,000/s (50% cached), 120,000 out",
        ),
        ("http://a:1", "2,000 done, 64 in flight"),
        ("http://b:1", "1,000 done, 2 × taken out"),
        ("tokenized", "1,500,000 tokens"),
        ("written", "1,200 rows"),
        ("rejected", "3"),
    ]


def test_a_synthesis_without_requests_shows_none() -> None:
    counts = Counter({"chains/documents": 9, "synthesize/documents": 9, "synthesize/pairs": 30})
    assert describe(counts, {}) == [("synthesized", "9 documents, 30 pairs")]


def test_a_single_endpoint_has_no_line_of_its_own() -> None:
    counts = Counter({"synthesize/requests": 9, "synthesize/requests@http://a:1": 9})
    assert [name for name, _ in describe(counts, {})] == ["synthesized", "requests"]


def test_requests_under_way_are_shown_before_the_first_answer() -> None:
    assert describe(Counter({"synthesize/in_flight": 8}), {}) == [("requests", "0 done, 8 in flight")]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_a_length_of_time_is_said_as_a_person_would(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_nothing_done_is_described_by_nothing() -> None:
    assert describe(Counter(), {}) == []


def test_without_a_terminal_a_plain_line_is_printed_when_something_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.runners.progress, "_LINE_EVERY_SEC", 0.02)
    counters = Counters("read", str(tmp_path))
    counters.add("documents", 3)
    counters.flush()
    said = ""
    with progress_files_in(str(tmp_path)), ProgressView() as view:
        view.say("Building [red]increment 1[/red].")
        while "read" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().err
        time.sleep(0.2)  # ten more polls of the same counts
    said += capsys.readouterr().err
    said = re.sub(r"\[\d+ s\]", "[some s]", said)
    assert said == "Building [red]increment 1[/red].\n[some s] read 3 documents\n"


def test_on_a_terminal_a_table_is_kept_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(pipelines.runners.progress, "_LIVE_EVERY_SEC", 0.02)
    counters = Counters("read", str(tmp_path))
    counters.add("documents", 3)
    counters.flush()
    with progress_files_in(str(tmp_path)), ProgressView():
        while "3 documents" not in terminal.getvalue():
            time.sleep(0.01)
    assert "elapsed" in terminal.getvalue()


def test_a_quiet_view_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_files_in(str(tmp_path)), ProgressView(quiet=True) as view:
        view.say("a line")
    assert capsys.readouterr() == ("", "")


def test_a_view_without_a_folder_says_what_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView() as view:
        view.say("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_files_are_counted_of_those_known_beforehand_and_large_ones_by_their_parts() -> None:
    counts = Counter({"read/documents": 700, "read/files": 3, "read/further_parts": 2})
    rates = {"read/files": 0.25, "read/further_parts": 0.25}
    assert describe(counts, rates, 20) == [
        ("read", "700 documents; 25%, 5 of 20 files and parts, 0.5/s, 30 s left")
    ]


def test_with_json_a_view_emits_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines.runners.progress, "_LINE_EVERY_SEC", 0.02)
    counters = Counters("read", str(tmp_path))
    counters.add("documents", 3)
    counters.add("files", 1)
    counters.flush()
    set_mode(Mode.EVENTS)
    try:
        with progress_files_in(str(tmp_path)), ProgressView(num_parts=4) as view:
            view.say("Building.")
            said = ""
            while said.count("\n") < 3:
                time.sleep(0.01)
                said += capsys.readouterr().err
    finally:
        set_mode(Mode.LINES)
    note, files, documents = map(json.loads, said.splitlines()[:3])
    assert note == {"event": "note", "text": "Building."}
    assert [files[key] for key in ("step", "done", "total", "share", "unit")] == [
        *("read", 1, 4, 0.25, "files and parts")
    ]
    assert [documents[key] for key in ("step", "done", "total", "left_sec")] == ["documents", 3, None, None]
