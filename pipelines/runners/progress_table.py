"""What a local run is doing, while it does it: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from types import TracebackType

from rich.live import Live
from rich.table import Table

from pipelines.runners.counters import progress_dir, read_progress
from pipelines.runners.progress_lines import describe
from plugins.console import Console

_LINE_EVERY_SEC = 5.0
_LIVE_EVERY_SEC = 0.5
_RATES_OVER_SEC = 60.0


class ProgressView:
    """Shows the sum of all workers' progress files on standard error until the block ends.

    Outside of `progress_files_in` it shows only the lines that it is told to `say`.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False):
        self._folder = progress_dir()
        self._quiet = quiet
        self._console = Console(file=sys.stderr, highlight=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tutelage-progress", daemon=True)
        self._started = time.monotonic()
        self._history: deque[tuple[float, Counter[str]]] = deque()

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

    def _described(self) -> list[tuple[str, str]]:
        assert self._folder is not None
        now, counts = time.monotonic(), read_progress(self._folder)
        self._history.append((now, counts))
        while now - self._history[0][0] > _RATES_OVER_SEC:
            self._history.popleft()
        then, before = self._history[0]
        rates = {name: (count - before[name]) / (now - then) for name, count in counts.items() if now > then}
        return describe(counts, rates)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for step, text in self._described():
            table.add_row(f"  {step}", text)
        table.add_row("  elapsed", self._elapsed())
        return table

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.0f} s"
