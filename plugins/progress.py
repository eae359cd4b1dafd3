"""Progress of work that takes long: one line on standard error, once it has taken two seconds.

    verify: 34%, 1,234 of 3,600 shards, 120/s, 20 s left

A terminal shows one line that changes; elsewhere a plain line comes every ten seconds. `--quiet` shows
nothing. With `--json` each line is an event, an object of JSON:

    {"event": "progress", "step": "verify", "done": 1234, "total": 3600, "unit": "shards", "share": 0.3428,
     "per_sec": 120.3, "left_sec": 19.7, "seconds": 10.3}
    {"event": "note", "text": "Building increment 1 of …"}

`total`, `share` and `left_sec` are null where nobody knows the total. The rate is the mean since the start.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ClassVar, TypeVar

_FIRST_SEC = 2.0
_LINE_EVERY_SEC = 10.0
_LIVE_EVERY_SEC = 0.25

T = TypeVar("T")


class Mode(enum.Enum):
    """How a command shows its progress."""

    LINES = "lines"
    EVENTS = "events"
    QUIET = "quiet"


_MODE: ContextVar[Mode] = ContextVar("progress_mode", default=Mode.LINES)


def mode() -> Mode:
    """Return how this command shows its progress: of several ranks, the first alone does."""
    return Mode.QUIET if os.environ.get("RANK", "0") != "0" else _MODE.get()


def set_mode(new: Mode) -> None:
    """Set how this command shows its progress, as its options `--quiet` and `--json` say."""
    _MODE.set(new)


def note(text: str) -> None:
    """Print a line on standard error, as an event with `--json`; nothing with `--quiet`."""
    if mode() is Mode.EVENTS:
        emit({"event": "note", "text": text})
    elif mode() is Mode.LINES:
        print(text, file=sys.stderr, flush=True)


def emit(event: dict[str, Any]) -> None:
    """Write an event as a line of JSON to standard error."""
    print(json.dumps(event, ensure_ascii=True), file=sys.stderr, flush=True)


def tracked(
    items: Iterable[T],
    step: str,
    *,
    unit: str,
    total: int | None = None,
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield items, and show how many are done: an item counts as done when the next one is asked for.

    Args:
        step: What is done with them.
        unit: What they are, in the plural.
        total: How many there are, or the sum of their sizes; None if nobody knows.
        size: What an item counts.
    """
    with Progress(step, unit=unit, total=total) as progress:
        for item in items:
            yield item
            progress.add(size(item))


class Progress:
    """Progress of one step, shown by `add` and `at` where it is time. For one thread.

    A terminal has one line: a step inside another takes it over, and the other takes it back.

    Args:
        step: What is done.
        unit: What is counted, in the plural.
        total: How many there are; None if nobody knows.
        first_sec: When the first line comes.
        every_sec: Time between lines and events.
        live: Whether a terminal shows a line that changes.
    """

    _live: ClassVar[Any] = None

    def __init__(
        self,
        step: str,
        *,
        unit: str,
        total: int | None = None,
        first_sec: float = _FIRST_SEC,
        every_sec: float = _LINE_EVERY_SEC,
        live: bool = True,
    ):
        self.step, self.unit, self.total = step, unit, total
        self.done = 0
        self._is_live = live and sys.stderr.isatty()
        self._owns_live = False
        self._every_sec = every_sec
        self._started = time.monotonic()
        self._due = self._started + first_sec

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the line of a terminal."""
        if self._owns_live:
            Progress._live.stop()
            Progress._live, self._owns_live = None, False

    def add(self, count: int = 1) -> None:
        """Count what is done."""
        self.at(self.done + count)

    def at(self, done: int, *, line: str = "", fields: Mapping[str, Any] | None = None) -> None:
        """Set what is done.

        Args:
            done: How much.
            line: Says it, in place of share, rate and time left.
            fields: Further fields of the event.
        """
        self.done = done
        now = time.monotonic()
        if now < self._due or mode() is Mode.QUIET:
            return
        seconds = max(now - self._started, 1e-9)
        per_sec = done / seconds
        if mode() is Mode.EVENTS:
            self._due = now + self._every_sec
            emit(event_of(self.step, done, self.total, self.unit, per_sec, seconds) | dict(fields or {}))
            return
        said = line or f"{self.step}: {line_of(done, self.total, self.unit, per_sec)}"
        if self._is_live:
            self._due = now + _LIVE_EVERY_SEC
            self._show_live(said)
        else:
            self._due = now + self._every_sec
            print(said, file=sys.stderr, flush=True)

    def _show_live(self, line: str) -> None:
        if Progress._live is None:
            from rich import progress as bars

            from plugins.console import Console

            columns = (bars.BarColumn(bar_width=24), bars.TextColumn("{task.description}", markup=False))
            Progress._live = bars.Progress(*columns, console=Console(stderr=True), transient=True)
            Progress._live.add_task("", total=None)
            Progress._live.start()
            self._owns_live = True
        Progress._live.update(0, description=line, completed=self.done, total=self.total)


def line_of(done: int, total: int | None, unit: str, per_sec: float) -> str:
    """Phrase share, number, rate and time left: "34%, 1,234 of 3,600 shards, 120/s, 20 s left"."""
    parts = [f"{done:,} {unit}"]
    if total:
        parts = [f"{min(done / total, 1):.0%}", f"{done:,} of {total:,} {unit}"]
    if per_sec > 0 and not (total and done >= total):
        parts.append(f"{per_sec:,.0f}/s" if per_sec >= 10 else f"{per_sec:.2g}/s")
        if total:
            parts.append(f"{duration((total - done) / per_sec)} left")
    return ", ".join(parts)


def event_of(
    step: str, done: int, total: int | None, unit: str, per_sec: float, seconds: float
) -> dict[str, Any]:
    """Return the event of a step's progress, with the fields above."""
    left = max(total - done, 0) if total else None
    return {
        "event": "progress",
        "step": step,
        "done": done,
        "total": total or None,
        "unit": unit,
        "share": round(min(done / total, 1), 4) if total else None,
        "per_sec": round(per_sec, 3),
        "left_sec": round(left / per_sec, 1) if left is not None and per_sec > 0 else None,
        "seconds": round(seconds, 1),
    }


def duration(seconds: float) -> str:
    """Phrase a length of time: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
