"""Counters of a step: Beam metrics on every runner, and progress files during a local run.

A local runner shows no metrics before the end. So each worker also writes its counts to a file of its own in
`progress_dir`, at most twice a second; `progress.py` adds the files up.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

AT_WORK = "at_work_ms"
_WRITE_EVERY_SEC = 0.5
_PROGRESS_DIR: ContextVar[str | None] = ContextVar("progress_dir", default=None)


@contextlib.contextmanager
def progress_files_in(folder: str | None) -> Iterator[None]:
    """Let steps made in the block, and their copies in workers, write progress files to a folder, if any."""
    before = _PROGRESS_DIR.set(folder)
    try:
        yield
    finally:
        _PROGRESS_DIR.reset(before)


def progress_dir() -> str | None:
    """Return the folder of `progress_files_in`; None outside of such a block."""
    return _PROGRESS_DIR.get()


class Counters:
    """Counters of one step in one worker. A DoFn makes them in `setup` and flushes them in `finish_bundle`.

    Args:
        step: Name of the step; the metrics' namespace.
        progress_dir: Local folder for progress files, or None to write none.
    """

    def __init__(self, step: str, progress_dir: str | None):
        from apache_beam.metrics import Metrics  # here, since commands that read a corpus need no Beam

        self._metrics = Metrics
        self._step = step
        self._path = os.path.join(progress_dir, f"{uuid.uuid4().hex}.json") if progress_dir else None
        self._counts: collections.Counter[str] = collections.Counter()
        self._written = 0.0

    def add(self, name: str, count: int = 1) -> None:
        """Raise a counter. Call it on the DoFn's own thread; Beam ignores other threads."""
        self._metrics.counter(self._step, name).inc(count)
        self._counts[f"{self._step}/{name}"] += count
        if self._path and self.are_due():
            self.flush()

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of this worker so far, by `step/name`."""
        return self._counts

    def at_work(self) -> None:
        """Record that this step is at work now. The metric keeps the first and the last time, in ms."""
        self._metrics.distribution(self._step, AT_WORK).update(time.time_ns() // 1_000_000)

    def are_due(self) -> bool:
        """True if the progress file is due to be written again."""
        return time.monotonic() - self._written >= _WRITE_EVERY_SEC

    def flush(self) -> None:
        """Write the progress file now."""
        self._written = time.monotonic()
        if self._path is None or not self._counts:
            return
        temporary = f"{self._path}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self._counts, file)
        os.replace(temporary, self._path)


def read_progress(progress_dir: str) -> collections.Counter[str]:
    """Add up the progress files of all workers: counts by `step/name`."""
    total: collections.Counter[str] = collections.Counter()
    for entry in os.scandir(progress_dir):
        if entry.name.endswith(".json"):
            with open(entry.path, encoding="utf-8") as file:
                total.update(json.load(file))
    return total
