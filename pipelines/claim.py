"""One run at a time on an increment.

A run creates `increments/000003/RUNNING.json` before it writes, and removes it when it is done. A run
that was killed leaves it behind: the next run on the same machine sees that the process is gone, removes
the leftovers and takes over; a run elsewhere cannot know, and says what to do.
"""

from __future__ import annotations

import datetime
import json
import os
import socket

import psutil

from schemas import storage
from schemas.errors import CorpusError

_NAME = "RUNNING.json"


def claim(increment: str) -> None:
    """Take an unpublished increment's directory for this process, empty.

    Raises:
        CorpusError: Another run is at work on it.
    """
    uri = storage.join(increment, _NAME)
    me = json.dumps(
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "since": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
    ).encode()
    for _ in range(2):
        if storage.create_bytes(uri, me):
            return
        _refuse_unless_dead(uri)
        storage.remove_tree(increment)
    raise CorpusError(f"{uri}: another run took this increment a moment ago. Wait for it, then run again.")


def release(increment: str) -> None:
    """Give a finished increment back, its files kept."""
    fs, path = storage.filesystem(storage.join(increment, _NAME))
    if fs.exists(path):
        fs.rm_file(path)


def _refuse_unless_dead(uri: str) -> None:
    try:
        holder = json.loads(storage.read_bytes(uri))
        host, pid, started = str(holder["host"]), int(holder["pid"]), float(holder["process_started"])
        since = holder["since"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise CorpusError(
            f"{uri}: cannot be understood. If no run is at work on this corpus, remove it and run again."
        ) from None
    if host == socket.gethostname() and not _alive(pid, started):
        return
    raise CorpusError(
        f"{uri}: another run holds this increment (process {pid} on {host}, since {since}). Wait for it; "
        "or, if that process is gone, remove the file and run again. Nothing was changed."
    )


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
