"""State of a file: its ETag, or size and time of change, by which a build skips unchanged files."""

from __future__ import annotations

import os
import time

from schemas import storage

_HASH_NAMES = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
"""Names by which file systems report a hash of a file's bytes, or a number that changes with each write."""

CLOCK_STEP_SEC = 2
"""Coarsest clock of a file system in use (FAT)."""


def file_state(uri: str) -> str | None:
    """Return a string that changes with a file's bytes.

    None if the storage reports nothing, or only a time of change less than 2 s ago, which a later change
    might share.
    """
    fs, path = storage.filesystem(uri)
    found = fs.info(path)
    for name in _HASH_NAMES:
        if found.get(name):
            return f"{name} {found[name]}"
    changed_ns = time_of_change(uri)
    if changed_ns is None or abs(time.time_ns() - changed_ns) < CLOCK_STEP_SEC * 1e9:
        return None
    return f"size {found['size']}, changed {changed_ns}"


def time_of_change(uri: str) -> int | None:
    """Return the time of a file's last change in ns since 1970; None if the storage reports none."""
    fs, path = storage.filesystem(uri)
    if storage.is_local(uri):
        return os.stat(path).st_mtime_ns
    try:
        return int(fs.modified(path).timestamp() * 1e9)
    except (NotImplementedError, AttributeError, KeyError):
        return None
