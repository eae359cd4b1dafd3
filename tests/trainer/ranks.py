"""Runs with one or more ranks, by torchrun, or faster by forks with torchrun's environment variables.

    python -m tests.trainer.ranks '[["first", 2, ["first.yaml", "--json"]], …]'

executes one run after another by forks. The parent process has imported everything, because the imports take
longer than the runs. The output of a rank goes to `first-rank0.log`, its result to `first-rank0.json`. A
recorder (`recorder.py`) in the configuration records its batches. When one rank fails, the others of its
run are killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORDER = "tests.trainer.recorder:Recorder"


# The command itself, with the recorder among its callbacks.
_TRAIN = f"""
import sys
from plugins.callbacks import CALLBACKS
from trainer.train import main

CALLBACKS._targets["recorder"] = "{RECORDER}"
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def run_torchrun(
    folder: Path, config: str, *, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Train with two ranks by `torchrun -m`, as a user does on many GPUs."""
    (folder / "run.py").write_text(_TRAIN)
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "run", config, "--json"),
        ],
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1", **(env or {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )


def run_ranks(
    folder: Path, runs: Sequence[tuple[str, int, str]], *, env: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Do runs in their order, each to its end.

    Args:
        folder: Working directory of the runs, and directory of their logs.
        runs: Name, number of ranks and configuration of each.
        env: More environment variables.

    Returns:
        For each run 0, or the status of the first rank that failed.
    """
    plan = json.dumps([[name, num_ranks, [config, "--json"]] for name, num_ranks, config in runs])
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.ranks", plan],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    statuses: dict[str, int] = json.loads(done.stdout)
    return statuses


def said(folder: Path, name: str) -> str:
    """Output of the first rank of a run."""
    return (folder / f"{name}-rank0.log").read_text()


def result(folder: Path, name: str) -> dict[str, Any]:
    """Result of a run, from `--json`."""
    return dict(json.loads((folder / f"{name}-rank0.json").read_text()))


def recorded(path: Path, rank: int = 0) -> list[Any]:
    """Records of a recorder with that path: number, rows and loss of each step."""
    return [json.loads(line) for line in Path(f"{path}-rank{rank}.jsonl").read_text().splitlines()]


def _main(runs: Sequence[tuple[str, int, list[str]]]) -> dict[str, int]:
    from plugins.callbacks import CALLBACKS
    from trainer import train  # noqa: F401
    from trainer.startup import composer_trainer as build  # noqa: F401

    CALLBACKS._targets["recorder"] = RECORDER
    CALLBACKS.load("recorder")  # after `trainer`, which makes Composer importable in the second lane
    return {name: _run(name, num_ranks, arguments) for name, num_ranks, arguments in runs}


def _run(name: str, num_ranks: int, arguments: list[str]) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = {_start(name, rank, num_ranks, port, arguments) for rank in range(num_ranks)}
    status = 0
    while running:
        pid, ended = os.wait()
        running.discard(pid)
        if ended:
            status = status or os.waitstatus_to_exitcode(ended)
            for other in running:
                os.kill(other, signal.SIGKILL)
    return status


def _start(name: str, rank: int, num_ranks: int, port: int, arguments: list[str]) -> int:
    from trainer import train

    pid = os.fork()
    if pid:
        return pid
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
        **{"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }
    for stream, kind in ((1, "json"), (2, "log")):
        file = os.open(f"{name}-rank{rank}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
    sys.exit(train.main(arguments))


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]))))
