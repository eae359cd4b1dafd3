"""What a local run is doing, while it does it: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.counters import read_progress

_LINE_EVERY_SEC = 5.0
_LIVE_EVERY_SEC = 0.5


class ProgressView:
    """Shows the sum of all workers' progress files until the block ends, on standard error.

    Args:
        progress_dir: Folder of the progress files; without one only what is said is shown.
        quiet: Show nothing.
    """

    def __init__(self, progress_dir: str | None, *, quiet: bool = False):
        self._folder = progress_dir
        self._quiet = quiet
        self._console = Console(file=sys.stderr, highlight=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tutelage-progress", daemon=True)
        self._started = time.monotonic()

    def __enter__(self) -> ProgressView:
        if not self._quiet and self._folder is not None:
            self._thread.start()
        return self

    def say(self, line: str) -> None:
        """Print one line."""
        if not self._quiet:
            self._console.print(line, markup=False, soft_wrap=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._folder is not None
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=4, transient=True) as live:
                while not self._stop.wait(_LIVE_EVERY_SEC):
                    live.update(self._table(read_progress(self._folder)))
            return
        shown = ""
        while not self._stop.wait(_LINE_EVERY_SEC):
            line = ", ".join(f"{step} {text}" for step, text in describe(read_progress(self._folder)))
            if line != shown:
                self.say(f"[{self._elapsed()}] {line}")
                shown = line

    def _table(self, counts: Counter[str]) -> Table:
        table = Table.grid(padding=(0, 2))
        for step, text in describe(counts):
            table.add_row(f"  {step}", text)
        table.add_row("  elapsed", self._elapsed())
        return table

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.0f} s"


def describe(counts: Counter[str]) -> list[tuple[str, str]]:
    """One (step, what it did) for each step that has done something, in the pipeline's order."""

    def of(name: str) -> int:
        return counts.get(name, 0)

    rejected = sum(count for name, count in counts.items() if "/rejected_" in name)
    shown = [
        ("read", of("read/documents"), f"{of('read/documents'):,} documents"),
        ("new", of("ledger/new"), f"{of('ledger/new'):,}"),
        ("unchanged", of("ledger/unchanged"), f"{of('ledger/unchanged'):,}"),
        (
            "synthesized",
            of("synthesize/documents") or of("synthesize/requests"),
            f"{of('synthesize/documents'):,} documents, {of('synthesize/pairs'):,} pairs"
            + (
                f", {of('synthesize/requests'):,} requests, {of('synthesize/completion_tokens'):,} tokens out"
                if of("synthesize/requests")
                else ""
            )
            + (
                f", {of('synthesize/from_journal'):,} from the journal"
                if of("synthesize/from_journal")
                else ""
            )
            + (
                f", {of('synthesize/failed_documents'):,} failed" if of("synthesize/failed_documents") else ""
            ),
        ),
        ("tokenized", of("tokenize/tokens"), f"{of('tokenize/tokens'):,} tokens"),
        ("written", of("write/rows"), f"{of('write/rows'):,} rows"),
        ("rejected", rejected, f"{rejected:,}"),
    ]
    return [(step, text) for step, count, text in shown if count]
