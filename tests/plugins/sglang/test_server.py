"""Servers started by workers: real processes around a fake `sglang.launch_server`."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from plugins.sglang.launch import plan_launches
from plugins.sglang.server import lease_servers
from plugins.sglang.supervisor import _masked, _url
from schemas.errors import ConfigError, ServerError
from schemas.synthesis_config import ServerConfig
from tests.tiny import revealed_json

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
FAKE = Path(__file__).with_name("fake_launch_server.py")
HOLDER = """
import sys
from plugins.sglang.server import lease_servers
from schemas.synthesis_config import ServerConfig

lease = lease_servers(ServerConfig.model_validate_json(sys.argv[1]), model="some/model")
print(*lease.endpoints, flush=True)
sys.stdin.read()
lease.release()
"""
Found = TypeVar("Found")


def eventually(look: Callable[[], Found], *, timeout_sec: float = 20.0) -> Found:
    """Call `look` until its result is true; return that result."""
    deadline = time.monotonic() + timeout_sec
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def refusal(config: ServerConfig) -> str:
    """Message of a refused lease, or "" if the lease is granted."""
    try:
        lease_servers(config, model="some/model").release()
    except ServerError as error:
        return str(error)
    return ""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


class Fake:
    """An environment with the fake server, and the servers started from it."""

    def __init__(self, folder: Path):
        self.records = folder / "records"
        self.records.mkdir()
        self.packages = folder / "packages"
        (self.packages / "sglang").mkdir(parents=True)
        shutil.copy(FAKE, self.packages / "sglang" / "launch_server.py")
        self.holders: list[subprocess.Popen[str]] = []

    def config(self, env: dict[str, str] | None = None, **changes: Any) -> ServerConfig:
        fixed = {"PYTHONPATH": str(self.packages), "FAKE_RECORDS": str(self.records)}
        values = {"python": sys.executable, "gpus_per_server": 0, "startup_timeout_sec": 30, **changes}
        return ServerConfig(env={**fixed, **(env or {})}, **values)

    def started(self) -> list[dict[str, Any]]:
        """All servers started so far, in order."""
        paths = sorted(self.records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text()) for path in paths]

    def running(self) -> set[int]:
        """Running processes of all servers: supervisors, servers, grandchildren."""
        pids = {one[key] for one in self.started() for key in ("supervisor", "pid", "grandchild")}
        return {pid for pid in pids if pid is not None and is_running(pid)}

    def hold(self, config: ServerConfig) -> subprocess.Popen[str]:
        """Start another worker process that holds a lease until its standard input ends."""
        command = [sys.executable, "-c", HOLDER, revealed_json(config)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.holders.append(holder)
        return holder

    def all_ended(self) -> bool:
        return not self.running()


def endpoints_of(holder: subprocess.Popen[str]) -> list[str]:
    assert holder.stdout is not None
    return holder.stdout.readline().split()


def release(holder: subprocess.Popen[str]) -> None:
    holder.communicate(timeout=20)
    assert holder.returncode == 0


def one(items: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(items) == 1
    return items[0]


def log_of(error: ServerError) -> Path:
    return Path(str(error).partition("log file: ")[2].partition(". Its last")[0])


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    fake = Fake(tmp_path)
    yield fake
    for holder in fake.holders:
        holder.kill()
        holder.communicate()
    eventually(fake.all_ended)  # no test leaves a process behind


class TestStarting:
    def test_a_leased_server_answers(self, fake: Fake) -> None:
        with lease_servers(fake.config(), model="some/model") as lease:
            (url,) = lease.endpoints
            assert url.startswith("http://127.0.0.1:")
            assert answers(url)
        assert eventually(fake.all_ended)

    def test_a_lease_comes_only_when_the_model_is_loaded(self, fake: Fake) -> None:
        started = time.monotonic()
        with lease_servers(fake.config({"FAKE_LOAD_SEC": "1"}), model="some/model") as lease:
            assert answers(lease.endpoints[0])
            assert time.monotonic() - started >= 1

    def test_arguments_are_those_of_the_yaml_under_those_of_the_user(self, fake: Fake) -> None:
        args = {
            "mem_fraction_static": 0.8,
            "enable-metrics": False,
            "skip_server_warmup": True,
            "log-level": None,
        }
        with lease_servers(fake.config(args=args), model="some/model"):
            record = one(fake.started())
        expected = (
            "--model-path some/model --schedule-policy lpm --mem-fraction-static 0.8 --skip-server-warmup"
        )
        assert record["argv"] == [*expected.split(), "--host", "127.0.0.1", "--port", str(record["port"])]

    def test_variables_are_ours_with_those_of_the_user_but_not_those_of_our_python(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        monkeypatch.setenv("PYTHONPATH", "/of/our/own")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        monkeypatch.setenv("INHERITED", "yes")
        with lease_servers(fake.config({"OMP_NUM_THREADS": "1"}), model="some/model"):
            environ = one(fake.started())["environ"]
        assert "PYTHONDONTWRITEBYTECODE" not in environ
        assert environ["PYTHONPATH"] == str(fake.packages)
        assert environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert (environ["INHERITED"], environ["OMP_NUM_THREADS"]) == ("yes", "1")

    def test_each_group_of_gpus_gets_its_own_server(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        with lease_servers(fake.config(gpus_per_server=1), model="some/model") as lease:
            ports = {one["environ"]["CUDA_VISIBLE_DEVICES"]: one["port"] for one in fake.started()}
            assert lease.endpoints == tuple(f"http://127.0.0.1:{ports[gpu]}" for gpu in ("0", "1"))
            assert all(map(answers, lease.endpoints))

    def test_a_server_that_loses_its_port_takes_another(self, fake: Fake) -> None:
        with lease_servers(fake.config({"FAKE_LOSES_PORT": "1"}), model="some/model") as lease:
            assert answers(lease.endpoints[0])
            assert len(fake.started()) == 2

    def test_the_log_begins_with_the_command_without_its_keys(self, fake: Fake) -> None:
        with lease_servers(fake.config(args={"admin-api-key": "hunter2"}), model="some/model"):
            (log,) = Path(tempfile.gettempdir()).glob("tutelage-sglang-*/*/server.log")
            first = log.read_text().splitlines()[0]
            assert first.startswith(f"$ {sys.executable} -m sglang.launch_server --model-path some/model ")
            assert "--admin-api-key '***'" in first
            assert "hunter2" not in log.read_text()


class TestSharing:
    def test_processes_that_ask_at_once_share_one_server(self, fake: Fake) -> None:
        config = fake.config({"FAKE_LOAD_SEC": "1"})
        holders = [fake.hold(config) for _ in range(3)]
        urls = [endpoints_of(holder) for holder in holders]
        assert urls[0] == urls[1] == urls[2]
        assert urls[0] == [f"http://127.0.0.1:{one(fake.started())['port']}"]

    def test_threads_of_a_process_share_one_server(self, fake: Fake) -> None:
        config = fake.config({"FAKE_LOAD_SEC": "0.5"})
        leases: list[Any] = []
        threads = [
            threading.Thread(target=lambda: leases.append(lease_servers(config, model="some/model")))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(leases) == 4
        assert len({lease.endpoints for lease in leases}) == len(fake.started()) == 1
        for lease in leases:
            lease.release()

    def test_the_server_outlives_the_worker_that_started_it_while_another_holds_it(self, fake: Fake) -> None:
        config = fake.config()
        first = fake.hold(config)
        endpoints_of(first)
        with lease_servers(config, model="some/model") as lease:
            release(first)
            time.sleep(0.5)  # no event to wait for: time for a wrong stop by the supervisor
            assert answers(lease.endpoints[0])
        assert len(fake.started()) == 1

    def test_other_arguments_make_another_server(self, fake: Fake) -> None:
        with lease_servers(fake.config(), model="some/model") as first:
            with lease_servers(fake.config(args={"dtype": "float16"}), model="some/model") as second:
                assert first.endpoints != second.endpoints

    def test_a_lease_right_after_the_last_release_has_a_server(self, fake: Fake) -> None:
        for _ in range(3):
            with lease_servers(fake.config(), model="some/model") as lease:
                assert answers(lease.endpoints[0])

    def test_a_lease_after_the_end_of_a_server_starts_a_fresh_one(self, fake: Fake) -> None:
        for times in (1, 2):
            with lease_servers(fake.config(), model="some/model") as lease:
                assert answers(lease.endpoints[0])
                assert len(fake.started()) == times
            eventually(fake.all_ended)

    def test_a_lease_while_a_server_is_being_ended_waits_and_starts_a_fresh_one(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("plugins.sglang.launch._GRACE_SEC", 2.0)
        config = fake.config({"FAKE_IS_DEAF": "1"})
        lease_servers(config, model="some/model").release()
        eventually(lambda: list(fake.records.glob("*.sigterm")))
        with lease_servers(config, model="some/model") as lease:
            assert answers(lease.endpoints[0])
            assert [is_running(record["pid"]) for record in fake.started()] == [False, True]


class TestEnding:
    def test_nothing_stays_after_the_last_release(self, fake: Fake) -> None:
        lease = lease_servers(fake.config({"FAKE_GRANDCHILD": "1"}), model="some/model")
        assert len(fake.running()) == 3
        lease.release()
        lease.release()  # twice does no harm
        assert eventually(fake.all_ended)

    def test_nothing_stays_when_the_worker_is_killed(self, fake: Fake) -> None:
        holder = fake.hold(fake.config({"FAKE_GRANDCHILD": "1"}))
        endpoints_of(holder)
        assert len(fake.running()) == 3
        holder.kill()
        assert eventually(fake.all_ended)

    def test_nothing_stays_when_the_worker_is_killed_while_the_server_starts(self, fake: Fake) -> None:
        holder = fake.hold(fake.config({"FAKE_GRANDCHILD": "1", "FAKE_LOAD_SEC": "600"}))
        assert len(eventually(fake.running)) == 3
        holder.kill()
        assert eventually(fake.all_ended)

    def test_nothing_stays_of_a_server_that_ignores_sigterm(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("plugins.sglang.launch._GRACE_SEC", 0.5)
        config = fake.config({"FAKE_GRANDCHILD": "1", "FAKE_IS_DEAF": "1"})
        lease_servers(config, model="some/model").release()
        assert eventually(fake.all_ended)

    def test_a_killed_supervisor_takes_its_server_along(self, fake: Fake) -> None:
        with lease_servers(fake.config(), model="some/model"):
            os.kill(one(fake.started())["supervisor"], signal.SIGKILL)
            assert eventually(fake.all_ended)

    def test_a_supervisor_that_is_asked_to_end_ends_its_server(self, fake: Fake) -> None:
        with lease_servers(fake.config({"FAKE_GRANDCHILD": "1"}), model="some/model"):
            os.kill(one(fake.started())["supervisor"], signal.SIGTERM)
            assert eventually(fake.all_ended)

    def test_a_newcomer_replaces_a_killed_supervisor(self, fake: Fake) -> None:
        config = fake.config()
        with lease_servers(config, model="some/model"):
            os.kill(one(fake.started())["supervisor"], signal.SIGKILL)
            eventually(fake.all_ended)
            with lease_servers(config, model="some/model") as lease:
                assert answers(lease.endpoints[0])

    def test_servers_of_other_groups_end_when_one_fails(
        self, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        with pytest.raises(ServerError):
            lease_servers(fake.config({"FAKE_EXIT": "1"}, gpus_per_server=1), model="some/model")
        assert eventually(fake.all_ended)


class TestFailing:
    def exit(self, url: str, code: int) -> None:
        with pytest.raises((OSError, urllib.error.URLError)):
            urllib.request.urlopen(f"{url}/exit/{code}", timeout=5)

    def test_a_server_that_ends_by_itself_comes_back_at_the_same_url(self, fake: Fake) -> None:
        config = fake.config({"FAKE_GRANDCHILD": "1"}, max_restarts=1)
        with lease_servers(config, model="some/model") as lease:
            before = one(fake.started())
            self.exit(lease.endpoints[0], 3)
            assert eventually(lambda: answers(lease.endpoints[0]))
            assert not is_running(before["grandchild"])
            assert [record["port"] for record in fake.started()] == [before["port"]] * 2

    def test_a_newcomer_hears_of_a_server_that_ended_too_often(self, fake: Fake) -> None:
        config = fake.config(max_restarts=1)
        with lease_servers(config, model="some/model") as lease:
            for times in (1, 2):
                eventually(lambda: answers(lease.endpoints[0]))
                self.exit(lease.endpoints[0], 3)
                eventually(lambda times=times: not is_running(fake.started()[times - 1]["pid"]))  # type: ignore[misc]
            message = eventually(lambda: refusal(config))  # refused once the supervisor sees the end
        assert message.startswith("SGLang exited with code 3 after ")
        assert (
            "and synthesis.server.max_restarts (1) is reached. Check synthesis.server; log file: " in message
        )
        assert message.endswith("\n  | told to exit")

    def test_a_server_that_exits_at_once_is_shown_by_its_last_lines(self, fake: Fake) -> None:
        with pytest.raises(ServerError) as raised:
            lease_servers(fake.config({"FAKE_EXIT": "7"}), model="some/model")
        error = pickle.loads(pickle.dumps(raised.value))
        start = r"SGLang exited with code 7 after \d+ s\. Check synthesis\.server; log file: "
        assert re.match(start, str(error))
        assert str(error).endswith("\n  | loading the model\n  | ValueError: the model has no weights")
        eventually(fake.all_ended)
        assert "ValueError: the model has no weights" in log_of(raised.value).read_text()
        one(fake.started())  # a wrong argument is not tried again

    def test_an_interpreter_without_sglang_is_shown_by_its_last_line(self, fake: Fake) -> None:
        with pytest.raises(ServerError, match=r"exited with code 1 .*\n(.*\n)*.*No module named '?sglang"):
            lease_servers(fake.config({"PYTHONPATH": "/nowhere"}), model="some/model")

    def test_a_failed_start_may_be_tried_again(self, fake: Fake) -> None:
        config = fake.config({"FAKE_EXIT": "7"})
        for _ in range(2):
            with pytest.raises(ServerError):
                lease_servers(config, model="some/model")
            eventually(fake.all_ended)
        assert len(fake.started()) == 2

    def test_a_server_that_is_not_healthy_in_time_is_ended(self, fake: Fake) -> None:
        config = fake.config({"FAKE_LOAD_SEC": "600"}, startup_timeout_sec=1.5)
        with pytest.raises(ServerError) as raised:
            lease_servers(config, model="some/model")
        assert str(raised.value).startswith(
            "SGLang is not healthy after 1.5 s; if it needs more time, raise "
            "synthesis.server.startup_timeout_sec. Check synthesis.server; log file: "
        )
        assert eventually(fake.all_ended)

    def test_a_port_that_another_server_has_is_not_mistaken_for_ours(self, fake: Fake) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port} .*already in use"):
                lease_servers(fake.config(args={"port": port}), model="some/model")
        assert fake.started() == []

    def test_a_folder_that_others_may_write_to_is_refused(self, fake: Fake) -> None:
        folder = Path(tempfile.gettempdir(), f"tutelage-sglang-{os.getuid()}")
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match=r"is not a private directory of yours .*mode 777.* Remove it"):
            lease_servers(fake.config(), model="some/model")


class TestPlanning:
    @pytest.fixture(autouse=True)
    def four_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")

    def plan(self, **changes: Any) -> list[tuple[str | None, list[str]]]:
        config = ServerConfig(python=sys.executable, **changes)
        return [
            (launch.changes.get("CUDA_VISIBLE_DEVICES"), launch.spec.command[5:])
            for launch in plan_launches(config, model="some/model")
        ]

    def test_gpus_that_fill_no_group_are_left_over(self) -> None:
        assert [gpus for gpus, _ in self.plan(gpus_per_server=3)] == ["0,1,2"]

    def test_a_group_of_several_gpus_is_tensor_parallel(self) -> None:
        plans = self.plan(gpus_per_server=2)
        assert [gpus for gpus, _ in plans] == ["0,1", "2,3"]
        assert all(command[-2:] == ["--tp-size", "2"] for _, command in plans)

    @pytest.mark.parametrize("name", ["tp_size", "tensor-parallel-size", "dp-size", "pp_size"])
    def test_parallelism_of_the_user_is_left_alone(self, name: str) -> None:
        ((_, command),) = self.plan(gpus_per_server=4, args={name: 1})
        assert command[-2:] == [f"--{name.replace('_', '-')}", "1"]
        assert "--tp-size" not in command[:-2]

    def test_gpus_come_from_nvidia_smi_where_none_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        smi = tmp_path / "nvidia-smi"
        smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
        smi.chmod(0o755)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert [gpus for gpus, _ in self.plan()] == ["0", "1"]

    def test_a_model_directory_is_found_from_any_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "checkpoint").mkdir()
        monkeypatch.chdir(tmp_path)
        config = ServerConfig(python=sys.executable, gpus_per_server=0)
        (launch,) = plan_launches(config, model="checkpoint")
        assert launch.spec.command[4] == str(tmp_path / "checkpoint")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"gpus_per_server": 5}, "gpus_per_server is 5; GPUs found: 4 .* Set it to 4 or less"),
            (
                {"env": {"CUDA_VISIBLE_DEVICES": ""}},
                "is 1; GPUs found: 0 .* Set it to 0 for a server without a GPU",
            ),
            ({"args": {"model_path": "x"}}, "args.model_path cannot be set: set synthesis.server.model"),
            ({"args": {"api-key": "x"}}, "args.api-key cannot be set: workers send no key"),
            (
                {"args": {"dtype": "a", "--dtype": "b"}},
                "'dtype' and '--dtype' are the same argument; keep one",
            ),
            ({"args": {"port": 30000}}, "port is 30000, but 4 servers start .* Remove the port"),
            ({"args": {"port": "x"}}, "port is 'x'; expected a number from 1 to 65535"),
            ({"python": "/no/such/python"}, "synthesis.server.python '/no/such/python' is neither"),
            ({"python": __file__}, "synthesis.server.python .* is neither an executable file"),
        ],
    )
    def test_what_cannot_work_is_refused_before_anything_starts(
        self, changes: dict[str, Any], message: str
    ) -> None:
        config = ServerConfig(**{"python": sys.executable, **changes})
        with pytest.raises(ConfigError, match=message):
            lease_servers(config, model="some/model")
        assert os.listdir(tempfile.gettempdir()) == []

    def test_a_missing_model_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="are both missing; set one"):
            lease_servers(ServerConfig(python=sys.executable), model="")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("10.0.0.5", "http://10.0.0.5:1"),
    ],
)
def test_a_server_is_reached_at_an_address_that_can_be_reached(host: str, url: str) -> None:
    assert _url(host, 1) == url


def test_a_logged_command_holds_no_key() -> None:
    command = ["python", "--admin-api-key", "x", "--ssl-keyfile-password", "y", "--tokenizer-path", "z"]
    assert _masked(command) == (
        "python --admin-api-key '***' --ssl-keyfile-password '***' --tokenizer-path z"
    )
