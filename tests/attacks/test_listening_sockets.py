"""Sockets of all commands: no other machine can reach them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.process import keep_to_loopback, python_command
from tests.attacks.sockets import Looked, run_looked_at
from tests.tiny import save_bpe, save_llama
from trainer.startup.loopback import store_on_loopback

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="/proc says which sockets listen"),
    pytest.mark.slow,
]

ROOT = Path(__file__).resolve().parents[2]
TWO_WORKERS = ["--", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
WORDS = "the cell protein binds a dose in the trial of a patient gene and acid to blood drug study effect"
FAKE_SERVER = ROOT / "tests/plugins/sglang/fake_launch_server.py"
HOLDER = """
import sys
from plugins.sglang.server import lease_servers
from schemas.synthesis_config import ServerConfig
with lease_servers(ServerConfig.model_validate_json(sys.argv[1]), model="some/model") as lease:
    print(*lease.endpoints, flush=True)
    sys.stdin.read()
"""
RANKS = """
import os, time
from datetime import timedelta
import torch.distributed as dist
from schemas.process import keep_to_loopback
from trainer.startup.loopback import is_one_machine, store_on_loopback

os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
os.environ["RANK"] = "0" if os.fork() else "1"
assert is_one_machine()
keep_to_loopback(os.environ)
store = store_on_loopback(timedelta(seconds=60))
dist.init_process_group("gloo", store=store, rank=int(os.environ["RANK"]), world_size=2)
answers = [None, None]
dist.all_gather_object(answers, os.environ["RANK"])
time.sleep(1)
dist.barrier()
if os.environ["RANK"] == "0":
    os.wait()
    print(answers)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    save_bpe(folder, [WORDS] * 4, vocab_size=400, special_tokens=["<s>", "</s>"], **tokens)
    save_llama(folder, vocab_size=400, seed=1, max_position_embeddings=128)
    return folder


@pytest.fixture
def corpus_yaml(tmp_path: Path, model: Path) -> str:
    rows = [{"id": str(number), "text": f"{WORDS}. Because {number} binds, it ends."} for number in range(8)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"reader": "jsonl", "uri": str(tmp_path / "raw.jsonl"), "id_field": "id"}
    config = {
        "corpus": str(tmp_path / "corpus"),
        "streams": {"domain": {"synthesize": True, "sources": [source]}},
        "tokenizer": {"name": str(model)},
        "pack": {"seq_len": 512},
    }
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    return str(tmp_path / "corpus.yaml")


def tutelage(*arguments: str) -> list[str]:
    return python_command("plugins.commands.main", *arguments)


def test_a_look_finds_a_server_of_a_grandchild_on_all_interfaces(tmp_path: Path) -> None:
    listen = "import socket, time; s = socket.create_server(('', 0)); time.sleep(1)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {listen!r}])"
    done, looked = run_looked_at([sys.executable, "-c", start], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert looked.beyond_loopback() == ["0.0.0.0"]


def test_a_build_with_worker_processes_listens_to_nobody(corpus_yaml: str, tmp_path: Path) -> None:
    done, looked = run_looked_at(tutelage("corpus", "build", corpus_yaml, *TWO_WORKERS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(looked.pids) >= 3  # the command, two workers
    assert looked.addresses == set()  # Unix sockets only, in a folder of the user


def test_a_watch_with_worker_processes_listens_to_nobody(corpus_yaml: str, tmp_path: Path) -> None:
    looked = Looked()
    command = tutelage("corpus", "watch", corpus_yaml, "--settle", "0", *TWO_WORKERS)
    with looked.looking():
        watch = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **looked.environment}, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 240
        while not list(tmp_path.glob("corpus/manifest/*.json")) and time.monotonic() < end:
            time.sleep(0.1)
        watch.send_signal(signal.SIGTERM)
        watch.communicate()
    assert watch.returncode == 0
    assert len(looked.pids) >= 3
    assert looked.addresses == set()


def test_processes_of_an_evaluation_talk_over_loopback(model: Path, tmp_path: Path) -> None:
    row = {"input": "the cell binds", "options": ["a dose", "the trial"], "gold_index": 0}
    (tmp_path / "cells.jsonl").write_text((json.dumps(row) + "\n") * 4)
    command = tutelage("eval", "--model", str(model), "--tasks", str(tmp_path), "--processes", "2", "--json")
    done, looked = run_looked_at(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"]
    assert len(looked.pids) >= 3
    assert looked.addresses == {"127.0.0.1"}


def test_ranks_of_one_machine_meet_and_talk_over_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done, looked = run_looked_at([sys.executable, "-c", RANKS.replace("PORT}", f"'{port}'}}")], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['0', '1']\n"
    assert len(looked.pids) == 2
    assert looked.addresses == {"127.0.0.1"}


@pytest.mark.parametrize(
    "changes",
    [{"LOCAL_WORLD_SIZE": "1"}, {"MASTER_ADDR": "10.0.0.5"}, {"TORCHELASTIC_USE_AGENT_STORE": "True"}],
    ids=["several machines", "an address of the network", "torchrun"],
)
def test_ranks_that_are_told_to_meet_elsewhere_do_so(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**ranks, "MASTER_PORT": "29500", **changes}.items():
        monkeypatch.setenv(name, value)
    assert store_on_loopback(timedelta(seconds=1)) is None


def test_an_interface_that_the_environment_names_is_kept() -> None:
    environment = {"GLOO_SOCKET_IFNAME": "eth0"}
    keep_to_loopback(environment)
    assert environment == {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "=lo"}


def test_a_server_that_workers_start_is_told_to_listen_on_loopback(tmp_path: Path) -> None:
    (tmp_path / "packages/sglang").mkdir(parents=True)
    shutil.copy(FAKE_SERVER, tmp_path / "packages/sglang/launch_server.py")
    env = {"PYTHONPATH": str(tmp_path / "packages"), "FAKE_RECORDS": str(tmp_path)}
    config = json.dumps({"python": sys.executable, "gpus_per_server": 0, "env": env})
    looked = Looked()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, config],
        cwd=ROOT,
        env={**os.environ, **looked.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    url = holder.stdout.readline()
    looked.look()
    holder.communicate()
    assert url.startswith("http://127.0.0.1:")
    assert looked.addresses == {"127.0.0.1"}
    [record] = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert (record["environ"]["GLOO_SOCKET_IFNAME"], record["environ"]["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")
