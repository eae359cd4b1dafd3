"""Folder through which workers and the supervisor of one server communicate.

    lease             workers hold it shared; the supervisor ends the server when it gets it exclusively
    supervisor.lock   held exclusively by the supervisor as long as it lives
    state.json        state of the server, replaced atomically by the supervisor
    server.log        output of the server; kept at the end, overwritten by the next supervisor
    supervisor.log    traceback of a crashed supervisor

The kernel releases the locks of a killed process. Standard library only, because the supervisor imports this
module.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from pathlib import Path
from typing import IO

_SHOWN_LINES = 15


@dataclasses.dataclass(frozen=True)
class Spec:
    """Orders for a supervisor, as JSON on its standard input."""

    command: list[str]  # the server's command line, without host and port
    host: str  # address that the server listens on
    port: int | None  # its port; null takes a free one
    startup_timeout_sec: float  # maximum seconds of a start until `/health` answers 200
    max_restarts: int  # maximum restarts of a server that was ready
    grace_sec: float  # seconds between SIGTERM and SIGKILL


@dataclasses.dataclass(frozen=True)
class State:
    """State of a server, reported by its supervisor."""

    state: str  # `starting`, `ready` or `failed`
    url: str = ""  # base URL of a ready server
    message: str = ""  # cause of a failure or restart
    log: tuple[str, ...] = ()  # last lines of a failed server


@dataclasses.dataclass(frozen=True)
class ServerFolder:
    """Paths and files of the folder."""

    path: Path

    @property
    def server_log(self) -> Path:
        return self.path / "server.log"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    def open_lease(self) -> IO[bytes]:
        return (self.path / "lease").open("ab")

    def open_supervisor_lock(self) -> IO[bytes]:
        return (self.path / "supervisor.lock").open("ab")

    def state(self) -> State | None:
        """The last reported state, if there is one."""
        try:
            return State(**json.loads((self.path / "state.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def tell(self, state: State) -> None:
        draft = self.path / "state.json.new"
        draft.write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")
        draft.replace(self.path / "state.json")

    def forget_state(self) -> None:
        (self.path / "state.json").unlink(missing_ok=True)


def try_lock(file: IO[bytes]) -> bool:
    """Take the exclusive lock of a file, unless another process holds a lock on it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path) -> tuple[str, ...]:
    """Last lines of a log, without empty ones."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return tuple(line.rstrip() for line in lines if line.strip())[-_SHOWN_LINES:]
