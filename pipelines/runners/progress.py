"""Progress of a local run while it goes on, and counts as phrases.

A view adds up the progress files of all workers (`counters.py`), and shows a live table on a terminal, plain
lines elsewhere, and with `--json` events (`plugins/progress.py`). Each step and each endpoint with a count
has a line. Files and their parts are known beforehand; documents to be synthesized, once all are read.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from types import TracebackType

from rich.live import Live
from rich.table import Table

from pipelines.runners.counters import progress_dir, read_progress
from plugins import progress
from plugins.console import Console
from plugins.progress import Mode, line_of
from schemas.manifest import Increment, ShardSet

_LINE_EVERY_SEC = 5.0
_LIVE_EVERY_SEC = 0.5
_RATES_OVER_SEC = 60.0


class ProgressView:
    """Show the sum of all workers' progress files on standard error, until the block ends.

    Outside of `progress_files_in` the view prints only the lines of `say`, and if it is quiet nothing.

    Args:
        quiet: Print nothing, whatever the command's options say.
        num_parts: Files that workers read, large ones in parts; 0 if nobody knows.
    """

    def __init__(self, *, quiet: bool = False, num_parts: int = 0):
        self._folder = progress_dir()
        self._mode = Mode.QUIET if quiet else progress.mode()  # here: a thread has a context of its own
        self.num_parts = num_parts
        self._console = Console(file=sys.stderr, highlight=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tutelage-progress", daemon=True)
        self._started = time.monotonic()
        self._emitted: dict[str, int] = {}
        self._history: deque[tuple[float, Counter[str]]] = deque([(self._started, Counter())])

    def __enter__(self) -> ProgressView:
        if self._mode is not Mode.QUIET and self._folder is not None:
            self._thread.start()
        return self

    def say(self, line: str) -> None:
        """Print one line."""
        if self._mode is Mode.EVENTS:
            progress.emit({"event": "note", "text": line})
        elif self._mode is Mode.LINES:
            self._console.print(line, markup=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        if self._mode is Mode.EVENTS:
            while not self._stop.wait(_LINE_EVERY_SEC):
                self._emit()
            self._emit()  # what was done since
            return
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=4, transient=True) as live:
                while not self._stop.wait(_LIVE_EVERY_SEC):
                    live.update(self._table())
            return
        shown = ""
        while not self._stop.wait(_LINE_EVERY_SEC):
            line = "; ".join(f"{step} {text}" for step, text in self._described())
            if line != shown:
                self.say(f"[{self._elapsed()}] {line}")
                shown = line

    def _emit(self) -> None:
        counts, rates = self._counted()
        for step, (done, total, unit, per_sec) in measured_steps(counts, rates, self.num_parts).items():
            if self._emitted.get(step) != done:
                seconds = time.monotonic() - self._started
                progress.emit(progress.event_of(step, done, total, unit, per_sec, seconds))
            self._emitted[step] = done

    def _described(self) -> list[tuple[str, str]]:
        return describe(*self._counted(), self.num_parts)

    def _counted(self) -> tuple[Counter[str], dict[str, float]]:
        """Return the counts, and how much each grew a second in the last minute."""
        assert self._folder is not None
        now, counts = time.monotonic(), read_progress(self._folder)
        self._history.append((now, counts))
        while now - self._history[0][0] > _RATES_OVER_SEC:
            self._history.popleft()
        then, before = self._history[0]
        rates = {name: (count - before[name]) / (now - then) for name, count in counts.items() if now > then}
        return counts, rates

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for step, text in self._described():
            table.add_row(f"  {step}", text)
        table.add_row("  elapsed", self._elapsed())
        return table

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.0f} s"


def measured_steps(
    counts: Counter[str], rates: Mapping[str, float], num_parts: int
) -> dict[str, tuple[int, int | None, str, float]]:
    """Return what is done, its total if known, its unit and its rate a second, by step with any count."""
    num_read = counts["read/files"] + counts["read/further_parts"]
    per_sec = rates.get("read/files", 0.0) + rates.get("read/further_parts", 0.0)
    steps = {
        "read": (num_read, num_parts, "files and parts", per_sec),
        **{
            step: (counts[name], counts[total], unit, rates.get(name, 0.0))
            for step, name, total, unit in (
                ("documents", "read/documents", "", "documents"),
                ("synthesized", "synthesize/documents", "chains/documents", "documents"),
                ("tokenized", "tokenize/tokens", "", "tokens"),
                ("written", "write/rows", "", "rows"),
            )
        },
    }
    return {
        step: (done, total or None, unit, rate) for step, (done, total, unit, rate) in steps.items() if done
    }


def describe(counts: Counter[str], rates: Mapping[str, float], num_parts: int = 0) -> list[tuple[str, str]]:
    """Describe counters by `step/name` and their growth per second, in the pipeline's order."""
    documents = _number(counts, "read/documents")
    files = ""
    if num_parts and (found := measured_steps(counts, rates, num_parts).get("read")):
        files = f"; {line_of(*found)}"
    rejected = sum(count for name, count in counts.items() if "/rejected_" in name)
    endpoints = sorted({name.partition("@")[2] for name in counts if "@" in name})
    shown = [
        ("read", f"{documents} documents{files}" if documents else files.removeprefix("; ")),
        ("new", _of_read(counts, "ledger/new")),
        ("unchanged", _number(counts, "ledger/unchanged")),
        ("synthesized", _synthesized(counts, rates)),
        ("requests", _requests(counts, rates)),
        *[(each, _requests(counts, rates, f"@{each}")) for each in endpoints if len(endpoints) > 1],
        ("verified", _verified(counts)),
        ("judged", _requests(counts, rates, step="verify")),
        ("tokenized", _with(_number(counts, "tokenize/tokens"), "tokens")),
        ("written", _with(_number(counts, "write/rows"), "rows")),
        ("rejected", f"{rejected:,}" if rejected else ""),
    ]
    return [(step, text) for step, text in shown if text]


def without_pairs(counts: Mapping[str, int]) -> str:
    """Phrase the documents or parts without pairs of a build or a compaction; "" if all have pairs."""
    step = "current" if "current/documents" in counts else "synthesize"
    empty, failed = (counts.get(f"{step}/{kind}_documents", 0) for kind in ("empty", "failed"))
    if not empty + failed:
        return ""
    num_documents = counts[f"{step}/documents"]
    return f"without pairs: {empty + failed:,} of {num_documents:,} documents, {failed:,} of them failed"


def parted(shards: ShardSet) -> str:
    """Phrase the number and share of a stream's pairs whose row lacks a part of their passage."""
    if shards.num_parted_pairs is None:
        return "not counted"
    return f"{shards.num_parted_pairs:,} ({shards.num_parted_pairs / max(shards.num_pairs, 1):.1%})"


def cut_texts(shards: ShardSet) -> str:
    """Phrase the number of a stream's texts that continue in another row."""
    return "not counted" if shards.num_cut_texts is None else f"{shards.num_cut_texts:,}"


def held_out(increment: Increment) -> str:
    """Phrase the number of an increment's held-out documents; "" without any."""
    if not increment.num_held_out:
        return ""
    of_each = ", ".join(f"{count:,} of {name}" for name, count in increment.num_held_out.items())
    total = sum(increment.num_held_out.values())
    return f"held out: {total:,} of {increment.num_documents:,} documents ({of_each})"


def _number(counts: Mapping[str, int], name: str) -> str:
    return f"{counts[name]:,}" if counts.get(name) else ""


def _of_read(counts: Mapping[str, int], name: str) -> str:
    read = counts.get("read/documents", 0)
    return f"{counts[name]:,} of {read:,} documents" if counts.get(name) and read else _number(counts, name)


def _with(number: str, unit: str) -> str:
    return f"{number} {unit}" if number else ""


def _synthesized(counts: Mapping[str, int], rates: Mapping[str, float]) -> str:
    done, total = counts.get("synthesize/documents", 0), counts.get("chains/documents", 0)
    if not done and not counts.get("synthesize/requests"):
        return ""
    parts = [
        line_of(done, total if total > done else None, "documents", rates.get("synthesize/documents", 0.0)),
        f"{counts.get('synthesize/pairs', 0):,} pairs",
        _with(_number(counts, "synthesize/failed_documents"), "failed"),
        _with(_number(counts, "synthesize/empty_documents"), "without pairs"),
    ]
    return ", ".join(part for part in parts if part)


def _verified(counts: Mapping[str, int]) -> str:
    checked, kept = counts.get("verify/pairs", 0), counts.get("verify/kept", 0)
    return f"{checked:,} pairs, {checked - kept:,} dropped" if checked else ""


def _requests(
    counts: Mapping[str, int], rates: Mapping[str, float], endpoint: str = "", step: str = "synthesize"
) -> str:
    """Phrase the requests and tokens of one endpoint, such as `@http://host:30000`, or of all."""

    def count(field: str) -> int:
        return counts.get(f"{step}/{field}{endpoint}", 0)

    def speed(field: str) -> str:
        rate = rates.get(f"{step}/{field}{endpoint}", 0.0)
        return f" at {rate:,.0f}/s" if rate >= 0.5 else ""

    words = {
        "in_flight": "in flight",
        "failed": "failed",
        "retried": "retried",
        "taken_out": "× taken out",
        "from_journal": "from the journal",
    }
    parts = [f"{count(field):,} {word}" for field, word in words.items() if count(field)]
    if count("prompt_tokens"):
        cached = f" ({count('cached_tokens') / count('prompt_tokens'):.0%} cached)"
        parts.append(f"{count('prompt_tokens'):,} tokens in{speed('prompt_tokens')}{cached}")
        parts.append(f"{count('completion_tokens'):,} out{speed('completion_tokens')}")
    return ", ".join([f"{count('requests'):,} done", *parts]) if parts or count("requests") else ""
