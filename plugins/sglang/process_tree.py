"""Process trees: children that die with their parent, and the end of all descendants.

On Linux the process that called `adopt_orphans` becomes the parent of orphaned descendants, so it finds all
of them, in any session or process group. Other systems have neither this nor /proc; there only a process
group can be killed. Standard library only, because the supervisor imports this module.
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
    """Make this process the parent of its orphaned descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; called in a child before exec.

    The signal comes when the *thread* that forked ends, so the parent must fork from a long-lived thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def kill_descendants(*, timeout_sec: float) -> None:
    """Kill and reap every descendant of this process, including new ones."""
    deadline = time.monotonic() + timeout_sec
    while (alive := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.02)
        _reap()
    _reap()


def kill_group(group: int) -> None:
    """Kill a process group, if it exists."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def descendants(ancestor: int) -> list[int]:
    """Living descendants of a process; none without /proc."""
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
    for pid in found:  # the list grows during the loop
        found += children.get(pid, [])
    return [pid for pid in found if pid not in ended]


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
