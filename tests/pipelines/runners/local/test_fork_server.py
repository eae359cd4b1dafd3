"""Workers forked from a process that has imported everything, and what happens when that one is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines.runners.local import fork_server
from pipelines.runners.local.fork_server import ForkedWorker
from pipelines.runners.run import expect_workers, make_pipeline, parse_options

ROOT = Path(__file__).parents[4]
NOBODY = 'url: "127.0.0.1:9"'
TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def surroundings() -> Iterator[None]:
    """One server for all tests here, though pytest tells each test's name in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork_server, "_OF_ONE_WORKER", fork_server._OF_ONE_WORKER | {"PYTEST_CURRENT_TEST"})
        yield
        retire()


@pytest.fixture(autouse=True)
def server(surroundings: None) -> int:
    """The server's process; it is kept from test to test."""
    fork_server.begin()
    assert fork_server._server is not None
    return fork_server._server._process.pid


def retire() -> None:
    if fork_server._server is not None:
        fork_server._server.close()
        fork_server._server = None


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def status_of(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))


def is_gone(pid: int) -> bool:
    try:
        return status_of(pid, "State").startswith("Z")
    except OSError:
        return True


def worker(**environment: str) -> ForkedWorker | subprocess.Popen[bytes]:
    """A worker that waits for a runner that is not there, or started by itself only ends."""
    env = {**os.environ, "CONTROL_API_SERVICE_DESCRIPTOR": NOBODY, "PIPELINE_OPTIONS": "{}", **environment}
    found: ForkedWorker | subprocess.Popen[bytes] = fork_server.popen("exit 7", shell=True, env=env)
    return found


@contextlib.contextmanager
def waiting_worker() -> Iterator[ForkedWorker]:
    found = worker()
    assert isinstance(found, ForkedWorker)
    try:
        yield found
    finally:
        found.kill()
        found.wait(30)


def note_process(number: int, folder: str) -> None:
    """Leave a file for this process, with its parent and what it has imported."""
    imported = [name for name in ("torch", "transformers", "streaming") if name in sys.modules]
    threads = os.environ.get("RAYON_NUM_THREADS", "no")
    Path(folder, str(os.getpid())).write_text(f"{os.getppid()} {' '.join(imported)}; {threads} thread")


def test_a_pipeline_s_workers_are_forked_with_everything_imported_and_keep_to_one_core(
    server: int, tmp_path: Path
) -> None:
    options = parse_options(TWO_PROCESSES)
    expect_workers(options)
    pipeline = make_pipeline(options)
    pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.Map(note_process, str(tmp_path))
    pipeline.run().wait_until_finish()
    notes = [path.read_text() for path in tmp_path.iterdir()]
    assert notes == [f"{server} torch transformers; 1 thread"] * 2
    assert not any(path.name == str(server) for path in tmp_path.iterdir())


def test_other_ways_of_running_start_no_server() -> None:
    retire()
    for options in ([], ["--direct_num_workers=2"], ["--runner=DataflowRunner"]):
        expect_workers(parse_options(options))
        assert fork_server._server is None


def test_a_worker_s_exit_status_is_told() -> None:
    failed = worker(CONTROL_API_SERVICE_DESCRIPTOR="nonsense {")
    assert isinstance(failed, ForkedWorker)
    assert failed.wait(30) == 1 == failed.poll()


def test_a_worker_can_be_killed() -> None:
    with waiting_worker() as waiting:
        assert waiting.poll() is None and waiting.wait(0.05) is None
        waiting.kill()
        assert waiting.wait(30) == -signal.SIGKILL
        waiting.kill()  # once more, when there is nothing to kill


def test_several_workers_are_told_apart() -> None:
    with waiting_worker() as one, waiting_worker() as other:
        one.kill()
        assert one.wait(30) == -signal.SIGKILL
        assert other.poll() is None and one.pid != other.pid


def test_ctrl_c_passes_the_server_by_and_reaches_the_worker(server: int) -> None:
    with waiting_worker() as waiting:
        sigint = 1 << (signal.SIGINT - 1)
        assert int(status_of(server, "SigIgn"), 16) & sigint
        until(lambda: int(status_of(waiting.pid, "SigCgt"), 16) & sigint)


def test_a_worker_with_another_environment_is_started_by_itself() -> None:
    found = worker(HF_HOME="/elsewhere")
    assert isinstance(found, subprocess.Popen)
    assert found.wait(30) == 7


def test_a_worker_in_another_folder_is_started_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = worker()
    assert isinstance(found, subprocess.Popen)
    assert found.wait(30) == 7


def test_the_server_is_kept_while_the_environment_is_the_same(
    server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_server.begin()
    assert fork_server._server is not None and fork_server._server._process.pid == server
    with waiting_worker() as waiting:
        monkeypatch.setenv("HF_HOME", "/elsewhere")
        fork_server.begin()
        assert fork_server._server._process.pid != server
        assert waiting.poll() is None and not is_gone(server)  # it ends with the last of its workers
    until(lambda: is_gone(server))


def test_a_lost_server_takes_its_workers_along_and_the_next_start_by_themselves(server: int) -> None:
    with waiting_worker() as waiting:
        os.kill(server, signal.SIGKILL)
        assert waiting.wait(30) == -signal.SIGKILL
        until(lambda: is_gone(waiting.pid))
    found = worker()
    assert isinstance(found, subprocess.Popen)
    assert found.wait(30) == 7
    fork_server.begin()
    assert fork_server._server is not None and fork_server._server._process.pid != server


def test_a_server_that_cannot_import_leaves_workers_to_start_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apache_beam.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fork_server.begin()
    found = worker()
    assert isinstance(found, subprocess.Popen)
    assert found.wait(30) == 7


def test_the_server_ends_with_a_command_that_is_killed() -> None:
    code = (
        "import time\nfrom pipelines import fork_server\nfork_server.begin()\n"
        "print(fork_server._server._process.pid, flush=True)\ntime.sleep(600)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert command.stdout is not None
    pid = int(command.stdout.readline())
    assert not is_gone(pid)
    command.kill()
    command.wait()
    command.stdout.close()
    until(lambda: is_gone(pid))


def test_there_is_no_server_but_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    retire()
    monkeypatch.setattr(sys, "platform", "darwin")
    fork_server.begin()
    assert fork_server._server is None
    assert isinstance(worker(), subprocess.Popen)
