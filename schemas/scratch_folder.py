"""Scratch folders in TMPDIR: removed at the end, or by the next run if their process was killed.

A process holds a lock (`flock`) on its folder; forked children share it. The kernel releases the lock however
the process ends, so an unlocked folder is abandoned. The first scratch folder of a process removes all
abandoned folders of the same user. On a file system without locks they stay.
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
    """Make a scratch folder in `place`, by default TMPDIR, for the duration of a block; yield its path."""
    place = place or tempfile.gettempdir()
    _remove_abandoned(place)
    lock = None
    while lock is None:  # another process may remove the folder as abandoned before it is locked
        folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-", dir=place)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: no process removes the folder
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
        with contextlib.suppress(OSError):  # of another user, gone, in use, or not a folder
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
