"""Supervisor of one SGLang server: a process that starts it, restarts it, and ends it with its last user.

    worker ── flock(lease, shared) ──┐                 ┌── state.json: starting, ready, failed
    worker ── flock(lease, shared) ──┼──► supervisor ──┼── server.log: output of the server
       the kernel releases the    ───┘        │        └── flock(supervisor.lock) while it lives
       lease of a killed worker               ▼
                                the server and its descendants

    starting ── /health 200 ──► ready ── exits by itself ──► starting, max_restarts times ──► failed
        └─── exits, or is not healthy by the deadline ──────────────────────────────────────────►┘
    any state ── no lease is held ────────► SIGTERM, a short grace, SIGKILL to every descendant, exit

A server that was never ready is restarted only if another process took its port: after a wrong argument a new
start would fail again, and load the model again. SGLang's own watchdog ends a server that hangs; then the
supervisor restarts it.

On Linux the supervisor ends the server's whole process tree, in all sessions (process_tree.py). If the
supervisor is killed, the kernel kills the server; SGLang's schedulers and detokenizer have the same link to
the server, but other processes that SGLang starts may stay. On other systems only the server's process group
ends.

The supervisor runs in isolated mode with the standard library only. So it starts in milliseconds, and neither
the working directory nor the environment, which is the server's, can replace one of its modules.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from plugins.sglang.process_tree import adopt_orphans, die_with, kill_descendants, kill_group
from plugins.sglang.server_folder import ServerFolder, Spec, State, last_lines, try_lock

_POLL_SEC = 0.2
_HEALTH_TIMEOUT_SEC = 5.0
_KILL_SEC = 10.0
_PORT_TRIES = 3

_PORT_TAKEN = re.compile(r"address already in use|at \d+ is not available", re.IGNORECASE)
_SECRET = re.compile(r"--.*(key|password|secret|token)$")


class _Unneeded(Exception):
    """No worker holds the lease."""


class _Supervisor:
    """Runs one server. Single-threaded, because PR_SET_PDEATHSIG depends on the thread that forked."""

    def __init__(self, folder: ServerFolder, spec: Spec, lock: IO[bytes]):
        self._folder = folder
        self._spec = spec
        self._lock = lock
        self._lease = folder.open_lease()
        self._log = folder.server_log.open("wb", buffering=0)
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._was_ready = False

    def run(self) -> None:
        """Keep the server running as long as a worker holds the lease."""
        try:
            problem = self._serve()
            for _ in range(_PORT_TRIES - 1):
                if self._was_ready or self._spec.port or not _PORT_TAKEN.search(self._last_words()):
                    break
                problem = self._serve()
            if self._was_ready:
                restarts = self._spec.max_restarts
                for restart in range(1, restarts + 1):
                    why = f"{problem}; restart {restart} of {restarts}"
                    self._folder.tell(State("starting", message=why))
                    problem = self._serve()
                problem += f", and synthesis.server.max_restarts ({restarts}) is reached"
            self._folder.tell(State("failed", message=problem, log=last_lines(self._folder.server_log)))
            while True:
                self._pause()
        except _Unneeded:
            pass
        finally:
            # A new worker waits for the lease, then tries the lock, so the lock must be free first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._end_server()
            self._folder.forget_state()
            self._lock.close()
            self._lease.close()

    def _serve(self) -> str:
        """Start the server and wait until it ends; return the problem."""
        if not self._was_ready:
            try:
                self._port = _port_to_listen_on(self._spec.host, self._spec.port)
            except OSError as error:
                return f"SGLang cannot listen on {self._spec.host}:{self._spec.port or ''} ({error.strerror})"
            self._folder.tell(State("starting"))
        command = [*self._spec.command, "--host", self._spec.host, "--port", str(self._port)]
        self._log.write(f"$ {_masked(command)}\n".encode())
        started = time.monotonic()
        self._server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=functools.partial(die_with, os.getpid()),
        )
        is_healthy = False
        while (code := self._server.poll()) is None:
            if not is_healthy and (is_healthy := self._answers()):
                self._was_ready = True
                self._folder.tell(State("ready", url=_url(self._spec.host, self._port)))
            elif not is_healthy and time.monotonic() - started > self._spec.startup_timeout_sec:
                self._end_server()
                return (
                    f"SGLang is not healthy after {self._spec.startup_timeout_sec:g} s; if it needs more "
                    "time, raise synthesis.server.startup_timeout_sec"
                )
            self._pause()
        ended = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        self._end_server()  # its schedulers may still hold the GPUs
        return f"SGLang {ended} after {time.monotonic() - started:.0f} s"

    def _pause(self) -> None:
        if try_lock(self._lease):  # keeps the lock, so that a new worker waits for the end
            raise _Unneeded
        time.sleep(_POLL_SEC)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(
            _reachable(self._spec.host), self._port, timeout=_HEALTH_TIMEOUT_SEC
        )
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        return "\n".join(last_lines(self._folder.server_log))

    def _end_server(self) -> None:
        """End the server and all of its descendants."""
        if self._server is None:
            return
        if self._server.poll() is None:
            self._server.terminate()  # only the server: SGLang ends its own processes in order
            try:
                self._server.wait(self._spec.grace_sec)
            except subprocess.TimeoutExpired:
                pass
        kill_group(self._server.pid)
        kill_descendants(timeout_sec=_KILL_SEC)
        self._server = None


def _port_to_listen_on(host: str, port: int | None) -> int:
    """`port`, or a free one. Raises OSError if a server cannot listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port or 0))
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    """Address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _url(host: str, port: int) -> str:
    host = _reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _masked(command: list[str]) -> str:
    """A command line for the log, with keys masked."""
    pairs = zip(["", *command], command, strict=False)
    return shlex.join("***" if _SECRET.match(before) else word for before, word in pairs)


def main(folder: str, lock_fd: str) -> None:
    """Become a daemon and run the server; `lock_fd` is `supervisor.lock`, inherited with its lock."""
    spec = Spec(**json.load(sys.stdin))
    if os.fork():
        os._exit(0)  # so the worker need not wait for the daemon's exit status
    os.set_inheritable(int(lock_fd), False)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _Supervisor(ServerFolder(Path(folder)), spec, os.fdopen(int(lock_fd), "ab")).run()
