"""Lease of a corpus: one run writes at a time.

    lock/000007.json     the holder: token, host, process, PID namespace, boot; renewed every 15 s
                         └─► released at the end, or expired after 90 s without a renewal
    lock/000008.json     the next holder; exactly one run creates it, and then removes the older files

The highest number holds the lease. To take it, a run creates the file of the next number, which the storage
allows only once (`storage.create_bytes`), and then checks that no higher number has appeared. Only the holder
rewrites its file. A run that was suspended, or whose file was removed, notices before it publishes: its
number is no longer the highest, or its file has another token.

If the holder ran on the same host, boot and PID namespace and its process has ended, the next run takes over
at once. All other holders are judged by their renewals. Clocks of hosts may differ, so the time in the file
serves only to refuse early. To take over, a run watches the file for 90 s by its own clock without seeing a
renewal.

Limit: some stores cannot create a file only if it does not exist (fsspec's `mode="create"`). There, two runs
that start within one round trip may both believe that they hold the lease until the next check. Each still
writes to folders of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated

import pydantic

from pipelines.increments.refuse_symlinks import refuse_links
from schemas import limits, storage
from schemas.corpus_layout import LEASES, lease_uri, numbers_in
from schemas.errors import CorpusError
from schemas.process_identity import process_started, this_machine
from schemas.validation import Strict, parse

RENEW_SEC = 15.0
EXPIRES_SEC = 90.0
_TRIES = 8
_LOOKS = 60
_CURE = "If no run is at work on this corpus, remove it and run again."

_Text = Annotated[str, pydantic.Field(max_length=255)]


def new_token() -> str:
    """Random name of a run, which its increment and its lease carry."""
    return uuid.uuid4().hex[:12]


class _Content(Strict):
    """Content of a lease file."""

    token: str = pydantic.Field(pattern=r"^[0-9a-f]{0,32}$")  # of the run; empty in files of older versions
    host: _Text
    boot: _Text
    pid_namespace: _Text
    pid: int = pydantic.Field(ge=1, le=limits.COUNT)
    process_started: _Text  # in ticks since boot
    since: _Text  # time at which the run took the lease
    renewed: str = pydantic.Field(max_length=64)  # time of the last renewal, by the run's clock
    released: bool  # True once the run has ended

    @pydantic.field_validator("renewed")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if datetime.datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value


class Holder(_Content):
    """Content of a lease file, with its URI and number."""

    uri: str
    number: int

    def is_dead(self) -> bool:
        """True if the run's process is known to have ended."""
        is_here = (self.host, self.boot, self.pid_namespace) == this_machine()
        return is_here and process_started(self.pid) != self.process_started

    def age_sec(self) -> float:
        """Seconds since the last renewal, by the clocks of two hosts."""
        renewed = datetime.datetime.fromisoformat(self.renewed)
        return (datetime.datetime.now(datetime.timezone.utc) - renewed).total_seconds()

    def refuse_if_fresh(self) -> None:
        """Raise a CorpusError if the last renewal is recent."""
        if 0 <= self.age_sec() <= EXPIRES_SEC:
            raise self.at_work()

    def at_work(self) -> CorpusError:
        """Error for another run while this one is at work."""
        return CorpusError(
            f"{self.uri}: another run holds this corpus ({self}). Wait for it. If that run is gone, the next "
            f"run takes over {EXPIRES_SEC:g} s after its last renewal. To take over now, remove the file and "
            "run again. Nothing was changed."
        )

    def write(self) -> None:
        """Write the file again."""
        storage.write_bytes(self.uri, self.content())

    def content(self) -> bytes:
        """Bytes of the file."""
        return self.model_dump_json(exclude={"uri", "number"}).encode()

    def __str__(self) -> str:
        age = self.age_sec()
        when = f"{_span(age)} ago" if age >= 0 else f"{_span(-age)} in the future, by clocks that differ"
        return f"process {self.pid} on {self.host}, since {self.since}, last renewed {when}"


class Lease:
    """Lease of one run; `held` makes it."""

    def __init__(self, corpus: str, token: str, say: Callable[[str], None]):
        self.uri = ""
        self.taken_from: Holder | None = None  # the holder before, if its process is known to have ended
        self.is_lost = False  # True once another run took over
        self._corpus = corpus
        self._token = token
        self._say = say
        self._unrenewed: Exception | None = None  # why the run could not renew it in time
        self._mine: Holder | None = None
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._has_handler = False

    def take(self) -> None:
        """Become the holder, or raise a CorpusError if another run holds the lease."""
        for _ in range(_TRIES):
            before = _newest(self._corpus)
            if before is not None and not self._is_free(before):
                continue
            self._mine = _own(self._corpus, before.number + 1 if before else 1, self._token)
            self.uri = self._mine.uri
            if not storage.create_bytes(self.uri, self._mine.content()):
                continue
            if self.is_ours():
                self.taken_from = before if before and not before.released and before.is_dead() else None
                for older in numbers_in(self._corpus, LEASES):
                    if older < self._mine.number:
                        storage.remove_file(lease_uri(self._corpus, older))
                return
            storage.remove_file(self.uri)
        raise CorpusError(
            f"{self._corpus}: another run took the lock a moment ago. Wait for it, then run again."
        )

    def is_ours(self) -> bool:
        """True if no other run took over."""
        assert self._mine is not None
        newest = _newest(self._corpus)
        self.is_lost = newest is None or (newest.number, newest.token) != (self._mine.number, self._token)
        return not self.is_lost

    def check(self) -> None:
        """Raise a CorpusError if another run took over; called before publishing or removing something."""
        if self._unrenewed is not None or not self.is_ours():
            raise self.lost()

    def lost(self) -> CorpusError:
        """Error that ends a run without its lease."""
        if self._unrenewed is not None:
            return CorpusError(
                f"{self.uri}: could not be renewed for {EXPIRES_SEC - 2 * RENEW_SEC:g} s: "
                f"{type(self._unrenewed).__name__}: {self._unrenewed}. The run ended before another one may "
                "take over. Nothing was published; answers so far are in the journal. Run again."
            )
        with contextlib.suppress(CorpusError, OSError):
            newest = _newest(self._corpus)
            if newest is not None:
                return CorpusError(
                    f"{self._corpus}: another run took the lock over ({newest}), because this one did not "
                    f"renew {self.uri} for {EXPIRES_SEC:g} s, or somebody removed that file. Was this "
                    "process suspended? Nothing was published; answers so far are in the journal. Run again."
                )
        return CorpusError(
            f"{self.uri}: was removed while this run held it. Nothing was published; answers so far are in "
            "the journal. Run again."
        )

    def renew_in_background(self) -> None:
        """Renew the lease in a thread, until `release`."""
        threading.Thread(target=self._renew, name="renew-lease", daemon=True).start()

    def release(self) -> None:
        """Let the next run take the lease."""
        self._over.set()
        with self._writing, contextlib.suppress(Exception):  # of any store's client: else it expires
            if self._mine is not None and self.is_ours():
                self._mine.model_copy(update={"released": True}).write()

    def _renew(self) -> None:
        assert self._mine is not None
        renewed = time.monotonic()
        while not self._over.wait(RENEW_SEC):
            with self._writing:
                if self._over.is_set():
                    return
                try:
                    is_ours = self.is_ours()
                    if is_ours:
                        self._mine.model_copy(update={"renewed": _now()}).write()
                        renewed = time.monotonic()
                except Exception as error:  # of any store's client; the next try may be answered
                    # The run ends before another one may take over.
                    is_ours = time.monotonic() - renewed < EXPIRES_SEC - 2 * RENEW_SEC
                    if not is_ours:
                        self.is_lost, self._unrenewed = True, error
            if not is_ours:
                if self._has_handler:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return

    def _is_free(self, holder: Holder) -> bool:
        """Return True if a holder has ended; if that is unknown, watch its renewals first.

        Return False if another run took the lease meanwhile; raise a CorpusError if the holder is at work.
        """
        if holder.released or holder.is_dead():
            return True
        holder.refuse_if_fresh()
        self._say(
            f"{holder.uri}: another run held this corpus ({holder}). This run watches it for "
            f"{EXPIRES_SEC:g} s and takes over if it is not renewed."
        )
        until = time.monotonic() + EXPIRES_SEC
        while time.monotonic() < until:
            time.sleep(EXPIRES_SEC / _LOOKS)
            now = _newest(self._corpus)
            if now is None or (now.number, now.token) != (holder.number, holder.token):
                return False
            if now.released:
                return True
            if now != holder:
                raise now.at_work()
        return True

    @contextlib.contextmanager
    def ended_by_sigterm(self) -> Iterator[None]:
        """End the run on SIGTERM as Ctrl-C does, and on the loss of the lease with an error."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGTERM)
        was_asked = False

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal was_asked
            if callable(before) and not self.is_lost:
                before(number, frame)
            elif not was_asked and before is not signal.SIG_IGN:
                was_asked = True  # a second signal must not interrupt the cleanup
                raise self.lost() if self.is_lost else KeyboardInterrupt

        signal.signal(signal.SIGTERM, handle)
        self._has_handler = True
        try:
            yield
        finally:
            self._has_handler = False
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def held(
    corpus: str, token: str, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
) -> Iterator[Lease]:
    """Hold the lease of a corpus while the block runs; `say` gets a line before a wait for another holder.

    Raises:
        CorpusError: Another run holds the lease, or the corpus cannot be written.
    """
    lease = Lease(corpus, token, say)
    with lease.ended_by_sigterm():
        try:
            with writable(storage.join(corpus, LEASES)):
                refuse_links(corpus)
                lease.take()
            lease.renew_in_background()
            yield lease
        finally:
            lease.release()


@contextlib.contextmanager
def writable(uri: str) -> Iterator[None]:
    """Turn an OSError of the block, before the run did anything, into a CorpusError that names the URI."""
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"{uri}: cannot be written: {error}. Check `corpus`, its permissions and the space on its disk. "
            "Nothing was read or changed."
        ) from error


def refuse_if_held(corpus: str) -> None:
    """Raise a CorpusError if a run is at work on a corpus, without taking its lease."""
    refuse_links(corpus)
    holder = _newest(corpus)
    if holder is not None and not holder.released and not holder.is_dead():
        holder.refuse_if_fresh()


def _newest(corpus: str) -> Holder | None:
    """The holder of the highest number."""
    for _ in range(_TRIES):
        if not (numbers := numbers_in(corpus, LEASES)):
            return None
        uri = lease_uri(corpus, numbers[-1])
        try:
            data = storage.read_bytes(uri, limit=limits.LOCK_BYTES)
        except FileNotFoundError:
            continue  # its successor removed it
        content = parse(_Content, data, name=uri, cure=_CURE).model_dump()
        return Holder(uri=uri, number=numbers[-1], **content)
    raise CorpusError(f"{uri}: is listed, but cannot be read. {_CURE}")


def _own(corpus: str, number: int, token: str) -> Holder:
    host, boot, pid_namespace = this_machine()
    return Holder(
        uri=lease_uri(corpus, number),
        number=number,
        token=token,
        host=host,
        boot=boot,
        pid_namespace=pid_namespace,
        pid=os.getpid(),
        process_started=process_started(os.getpid()),
        since=_now(),
        renewed=_now(),
        released=False,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
