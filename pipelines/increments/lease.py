"""Lease of a corpus: one run writes at a time.

    lock/000007.json     the holder: token, host, process, PID namespace, boot; renewed every 15 s
                         └─► released at the end, or expired after 90 s without a renewal
    lock/000008.json     the next holder; made by exactly one run, which then removes the older files

The highest number holds the lease. A run takes it by creating the file of the next number, which the storage
allows once (`storage.create_bytes`), and looks again whether a higher one was created meanwhile. Only the
holder of a number writes its file again. So a run that was suspended, or whose file somebody removed, finds
out before it publishes: its number is no longer the highest, or its file has another token.

A holder of the same host, boot and PID namespace whose process is gone is taken over at once. Of any other
one only the renewals tell. Clocks of hosts may differ: a time in the file is used to refuse early, never to
take over. A lease is taken over after its file was watched for 90 s by the clock of the run that watches,
and was not renewed.

Limit: on a store that cannot create a file only where there is none (fsspec's `mode="create"`), two runs that
start within one round trip may both believe that they hold the lease until the next check. Each still writes
to folders of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated

import pydantic

from pipelines.increments.symlinks import refuse_links
from schemas import limits, storage
from schemas.errors import CorpusError
from schemas.validation import Strict, parse

RENEW_SEC = 15.0
EXPIRES_SEC = 90.0
_FOLDER = "lock"
_TRIES = 8
_LOOKS = 60
_NAME = re.compile(r"(?!0{6})(?:[0-9]{6}|[1-9][0-9]{6,17})\.json")
_CURE = "If no run is at work on this corpus, remove it and run again."

_Told = Annotated[str, pydantic.Field(max_length=255)]


class _File(Strict):
    """What a file of a lease holds, whoever wrote it; see Holder."""

    token: str = pydantic.Field(pattern=r"^[0-9a-f]{0,32}$")  # a run of before had none
    host: _Told
    boot: _Told
    pid_namespace: _Told
    pid: int = pydantic.Field(ge=1, le=limits.COUNT)
    process_started: _Told
    since: _Told
    renewed: str = pydantic.Field(max_length=64)
    released: bool

    @pydantic.field_validator("renewed")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if datetime.datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value


def new_token() -> str:
    """What tells a run and all that it writes from any other."""
    return uuid.uuid4().hex[:12]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """What a file of a lease says.

    Attributes:
        uri: The file.
        number: Its number.
        token: Of the run.
        host: Where the run is.
        boot: Which start of that machine.
        pid_namespace: In which its process has its number.
        pid: Its process.
        process_started: When that began, in ticks since boot.
        since: When the run took the lease.
        renewed: When it said last that it is at work, by its clock.
        released: Whether it has ended.
    """

    uri: str
    number: int
    token: str
    host: str
    boot: str
    pid_namespace: str
    pid: int
    process_started: str
    since: str
    renewed: str
    released: bool = False

    def is_dead(self) -> bool:
        """Whether the run is surely gone."""
        is_here = (self.host, self.boot, self.pid_namespace) == _here()
        return is_here and _started(self.pid) != self.process_started

    def age_sec(self) -> float:
        """Seconds since the last renewal, by the clocks of two hosts."""
        renewed = datetime.datetime.fromisoformat(self.renewed)
        return (datetime.datetime.now(datetime.timezone.utc) - renewed).total_seconds()

    def __str__(self) -> str:
        age = self.age_sec()
        told = f"{_span(age)} ago" if age >= 0 else f"{_span(-age)} in the future, by clocks that differ"
        return f"process {self.pid} on {self.host}, since {self.since}, last renewed {told}"


class Lease:
    """Made by `held`.

    Attributes:
        uri: File of the lease.
        taken_from: The holder before, if its process is surely gone.
    """

    def __init__(self, corpus: str, token: str, say: Callable[[str], None]):
        self.uri = ""
        self.taken_from: Holder | None = None
        self.is_lost = False
        self._corpus = corpus
        self._token = token
        self._say = say
        self._mine: Holder | None = None
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._has_handler = False

    def take(self) -> None:
        """Become the holder.

        Raises:
            CorpusError: Another run is.
        """
        for _ in range(_TRIES):
            before = _newest(self._corpus)
            if before is not None and not self._is_free(before):
                continue
            number = before.number + 1 if before else 1
            self.uri = _uri(self._corpus, number)
            self._mine = _own(self.uri, number, self._token)
            if not storage.create_bytes(self.uri, _content(self._mine)):
                continue
            if self.is_ours():
                self.taken_from = before if before and not before.released and before.is_dead() else None
                for older in _numbers(self._corpus):
                    if older < number:
                        _remove(_uri(self._corpus, older))
                return
            _remove(self.uri)
        raise CorpusError(
            f"{self._corpus}: another run took the lock a moment ago. Wait for it, then run again."
        )

    def is_ours(self) -> bool:
        """Whether no other run took it over."""
        assert self._mine is not None
        newest = _newest(self._corpus)
        self.is_lost = newest is None or (newest.number, newest.token) != (self._mine.number, self._token)
        return not self.is_lost

    def check(self) -> None:
        """See that it is ours before something is published or removed.

        Raises:
            CorpusError: Another run took it over.
        """
        if not self.is_ours():
            raise self.lost()

    def lost(self) -> CorpusError:
        """What a run ends with that lost the lease."""
        with contextlib.suppress(CorpusError, OSError):
            newest = _newest(self._corpus)
            if newest is not None:
                return CorpusError(
                    f"{self._corpus}: another run took the lock over ({newest}), because this one did not "
                    f"renew {self.uri} for {EXPIRES_SEC:g} s, or somebody removed that file. Was this "
                    "process suspended? Nothing was published; what was answered is in the journal. Run "
                    "again."
                )
        return CorpusError(
            f"{self.uri}: was removed while this run held it. Nothing was published; what was answered is in "
            "the journal. Run again."
        )

    def renew_in_background(self) -> None:
        """Say that this run is at work, until `release`."""
        threading.Thread(target=self._renew, name="renew-lease", daemon=True).start()

    def release(self) -> None:
        """Let the next run have it."""
        self._over.set()
        with self._writing, contextlib.suppress(OSError, CorpusError):  # else it expires
            if self._mine is not None and self.is_ours():
                storage.write_bytes(self.uri, _content(dataclasses.replace(self._mine, released=True)))

    def _renew(self) -> None:
        assert self._mine is not None
        while not self._over.wait(RENEW_SEC):
            with (
                self._writing,
                contextlib.suppress(OSError, CorpusError),
            ):
                if self._over.is_set():
                    return
                if not self.is_ours():
                    if self._has_handler:
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                    return
                storage.write_bytes(self.uri, _content(dataclasses.replace(self._mine, renewed=_now())))

    def _is_free(self, holder: Holder) -> bool:
        """Whether a holder has ended or is gone; of one that is not known about, watches its renewals.

        Returns:
            False where another run was quicker.

        Raises:
            CorpusError: It is at work.
        """
        if holder.released or holder.is_dead():
            return True
        refuse_if_fresh(holder)
        self._say(
            f"{holder.uri}: another run held this corpus ({holder}). It is watched for {EXPIRES_SEC:g} s, "
            "and taken over if it is not renewed."
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
                raise _held(now)
        return True

    @contextlib.contextmanager
    def ended_by_sigterm(self) -> Iterator[None]:
        """Have SIGTERM end this run as Ctrl-C does, and the loss of the lease end it with an error."""
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
                was_asked = True  # what is removed at the end is removed
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
    """Hold the lease of a corpus for a while.

    Args:
        corpus: The corpus.
        token: Of the run; see `new_token`.
        say: Tells the person of a holder that is waited for.

    Raises:
        CorpusError: Another run holds it, or the corpus cannot be written.
    """
    lease = Lease(corpus, token, say)
    with lease.ended_by_sigterm():
        try:
            with writable(storage.join(corpus, _FOLDER)):
                refuse_links(corpus)
                lease.take()
            lease.renew_in_background()
            yield lease
        finally:
            lease.release()


@contextlib.contextmanager
def writable(uri: str) -> Iterator[None]:
    """Name what cannot be written before a run has done anything.

    Raises:
        CorpusError: It cannot.
    """
    try:
        yield
    except OSError as error:
        raise CorpusError(
            f"{uri}: cannot be written: {error}. Check `corpus`, its permissions and the space on its disk. "
            "Nothing was read or changed."
        ) from error


def refuse_if_held(corpus: str) -> None:
    """See that no run is at work on a corpus, without taking its lease.

    Raises:
        CorpusError: One is.
    """
    refuse_links(corpus)
    holder = _newest(corpus)
    if holder is not None and not holder.released and not holder.is_dead():
        refuse_if_fresh(holder)


def refuse_if_fresh(holder: Holder) -> None:
    """Refuse a lease that was renewed a short time ago.

    Raises:
        CorpusError: It was.
    """
    if 0 <= holder.age_sec() <= EXPIRES_SEC:
        raise _held(holder)


def _held(holder: Holder) -> CorpusError:
    return CorpusError(
        f"{holder.uri}: another run holds this corpus ({holder}). Wait for it. A run that is gone renews no "
        f"more: {EXPIRES_SEC:g} s after the last renewal the next run takes over. To take over now, remove "
        "the file and run again. Nothing was changed."
    )


def _newest(corpus: str) -> Holder | None:
    """The holder of the highest number."""
    for _ in range(_TRIES):
        if not (numbers := _numbers(corpus)):
            return None
        uri = _uri(corpus, numbers[-1])
        try:
            data = storage.read_bytes(uri, limit=limits.LOCK_BYTES)
        except FileNotFoundError:
            continue  # its successor removed it
        values = parse(_File, data, name=uri, cure=_CURE).model_dump()
        return Holder(uri=uri, number=numbers[-1], **values)
    raise CorpusError(f"{_uri(corpus, numbers[-1])}: is listed, but cannot be read. {_CURE}")


def _numbers(corpus: str) -> list[int]:
    fs, path = storage.filesystem(storage.join(corpus, _FOLDER))
    try:
        names = [entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False, refresh=True)]
    except FileNotFoundError:
        return []
    return sorted(int(name[:-5]) for name in names if _NAME.fullmatch(name))


def _uri(corpus: str, number: int) -> str:
    return storage.join(corpus, _FOLDER, f"{number:06d}.json")


def _remove(uri: str) -> None:
    fs, path = storage.filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def _own(uri: str, number: int, token: str) -> Holder:
    host, boot, pid_namespace = _here()
    return Holder(
        uri=uri,
        number=number,
        token=token,
        host=host,
        boot=boot,
        pid_namespace=pid_namespace,
        pid=os.getpid(),
        process_started=_started(os.getpid()),
        since=_now(),
        renewed=_now(),
    )


def _content(holder: Holder) -> bytes:
    values = dataclasses.asdict(holder)
    return json.dumps({key: value for key, value in values.items() if key not in ("uri", "number")}).encode()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _here() -> tuple[str, str, str]:
    """Host, boot and PID namespace of this process; what the system does not tell is empty."""
    boot = pid_namespace = ""
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        pid_namespace = os.readlink("/proc/self/ns/pid")
    return socket.gethostname(), boot, pid_namespace


def _started(pid: int) -> str:
    """When a process of this machine started, in ticks since boot; "gone" when there is none.

    Tells a process from a later one of the same number. Without /proc all live ones look alike.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
        return "gone" if state in "ZX" else fields[18]
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "alive"
