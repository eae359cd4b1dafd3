"""Fixtures that tests of several packages share."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import filelock
import pytest
from aiohttp import web

from plugins.progress import Mode, set_mode
from schemas.synthesis_config import ServerConfig
from tests.installed import Installed, install
from tests.stand_in_hub import WRITE, Hub

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Give each parallel test process one thread, so that processes do not compete for cores."""
    os.environ.setdefault("USE_TORCH", "1")  # else `tutelage corpus` turns torch off for all tests
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _progress_in_lines() -> None:
    """A command with `--json` before, in this process, must not make events of this test's progress."""
    set_mode(Mode.LINES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the longest files first when several processes share them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name not in _LONGEST)


_LONGEST = {
    "test_dataflow.py",
    "test_demo.py",
    "test_later_manifests.py",
    "test_other_ranks.py",
    "test_real_server.py",
    "test_uploads.py",
    "test_resume.py",
    "test_train.py",
    "test_two_ranks.py",
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Tutelage from its wheel; tests must leave it as it is."""
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def write_rows() -> Callable[..., Path]:
    """Write rows as JSON lines; a string is written as it is."""

    def write(path: Path, *rows: dict[str, Any] | str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Under `make check`, fail tests that start a process or a training, fixtures included."""
    if "not slow" not in item.config.option.markexpr:
        return (yield)

    def refuse(owner: Any, name: str, what: str) -> Any:
        original = getattr(owner, name)

        def start(*given: Any, **named: Any) -> Any:
            if any(frame.filename.startswith("<frozen importlib") for frame in inspect.stack(context=0)):
                return original(*given, **named)  # a library asks the system as it is imported
            pytest.fail(f"starts {what}, which `make check` leaves out; mark it `slow`")

        return mock.patch.object(owner, name, start)

    with contextlib.ExitStack() as stack:
        stack.enter_context(refuse(subprocess.Popen, "__init__", "a process"))
        stack.enter_context(refuse(BaseProcess, "start", "a process"))
        if composer := sys.modules.get("composer.trainer"):
            stack.enter_context(refuse(composer.Trainer, "fit", "a training"))
        return (yield)


@pytest.fixture(autouse=True)
def own_temporary_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Give each test its own temporary directory, because Streaming leaves lock files and a cache in it.

    Paths under `tmp_path` are too long for the sockets that carry tensors between reader processes.
    """
    tmp_path_factory.getbasetemp()  # chosen now: pytest's base folder must outlast this test
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield
    tempfile.tempdir = None


@contextlib.contextmanager
def served(app: web.Application) -> Iterator[str]:
    """Serve an application on a thread of this process, and yield its URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def serve() -> Iterator[Callable[[web.Application], str]]:
    """Serve an application on a thread of this process until the test ends, and return its URL."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(served(app))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The small real model, fetched once into models/ of the checkout and kept there."""
    from plugins.models import smollm2

    (ROOT / "models").mkdir(exist_ok=True)
    with filelock.FileLock(ROOT / "models" / f".{smollm2.NAME}.lock"):  # another process may be fetching it
        return smollm2.fetch(ROOT / "models" / smollm2.NAME, say=print).path


@pytest.fixture(scope="session")
def sglang_python() -> str:
    """The Python of a real SGLang for CPUs, installed once into .venv-sglang of the checkout.

    The installation may take minutes, and the start of a server one minute. Both count as time of the test:
    mark it with `@pytest.mark.timeout(1800)`.
    """
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/setup-sglang")], capture_output=True, text=True, timeout=20 * 60
    )
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CPU_SERVER_ENV = {
    "SGLANG_USE_CPU_ENGINE": "1",
    "OMP_NUM_THREADS": "1",  # more threads are very slow under load
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "",  # empty means unset: bytecode saves 10 s at the next start
}
CPU_SERVER_ARGS: dict[str, str | int | float | bool | None] = {
    "device": "cpu",
    "dtype": "float32",  # prefill in bfloat16 is 5 times slower on a CPU without bfloat16 instructions
    "attention-backend": "torch_native",
    "max-total-tokens": 16384,  # 4 GB of memory instead of 14 GB
    "sleep-on-idle": True,  # otherwise an idle server keeps a core busy
    "enable-metrics": True,
    "skip-server-warmup": True,
}
"""Arguments that make a server on a CPU small and quick to start."""


@pytest.fixture(scope="session")
def cpu_server(sglang_python: str) -> ServerConfig:
    """`synthesis.server` for a real server on this machine's CPU; it starts in about a minute."""
    return ServerConfig(python=sglang_python, gpus_per_server=0, args=CPU_SERVER_ARGS, env=CPU_SERVER_ENV)


@pytest.fixture
def hub(
    serve: Callable[[web.Application], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Hub]:
    """A stand-in of the Hugging Face hub, with a token that may write."""
    from huggingface_hub import HfFileSystem, constants

    hub = Hub()
    hub.url = serve(hub.app())
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):  # the latter has a copy in releases before 2
        monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS alone
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", WRITE)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    HfFileSystem.clear_instance_cache()
    yield hub
    HfFileSystem.clear_instance_cache()
