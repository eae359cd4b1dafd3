"""`tutelage eval --processes N`: the same command in N processes, which divide the rows among them.

Each process loads the whole model, on its own GPU if there are GPUs. The first process prints and writes.
The processes find each other through a file in a temporary folder and communicate over loopback.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from datetime import timedelta

from schemas.errors import TutelageError
from schemas.process import keep_to_loopback, python_command
from schemas.scratch_folder import scratch

_STORE, _RANK, _COUNT = "TUTELAGE_EVAL_STORE", "TUTELAGE_EVAL_RANK", "TUTELAGE_EVAL_PROCESSES"
_POLL_SEC = 0.1
_KILL_SEC = 10.0
# One process may take much longer than the others. If one dies, `run_each` ends all others.
_TIMEOUT = timedelta(days=7)


def is_one_of_several() -> bool:
    """True if `run_each` started this process."""
    return _STORE in os.environ


def join() -> int:
    """Connect to the other processes; return the rank of this one, 0 without others."""
    if not is_one_of_several():
        return 0
    import torch.distributed as dist

    rank = int(os.environ[_RANK])
    if not dist.is_initialized():
        dist.init_process_group(
            "gloo",
            init_method=f"file://{os.environ[_STORE]}",
            rank=rank,
            world_size=int(os.environ[_COUNT]),
            timeout=_TIMEOUT,
        )
    return rank


def run_each(argv: Sequence[str], count: int) -> int:
    """Run `tutelage eval ARGV` in `count` processes; return the exit status of the first failure, or 0.

    Raises:
        TutelageError: A process other than the first failed; carries its last line of output.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    with scratch("eval") as folder, contextlib.ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, running)
        logs = [stack.enter_context(open(f"{folder}/{rank}.log", "w+b")) for rank in range(count)]
        for rank, log in enumerate(logs):
            environment = {"OMP_NUM_THREADS": threads, **os.environ}
            environment |= {_STORE: f"{folder}/store", _RANK: str(rank), _COUNT: str(count)}
            keep_to_loopback(environment)
            running.append(
                subprocess.Popen(
                    python_command("trainer.evaluation.command", *argv),
                    env=environment,
                    stdout=None if rank == 0 else log,
                    stderr=None if rank == 0 else log,
                )
            )
        while not any(states := [process.poll() for process in running]) and None in states:
            time.sleep(_POLL_SEC)
        failed = [rank for rank, state in enumerate(states) if state]
        if not failed:
            return 0
        first = failed[0]
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A failure of all processes, such as a model that cannot be loaded, is printed by the first.
            if running[0].wait(_KILL_SEC) == states[first]:
                return running[0].returncode
        logs[first].seek(0)
        lines = logs[first].read().decode("utf-8", "replace").strip().splitlines()
        raise TutelageError(
            f"process {first} of {count} ended with status {states[first]}: {lines[-1] if lines else '-'}"
        )


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the processes that still run: if one is missing, the others wait for ever."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _KILL_SEC
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
