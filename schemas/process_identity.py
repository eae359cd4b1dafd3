"""Identity of a process: host, boot, PID namespace, PID and start time.

A PID alone is not enough: the system gives the PID of an ended process to a later one.
"""

from __future__ import annotations

import contextlib
import os
import socket

GONE = "gone"
"""Start time of a process that does not exist."""


def this_machine() -> tuple[str, str, str]:
    """Host, boot id and PID namespace of this process; empty strings where the system has none."""
    boot = ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return socket.gethostname(), boot, pid_namespace()


def pid_namespace() -> str:
    """PID namespace of this process; an empty string outside Linux."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def process_started(pid: int) -> str:
    """Start time of a process of this machine in clock ticks since boot; GONE if it has ended.

    Without /proc every live process has the start time "alive".
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
        return GONE if state in "ZX" else fields[18]
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return GONE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except PermissionError:
        pass
    return "alive"
