"""Worker processes that begin with everything imported, forked from a process that has done so.

A worker that starts by itself imports Beam, torch, transformers and Streaming for six seconds of a core. Here
one process does that for all of them, while the command checks its corpus and builds its pipeline. To fork it
takes milliseconds, and what it has imported is in memory once.

    the command                         the fork server                     workers
    begin() ──────────────────────────► imports
    popen(environment) ── order ──────► forks ────────────────────────────────► worker_process.work()
    wait(), poll() ◄── pid, status ──── reaps ◄──────────────────────────────── exits

Orders and news are lines of JSON in two pipes. The server ends when the command does.

A worker that is to have another environment or folder than the server is started by itself, since libraries
read the environment when they are imported. So are all but on Linux: elsewhere the system's libraries do not
survive a fork.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import gc
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

from schemas.process import python_command

_OF_ONE_WORKER = frozenset({"CONTROL_API_SERVICE_DESCRIPTOR", "PIPELINE_OPTIONS", "WORKER_ID"})

_LAST_LINES = 20
_LAST_WORDS_SEC = 1.0

_server: _Server | None = None
_lock = threading.Lock()


def begin() -> None:
    """Have a server ready, or on its way, for the workers of this environment and folder."""
    global _server
    if sys.platform != "linux":
        return
    with _lock:
        if _server is not None and _server.serves(os.environ):
            return
        if _server is not None:
            _server.retire()
        _server = _Server()
        atexit.register(_server.close)


def begin_beside() -> None:
    """`begin`, before it is known whether workers will be wanted, where there is a core for it."""
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        begin()


def popen(command: str, *, shell: bool, env: Mapping[str, str]) -> ForkedWorker | StartedWorker:
    """A worker, in the words of `subprocess.Popen`: forked where a server is, or started by itself.

    Args:
        command: What starts it by itself.
        shell: As for Popen.
        env: Its environment.
    """
    server = _server
    if server is not None and server.serves(env):
        worker = server.fork(env)
        if worker is not None:
            return worker
    return StartedWorker(command, shell=shell, env=env)


class StartedWorker(subprocess.Popen[str]):
    """A worker started by itself. Its standard error is passed on; the last lines are kept."""

    def __init__(self, command: str, *, shell: bool, env: Mapping[str, str]):
        super().__init__(command, shell=shell, env=env, stderr=subprocess.PIPE, text=True, errors="replace")
        self._last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._reader = threading.Thread(target=self._pass_on, name="tutelage-worker-stderr", daemon=True)
        self._reader.start()

    def last_words(self) -> str:
        """The last lines that it wrote to standard error, once it has ended."""
        self._reader.join(_LAST_WORDS_SEC)  # a process that it left behind may hold the pipe open
        return "".join(self._last_lines).strip()

    def _pass_on(self) -> None:
        assert self.stderr is not None
        for line in self.stderr:
            self._last_lines.append(line)
            sys.stderr.write(line)


class ForkedWorker:
    """What is used of `StartedWorker`. It shares the command's standard error."""

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end; gives its exit status, negative for a signal."""
        self._ended.wait(timeout)
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, or None while it works."""
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Nothing: they are on standard error."""
        return ""

    def end(self, status: int) -> None:
        """Note that it has ended."""
        self.returncode = status
        self._ended.set()


class _Server:
    """The command's side."""

    def __init__(self) -> None:
        self._surroundings = _surroundings(os.environ)
        reads_orders, orders = os.pipe()
        news, writes_news = os.pipe()
        command = python_command("pipelines.runners.local.fork_server", str(reads_orders), str(writes_news))
        self._process = subprocess.Popen(command, pass_fds=(reads_orders, writes_news))
        os.close(reads_orders)
        os.close(writes_news)
        self._orders = open(orders, "wb", buffering=0)  # noqa: SIM115 - until it is closed
        self._lock = threading.Lock()
        self._forked: queue.SimpleQueue[ForkedWorker | None] = queue.SimpleQueue()
        self._is_open = True
        threading.Thread(target=self._listen, args=(news,), name="tutelage-fork-server", daemon=True).start()

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether its workers are such as would be started here with this environment."""
        return self._is_open and _surroundings(environment) == self._surroundings

    def fork(self, environment: Mapping[str, str]) -> ForkedWorker | None:
        """Have it fork a worker once it has imported everything; None where it has ended instead."""
        with self._lock:
            if not self._is_open:
                return None
            try:
                self._orders.write(json.dumps(dict(environment)).encode() + b"\n")
            except BrokenPipeError:
                return None
            return self._forked.get()

    def retire(self) -> None:
        """Take no more orders; the server ends with the last of its workers."""
        with self._lock:
            self._is_open = False
            self._orders.close()

    def close(self) -> None:
        """End it at once, whatever it is at."""
        self._process.kill()
        self._process.wait()

    def _listen(self, news: int) -> None:
        workers: dict[int, ForkedWorker] = {}
        with open(news, "rb") as lines:
            for line in lines:
                said = json.loads(line)
                if "status" in said:
                    workers.pop(said["pid"]).end(said["status"])
                else:
                    workers[said["pid"]] = worker = ForkedWorker(said["pid"])
                    self._forked.put(worker)
        self._is_open = False
        for worker in workers.values():  # nobody would hear of their end
            worker.kill()
            worker.end(-signal.SIGKILL)
        self._forked.put(None)


def _surroundings(environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return os.getcwd(), {name: value for name, value in environment.items() if name not in _OF_ONE_WORKER}


def main(argv: list[str]) -> None:
    """Import, then fork a worker for each order, until the command hangs up."""
    orders, news = map(int, argv)
    done: list[bool] = []
    atexit.register(_end_at_once, done)  # what is registered first is called last
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: who ordered the workers ends this one
    from pipelines.runners.local import worker_process as worker

    worker.prepare()
    worker.import_all()
    gc.freeze()  # so that looking for cycles touches, and copies, nothing of it
    environment = _serve(orders, news)
    if environment is None:
        os._exit(0)  # nothing here needs to be tidied up
    os.environ.clear()
    os.environ.update(environment)
    worker.work()
    done.append(True)


def _end_at_once(done: list[bool]) -> None:
    """Spare a worker that has done its work the half second in which Python takes all modules apart."""
    if done:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _serve(orders: int, news: int) -> dict[str, str] | None:
    """Fork; gives each worker its environment, and the server None once the command has hung up."""
    wakes, wake = os.pipe()
    for end in (wakes, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    received = b""
    working: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        selector.register(wakes, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if orders in ready:
                data = os.read(orders, 1 << 16)
                if not data:
                    selector.unregister(orders)
                    orders = -1
                *lines, received = (received + data).split(b"\n")
                for line in lines:
                    if (pid := os.fork()) == 0:
                        _forget(orders, news, wakes, wake)
                        environment: dict[str, str] = json.loads(line)
                        return environment
                    working.add(pid)
                    _tell(news, {"pid": pid})
            if wakes in ready:
                os.read(wakes, 512)
                _reap(working, news)
            if orders < 0 and not working:
                return None


def _forget(*pipes: int) -> None:
    """In a worker: what is the server's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for pipe in pipes:
        os.close(pipe)


def _reap(working: set[int], news: int) -> None:
    while working:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        working.discard(pid)
        _tell(news, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _tell(news: int, what: dict[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the command is gone, its workers soon
        os.write(news, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
