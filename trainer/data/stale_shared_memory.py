"""Removal of shared memory that killed runs left behind.

Streaming keeps the state of its readers in segments such as `/dev/shm/000003_barrier`. The number is the
first free one, so concurrent runs do not share segments. A killed run leaves its segments behind; they do no
harm but take memory until the machine restarts. Streaming's own `clean_stale_shared_memory` also removes the
segments of running jobs.

So a run writes a marker for its number, `/dev/shm/tutelage-000003.json`, with its process id, the start time
of that process and its process namespace. The next run removes the segments of a marker whose process has
ended, unless some process still maps them. It leaves alone the segments of other programs, and of containers
that share /dev/shm but hide their processes.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from typing import Any

from schemas import storage
from schemas.process_identity import pid_namespace, process_started

_FOLDER = "/dev/shm"
_MARKER = re.compile(r"tutelage-(\d{6})\.json")


def claim_segments(number: int, folder: str = _FOLDER) -> None:
    """Mark the segments of a number as this process's until it exits, and remove stale ones.

    Args:
        number: Streaming's number of a dataset: the first part of its segments' names.
        folder: Folder that shows shared memory as files; if it is missing nothing is marked.
    """
    if not os.path.isdir(folder):
        return
    remove_stale_segments(folder)
    path = os.path.join(folder, f"tutelage-{number:06}.json")
    storage.write_bytes(path, json.dumps(_identity()).encode())
    atexit.register(_remove, path)


def remove_stale_segments(folder: str = _FOLDER) -> list[str]:
    """Remove the segments and markers of our runs that have ended; return the removed names."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    stale = [
        match[1] for match in map(_MARKER.fullmatch, names) if match and _has_ended(f"{folder}/{match[0]}")
    ]
    mapped = _mapped_files(folder) if stale else set()
    removed = []
    for number in stale:
        segments = [name for name in names if name.startswith(f"{number}_")]
        if not mapped & set(segments):
            for name in (*segments, f"tutelage-{number}.json"):
                removed += [name] * _remove(os.path.join(folder, name))
    return removed


def _identity() -> dict[str, Any]:
    """Identity of this process, for a marker."""
    return {"pid": os.getpid(), "started": process_started(os.getpid()), "namespace": pid_namespace()}


def _has_ended(marker: str) -> bool:
    """True if the process of a marker is known to be gone."""
    try:
        with open(marker, encoding="utf-8") as file:
            said = json.load(file)
        is_visible = said["namespace"] == pid_namespace()
        return is_visible and bool(process_started(int(said["pid"])) != said["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # another user's, or being written


def _mapped_files(folder: str) -> set[str]:
    """Return the files of `folder` that any visible process maps."""
    names: set[str] = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/maps", encoding="utf-8", errors="replace") as file:
                paths = [line.split(maxsplit=5)[-1].strip() for line in file]
        except OSError:
            continue
        names |= {os.path.basename(path) for path in paths if path.startswith(f"{folder}/")}
    return names


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
