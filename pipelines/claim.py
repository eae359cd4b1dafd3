"""One run at a time on an increment.

A run creates `increments/000003/RUNNING.json` before it writes, and removes it when it is done. A run
that was killed leaves it behind: the next run on the same machine sees that the process is gone and
takes over; a run elsewhere cannot know, and says what to do. Whoever takes an increment empties it,
and nobody empties one that is published.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator

from schemas import storage
from schemas.errors import CorpusError

_NAME = "RUNNING.json"


def claim(increment: str, *, is_published: Callable[[], bool]) -> bytes:
    """Take an unpublished increment's directory for this process, empty.

    Args:
        increment: URI of the directory.
        is_published: Whether a manifest names the increment already.

    Returns:
        What shows that the claim is ours; see `holds`.

    Raises:
        CorpusError: Another run is at work on it, or has published it.
    """
    uri = storage.join(increment, _NAME)
    mine = json.dumps(
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": _started(os.getpid()),
            "since": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "run": uuid.uuid4().hex,
        }
    ).encode()
    for _ in range(2):
        with _one_at_a_time(increment):
            made = storage.create_bytes(uri, mine)
            if not made:
                _refuse_unless_dead(uri)
            # Asked only now: a run that published has written its manifest before it let go.
            if is_published():
                if made:
                    release(increment)
                raise CorpusError(f"{increment}: another run published it meanwhile. Build again.")
            if made:
                _remove_leftovers(increment)
                return mine
            release(increment)  # for the process that is gone
    raise CorpusError(f"{uri}: another run took this increment a moment ago. Wait for it, then run again.")


def holds(increment: str, claimed: bytes) -> bool:
    """Whether the claim that `claim` returned still stands."""
    try:
        return storage.read_bytes(storage.join(increment, _NAME)) == claimed
    except FileNotFoundError:
        return False


def refuse_if_held(increment: str) -> None:
    """See that no run is at work on an increment, without claiming it.

    Raises:
        CorpusError: One is.
    """
    _refuse_unless_dead(storage.join(increment, _NAME))


def release(increment: str) -> None:
    """Give an increment back, its files kept."""
    fs, path = storage.filesystem(storage.join(increment, _NAME))
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


@contextlib.contextmanager
def _one_at_a_time(increment: str) -> Iterator[None]:
    """Keep two processes of this machine from taking over the same dead run's claim at once."""
    if not storage.is_local(increment):
        yield
        return
    _, path = storage.filesystem(increment)
    os.makedirs(path, exist_ok=True)
    folder = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _remove_leftovers(increment: str) -> None:
    fs, path = storage.filesystem(increment)
    for entry in fs.ls(path, detail=False, refresh=True):
        if not entry.rsplit("/", 1)[-1].startswith(_NAME):
            fs.rm(entry, recursive=True)


def _refuse_unless_dead(uri: str) -> None:
    try:
        holder = json.loads(storage.read_bytes(uri))
        host, pid, started = str(holder["host"]), int(holder["pid"]), str(holder["process_started"])
        since = holder["since"]
    except FileNotFoundError:
        return  # let go of a moment ago
    except (ValueError, KeyError, TypeError):
        raise CorpusError(
            f"{uri}: cannot be understood. If no run is at work on this corpus, remove it and run again."
        ) from None
    if host == socket.gethostname() and _started(pid) != started:
        return
    raise CorpusError(
        f"{uri}: another run holds this increment (process {pid} on {host}, since {since}). Wait for it; "
        "or, if that process is gone, remove the file and run again. Nothing was changed."
    )


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
