"""The folder in which workers and the supervisor of one server meet.

    lease             workers hold it shared; the supervisor ends the server when it gets it exclusively
    supervisor.lock   held exclusively by the supervisor from birth to death
    state.json        what the supervisor tells, replaced atomically
    server.log        what the server prints; kept at the end, overwritten by the next supervisor
    supervisor.log    what a supervisor that breaks prints

The kernel lets go of the locks of a process that is killed. Standard library only, as for all that a
supervisor imports.
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
    """What a supervisor is told, as JSON on its standard input.

    Attributes:
        command: The server's command, without host and port.
        host: Address that the server listens on.
        port: Its port; null takes a free one.
        startup_timeout_sec: How long a start may take until `/health` answers 200.
        max_restarts: How often a server that was ready is started again.
        grace_sec: How long it may take to end when it is asked to, before it is killed.
    """

    command: list[str]
    host: str
    port: int | None
    startup_timeout_sec: float
    max_restarts: int
    grace_sec: float


@dataclasses.dataclass(frozen=True)
class State:
    """What a supervisor tells.

    Attributes:
        state: `starting`, `ready` or `failed`.
        url: Where a ready server answers.
        message: Why it failed, or why it starts again.
        log: The last lines of a server that failed.
    """

    state: str
    url: str = ""
    message: str = ""
    log: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ServerFolder:
    """Names what is in the folder."""

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
        """What the supervisor told last, if it has told anything."""
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
    """Take the exclusive lock of a file unless somebody holds one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path) -> tuple[str, ...]:
    """The last lines of a log, without empty ones."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return tuple(line.rstrip() for line in lines if line.strip())[-_SHOWN_LINES:]
