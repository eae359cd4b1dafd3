"""SGLang servers that workers start and share: one for each group of GPUs of a machine.

    lease_servers(config, model)
        │
        ▼
    one launch for each group of GPUs ─► a folder named by a hash of the launch
                                            │
              hold its lease, shared ◄──────┤   until release(), or the end of this process
              is supervisor.lock free? ◄────┤   then start a supervisor, which inherits the lock
              poll state.json ◄─────────────┘   ready: an endpoint; failed: ServerError with the last lines

The folders are in the temporary directory, so workers of one user and one temporary directory share servers.
The kernel releases the lease of a killed worker. A child forked without exec shares the lease and holds it
until the child ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from plugins.sglang.launch import Launch, plan_launches
from plugins.sglang.server_folder import ServerFolder, last_lines, try_lock
from schemas.content_hash import digest
from schemas.errors import ConfigError, ServerError
from schemas.synthesis_config import ServerConfig

_POLL_SEC = 0.1
_ROOT = Path(__file__).resolve().parents[2]
_RUN = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from plugins.sglang.supervisor import main; main(*sys.argv[2:])"
)
"""`-m` would search the working directory first, and needs a PYTHONPATH that the server must not inherit."""


class ServerLease:
    """Keeps servers running until `release` or the end of this process."""

    def __init__(self, endpoints: Sequence[str], holds: contextlib.ExitStack):
        self.endpoints = tuple(endpoints)  # base URLs, in the order of the servers' GPUs
        self._holds = holds

    def release(self) -> None:
        """Release the servers; they end when no other worker holds them. May be called again."""
        self._holds.close()

    def __enter__(self) -> ServerLease:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def lease_servers(config: ServerConfig, *, model: str) -> ServerLease:
    """Share this machine's servers of `model`; start missing ones and wait until all are healthy.

    Raises:
        ConfigError: The interpreter, an argument or the number of GPUs is wrong; nothing was started.
        ServerError: A server exited, or was not healthy in time; shows the last lines of its log.
    """
    with contextlib.ExitStack() as holds:
        launches = plan_launches(config, model=model)
        servers = [holds.enter_context(_Server(launch)) for launch in launches]
        for server in servers:
            server.hold()
        endpoints = [server.endpoint() for server in servers]
        while not all(endpoints):
            time.sleep(_POLL_SEC)
            endpoints = [server.endpoint() for server in servers]
        return ServerLease([url for url in endpoints if url], holds.pop_all())


class _Server:
    """A worker's view of one server."""

    def __init__(self, launch: Launch):
        shape = json.dumps(dataclasses.asdict(launch), sort_keys=True)
        path = _private_folder() / digest(shape)[:16]
        path.mkdir(mode=0o700, exist_ok=True)
        self._launch = launch
        self._folder = ServerFolder(path)
        self._lease = self._folder.open_lease()
        self._has_started_it = False

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._lease.close()

    def hold(self) -> None:
        """Take the lease, which keeps the server running; wait while an old server ends."""
        fcntl.flock(self._lease, fcntl.LOCK_SH)

    def endpoint(self) -> str | None:
        """URL of the server once it is ready; start the server if no worker has."""
        with self._folder.open_supervisor_lock() as lock:
            if try_lock(lock):
                self._start(lock.fileno())
                return None
        state = self._folder.state()
        if state is not None and state.state == "failed":
            raise ServerError(
                f"{state.message}. Check synthesis.server; log file: {self._folder.server_log}. "
                f"{_quoted(state.log)}"
            )
        return state.url if state is not None and state.state == "ready" else None

    def _start(self, lock_fd: int) -> None:
        log = self._folder.supervisor_log
        if self._has_started_it:
            raise ServerError(
                "the process that watches an SGLang server ended unexpectedly; it may have been killed. Run "
                f"again; log file: {log}. {_quoted(last_lines(log))}"
            )
        self._has_started_it = True
        self._folder.forget_state()
        path, spec = self._folder.path, dataclasses.asdict(self._launch.spec)
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _RUN, str(_ROOT), str(path), str(lock_fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._launch.environment(),
                pass_fds=[lock_fd],
                start_new_session=True,
            )
            process.communicate(json.dumps(spec).encode())


def _private_folder() -> Path:
    """Folder of this user's servers. No other user may write to it, since prompts go to the URLs in it."""
    folder = Path(tempfile.gettempdir(), f"tutelage-sglang-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{folder} is not a private directory of yours (owner {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):o}); expected mode 700. Remove it, or set TMPDIR to another "
            "folder."
        )
    return folder


def _quoted(lines: Sequence[str]) -> str:
    return "Its last lines:\n" + "\n".join(f"  | {line}" for line in lines)
