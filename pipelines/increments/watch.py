"""A corpus that takes in files as they arrive, one increment after the other, until it is stopped.

    look ─► files new or changed, and settled? ─► enough documents in them? ─► build an increment
      ▲                                                                             │
      └──────────────────────────── wait for the interval ◄─────────────────────────┘

A look lists the sources and compares what storage says of each file with the note of what was read; it reads
none. A file counts as settled once it has not changed for a while, so that one that is still being written is
left for a later look. With `min_documents` the new documents are counted first, by the steps of a build up to
its synthesis; until there are enough, the same files are not counted twice.

The first SIGTERM or SIGINT lets the increment in hand be finished; a second one drops it, and what its
requests were answered is in the journal. A server or a run in the way is waited for; what needs a person ends
the watch. Servers that workers start are held from the first look to the last.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from pipelines.increments.build import build_increment
from pipelines.increments.prechecks import check_names, newest_manifest
from pipelines.increments.source_files import SourceFile, list_files, unread
from pipelines.planning.counting_job import count_new
from pipelines.runners.run import parse_options, runs_here
from plugins.sglang.server import lease_servers
from schemas.corpus_config import CorpusConfig
from schemas.crash_messages import understood
from schemas.errors import ConfigError, CorpusError, InputError, MachineError, SynthesisError, WorkerError
from schemas.manifest import Manifest

_MOST_FAILURES = 5


class Stop:
    """Says when to end: at the first signal after the increment in hand, at the second at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be a signal handler."""
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        print(
            f"{signal.Signals(number).name}: ending after the increment in hand. Once more to drop it; "
            "what it was answered is in the journal.",
            file=sys.stderr,
        )

    def is_asked(self) -> bool:
        """Whether to end."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, unless asked to end."""
        self._asked.wait(seconds)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Have SIGTERM and SIGINT ask to end while the block lasts."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    stop: Stop,
    interval_sec: float = 60.0,
    min_documents: int = 1,
    settle_sec: float = 10.0,
    published: Callable[[Manifest], None] = lambda manifest: None,
    quiet: bool = False,
) -> None:
    """Build increments as files arrive, until asked to stop.

    Args:
        config: The corpus.
        beam_options: Options for Beam; the runner must be this machine's.
        stop: Says when to end.
        interval_sec: Seconds from one look to the next, or from the end of an increment.
        min_documents: New documents that make an increment.
        settle_sec: Seconds for which a file must have been as it is.
        published: Called with each manifest.
        quiet: Show nothing on standard error.

    Raises:
        ConfigError: A value or option is refused.
        TutelageError: An increment could not be built for a reason that waiting does not mend, or for the
            fifth time in a row.
    """
    if not runs_here(parse_options(beam_options)):
        raise ConfigError(
            "corpus watch runs on this machine only. For another runner, run `corpus build` on a schedule: "
            "a run without new files ends within seconds and publishes nothing (docs/dataflow.md)."
        )
    tasks = check_names(config)
    settled = _Settled(settle_sec)
    too_few: frozenset[SourceFile] = frozenset()
    failures = 0
    say = _Says(quiet)
    say(
        f"Watching the sources of {', '.join(config.streams)} for {config.corpus}, every {interval_sec:g} s; "
        f"a file is taken once it has not changed for {settle_sec:g} s, an increment has at least "
        f"{min_documents:,} new documents."
    )
    with _held_servers(config):
        while not stop.is_asked():
            try:
                files = list_files(config, tasks=tasks, may_be_none=True).files
                found = unread(files, config.corpus, newest_manifest(config))
                new = [file for group in found.values() for file in group]
                ready = settled.among(new)
                if not new:
                    say(f"{_files(sum(map(len, files.values())))} in the sources, none new or changed.")
                elif not ready:
                    say(f"{_files(len(new))} new or changed, none settled.")
                elif ready != too_few:
                    of_all = "" if len(ready) == len(new) else f" of {len(new):,} new or changed"
                    say(f"{_files(len(ready))}{of_all} to be taken in.")
                    count = count_new(config, beam_options, ready.__contains__) if min_documents > 1 else None
                    if count is not None and count < min_documents:
                        too_few = ready
                        wanted = f"of at least {min_documents:,}: waiting for more."
                        say(f"{count:,} new documents in them, {wanted}")
                    elif manifest := build_increment(
                        config, beam_options, quiet=quiet, wanted=ready.__contains__
                    ):
                        published(manifest)
                    else:
                        say("No new document in them; nothing was published.")
                failures = 0
            except (SynthesisError, CorpusError, InputError, WorkerError, MachineError, OSError) as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
                ours = understood(error)
                print(
                    f"{type(ours).__name__}: {ours} Trying again in {interval_sec:g} s "
                    f"({failures} of {_MOST_FAILURES}).",
                    file=sys.stderr,
                )
            stop.wait(min(interval_sec, settle_sec) if settled.is_waiting else interval_sec)


class _Says:
    """Prints what a look found, unless the look before it found the same."""

    def __init__(self, quiet: bool):
        self._quiet = quiet
        self._last = ""

    def __call__(self, line: str) -> None:
        if line != self._last and not self._quiet:
            print(line, file=sys.stderr, flush=True)
        self._last = line


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


class _Settled:
    """Knows since when each file is as it is.

    Attributes:
        is_waiting: Whether a file changed too short a time ago.
    """

    def __init__(self, settle_sec: float):
        self._settle_sec = settle_sec
        self._since: dict[SourceFile, float] = {}
        self.is_waiting = False

    def among(self, files: Sequence[SourceFile]) -> frozenset[SourceFile]:
        """Those of the files that were seen in the same state for long enough."""
        now = time.monotonic()
        self._since = {file: self._since.get(file, now) for file in files}
        settled = frozenset(file for file, since in self._since.items() if now - since >= self._settle_sec)
        self.is_waiting = len(settled) < len(files)
        return settled


@contextlib.contextmanager
def _held_servers(config: CorpusConfig) -> Iterator[None]:
    """Keep servers that the workers would start for themselves, from one increment to the next."""
    server = config.synthesis.server
    if server is None or not config.synthesizes:
        yield
        return
    with lease_servers(server, model=server.model or config.synthesis.model or ""):
        yield
