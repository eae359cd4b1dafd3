"""Process trees: a child that dies with its parent, and an end for all that ever came of one.

On Linux orphans come to the process that called `adopt_orphans`, so that their tree stays one, whatever
sessions and groups its processes move to. Elsewhere there is neither that nor /proc: a process group is
all that can be ended. Standard library only, as for all that a supervisor imports.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)  # Linux alone has it


def adopt_orphans() -> None:
    """Make orphans among the descendants of this process its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; runs in a child before its exec.

    The signal comes when the *thread* that forked ends: a parent with threads has to mind which one forks.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def kill_descendants(*, timeout_sec: float) -> None:
    """Kill and collect every descendant of this process, those born meanwhile included."""
    deadline = time.monotonic() + timeout_sec
    while (alive := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.02)
        _collect()
    _collect()


def kill_group(group: int) -> None:
    """Kill a process group, if there is one."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def descendants(ancestor: int) -> list[int]:
    """Processes below one that have not ended; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    ended = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(path.parent.name)
        state, parent = stat.rpartition(")")[2].split()[:2]
        children.setdefault(int(parent), []).append(pid)
        if state in "ZX":
            ended.add(pid)
    found = list(children.get(ancestor, []))
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return [pid for pid in found if pid not in ended]


def _collect() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
