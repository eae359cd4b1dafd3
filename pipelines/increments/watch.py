"""`corpus watch`: increments of files as they arrive, until it is stopped.

    scan ─► files new or changed, and settled? ─► enough documents in them? ─► build an increment
      ▲                                                                             │
      └──────────────────────────── wait for the interval ◄─────────────────────────┘

A scan lists the sources and compares the state of each file with the note of files already read; it reads no
file. A file is settled once it has not changed for a while, so the watch does not read half-written files. A
file without a state yet, because it changed less than 2 s ago, waits for one: a build could not note it as
read, and the next scan would find it again.
With `min_documents` the watch first counts the new documents, by the steps of a build before synthesis. It
does not count the same files twice.

After the first SIGTERM or SIGINT the watch finishes the current increment and ends. A second one drops the
increment; the answers so far are in the journal. The watch retries after failures of a server or conflicts
with another run, and ends on errors that need a person. It keeps the servers of its workers running between
increments.
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
from pipelines.increments.changed_source_files import SourceFile, list_files, unread
from pipelines.increments.failure_limits import WATCH_FAILURES
from pipelines.increments.preflight_checks import check_names, newest_manifest
from pipelines.increments.recorded_pairs import read_pairs_file
from pipelines.planning.counting_job import count_new
from pipelines.runners.run import parse_options, runs_here
from pipelines.store.made_tasks import registered, with_made_tasks
from plugins.readers.file_state import CLOCK_STEP_SEC
from plugins.sglang.server import lease_servers
from schemas.corpus_config import CorpusConfig
from schemas.crash_messages import understood
from schemas.errors import ConfigError, CorpusError, InputError, MachineError, SynthesisError, WorkerError
from schemas.manifest import Manifest


class Stop:
    """Signal handler: the first signal asks for an end after this increment, the second ends at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        print(
            f"{signal.Signals(number).name}: ending after the current increment. Send it again to drop the "
            "increment; answers so far are in the journal.",
            file=sys.stderr,
        )

    def is_asked(self) -> bool:
        """True once a signal asked for the end."""
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, or return early if a signal asks for the end."""
        self._asked.wait(seconds)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle SIGTERM and SIGINT by a Stop while the block runs."""
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
    """Build increments as files arrive, until `stop` is asked for.

    Args:
        beam_options: Options of Beam; only the local runner is allowed.
        stop: Asks for the end.
        interval_sec: Seconds between scans, or from the end of an increment to the next scan.
        min_documents: Least new documents of an increment.
        settle_sec: Seconds for which a file must be unchanged.
        published: Called with each manifest.

    Raises:
        ConfigError: A value or option is refused.
        TutelageError: An increment failed for a reason that waiting does not fix, or the fifth time in a row.
    """
    if not runs_here(parse_options(beam_options)):
        raise ConfigError(
            "corpus watch runs on this machine only. For another runner, run `corpus build` on a schedule: "
            "a run without new files ends within seconds and publishes nothing (docs/dataflow.md)."
        )
    with_made, made = with_made_tasks(config)
    tasks = check_names(with_made)
    read_pairs_file(with_made)
    settled = _Settled(settle_sec)
    too_few: frozenset[SourceFile] = frozenset()
    failures = 0
    say = _NewLines(quiet)
    say(
        f"Watching the sources of {', '.join(config.streams)} for {config.corpus}, every {interval_sec:g} s; "
        f"a file is taken once it has not changed for {settle_sec:g} s, an increment has at least "
        f"{min_documents:,} new documents."
    )
    # Servers of the workers stay up between increments.
    server = config.synthesis.server if config.synthesizes else None
    model = config.synthesis.model or ""
    with lease_servers(server, model=server.model or model) if server else contextlib.nullcontext():
        while not stop.is_asked():
            try:
                if registered(config.corpus) != made:
                    with_made, made = with_made_tasks(config)
                    tasks = check_names(with_made)
                files = list_files(with_made, tasks=tasks, may_be_none=True).files
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
                if failures == WATCH_FAILURES:
                    raise
                ours = understood(error)
                print(
                    f"{type(ours).__name__}: {ours} Trying again in {interval_sec:g} s "
                    f"({failures} of {WATCH_FAILURES}).",
                    file=sys.stderr,
                )
            soon = max(settle_sec, CLOCK_STEP_SEC)
            stop.wait(min(interval_sec, soon) if settled.is_waiting else interval_sec)


class _NewLines:
    """Prints the result of a scan, unless the scan before had the same."""

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
    """Time since when each file is unchanged."""

    def __init__(self, settle_sec: float):
        self._settle_sec = settle_sec
        self._since: dict[SourceFile, float] = {}
        self.is_waiting = False  # True if a file changed too recently

    def among(self, files: Sequence[SourceFile]) -> frozenset[SourceFile]:
        """Files that have had the same state for long enough."""
        now = time.monotonic()
        self._since = {file: self._since.get(file, now) for file in files}
        stateless = max(self._settle_sec, CLOCK_STEP_SEC)
        settled = frozenset(
            file
            for file, since in self._since.items()
            if now - since >= (self._settle_sec if file.state is not None else stateless)
        )
        self.is_waiting = len(settled) < len(files)
        return settled
