"""Scratch folders in TMPDIR that go at the end, and after a kill with the next run.

A folder is locked (`flock`) for as long as its process, or a child that was forked meanwhile, lives. The
kernel lets go of the lock however a process ends. So a folder that can be locked is abandoned: the first
scratch folder of a process removes all of those, of this user only. A file system without locks keeps them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator

_PREFIX = "tutelage-scratch-"


@contextlib.contextmanager
def scratch(purpose: str, place: str | None = None) -> Iterator[str]:
    """A new folder in TMPDIR until the block ends; gives its path.

    Args:
        purpose: A word for its name.
        place: Where it is made instead.
    """
    place = place or tempfile.gettempdir()
    _remove_abandoned(place)
    lock = None
    while lock is None:  # another process may take it for an abandoned one before it is locked
        folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-", dir=place)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: nobody else can lock it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_there(lock, folder):
                os.close(lock)
                lock = None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@functools.cache
def _remove_abandoned(place: str) -> None:
    for name in os.listdir(place):
        folder = os.path.join(place, name)
        with contextlib.suppress(OSError):  # somebody else's, gone, in use, or no folder
            if not name.startswith(_PREFIX):
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid() and _is_there(lock, folder):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _is_there(lock: int, folder: str) -> bool:
    return os.path.exists(folder) and os.path.samestat(os.fstat(lock), os.stat(folder))
