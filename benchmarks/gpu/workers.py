"""Run steps in processes of their own, within time limits, and collect what they find.

    parent ──(names)──► worker process: for each step {"begin": name}, then {"end": name, "found" or "error"}
           ◄──(lines of results.jsonl)──┘

A worker takes consecutive steps of one group. After a crash, a step that is too slow, or an error (which may
leave GPU memory behind), the parent starts another worker for those that are left.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step

ROOT = Path(__file__).resolve().parents[2]
_POLL_SEC = 0.05
_EXIT_SEC = 10.0
"""Time for a worker to leave by itself: Streaming removes its shared memory then."""

_LAST_BYTES = 2000
"""Of a dead worker's log that are looked at for its last line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Outcome of a step.

    Attributes:
        name: The step.
        status: done, failed or skipped.
        sec: Seconds it took.
        found: Its figures, if done.
        error: Why not, if failed or skipped.
    """

    name: str
    status: str
    sec: float = 0.0
    found: dict[str, Any] | None = None
    error: str | None = None

    def line(self) -> str:
        """One line for a person."""
        return f"{self.name}: {self.status}, {self.sec:.0f} s{f': {self.error}' if self.error else ''}"


class NotHere(Exception):
    """A step that cannot run here for a reason that is no fault, such as a package that is missing."""


def run_steps(
    steps: Sequence[Step], *, python: str, folder: Path, small: bool, end: float
) -> Iterator[Result]:
    """Yield the result of each step, in their order.

    Args:
        steps: What to run.
        python: Interpreter of the workers.
        folder: Where steps write.
        small: Whether sizes are those of a CPU.
        end: When the time is over, by time.monotonic.
    """
    left = list(steps)
    while left:
        if time.monotonic() >= end:
            yield from (Result(name=step.name, status="skipped", error="no time left") for step in left)
            return
        group = [step for step in left if step.group == left[0].group or small]
        for result in _run_worker(group, python=python, folder=folder, small=small, end=end):
            assert result.name == left[0].name
            left.pop(0)
            yield result


def _run_worker(
    steps: Sequence[Step], *, python: str, folder: Path, small: bool, end: float
) -> Iterator[Result]:
    """Run steps in one process, up to the first that fails; yield one result at least."""
    lines_path, log_path = folder / "results.jsonl", folder / "worker.log"
    lines_path.write_text("")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # for `resumption`; the size that Hopper has by default
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [python, "-m", "benchmarks.gpu.workers", str(lines_path), str(folder), json.dumps(small)]
    with log_path.open("ab") as log, lines_path.open() as lines:
        worker = subprocess.Popen(
            [*command, *(json.dumps([step.name, step.function, step.arguments]) for step in steps)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        patience_sec = 0.5
        try:
            for step in steps:
                result = _await(step, worker, lines, log_path, end)
                yield result
                if result.status == "failed" or time.monotonic() >= end:
                    return
            patience_sec = _EXIT_SEC
        finally:
            _end(worker, patience_sec)


def _await(step: Step, worker: subprocess.Popen[bytes], lines: Any, log_path: Path, end: float) -> Result:
    """Wait for a step's result, its end without one, or its limit."""
    begun = time.monotonic()
    deadline = min(begun + step.limit_sec, end)
    while True:
        has_ended = worker.poll() is not None
        for line in lines:  # a worker writes whole lines
            values = json.loads(line)
            return Result(name=step.name, sec=time.monotonic() - begun, **values)
        sec = time.monotonic() - begun
        if has_ended:
            error = f"its process ended with status {worker.returncode}: {_last_line(log_path)}"
            return Result(name=step.name, status="failed", sec=sec, error=error)
        if time.monotonic() >= deadline:
            if deadline == end:
                return Result(name=step.name, status="skipped", sec=sec, error="no time left to finish it")
            error = f"stopped after its limit of {step.limit_sec:.0f} s"
            return Result(name=step.name, status="failed", sec=sec, error=error)
        time.sleep(_POLL_SEC)


def _end(worker: subprocess.Popen[bytes], patience_sec: float) -> None:
    try:
        worker.wait(timeout=patience_sec)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)  # its own session: only it and its children
        worker.wait()


def _last_line(log_path: Path) -> str:
    lines = log_path.read_bytes()[-_LAST_BYTES:].decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _work(lines_path: str, folder: str, small: str, *steps: str) -> int:
    """Run steps in this process, and append a line for each; stop at the first that fails."""
    import trainer  # noqa: F401  makes newer libraries ready
    from benchmarks.gpu.sizes import GPU, SMALL

    sizes = SMALL if json.loads(small) else GPU
    for name, target, arguments in map(json.loads, steps):
        print(f"== {name}", flush=True)
        values: dict[str, Any]
        try:
            module, _, function = target.partition(":")
            measure = getattr(importlib.import_module(module), function)
            values = {"status": "done", "found": measure(sizes, folder, **arguments)}
        except NotHere as reason:
            values = {"status": "skipped", "error": str(reason)}
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip() or "no message").splitlines()[0]
            values = {"status": "failed", "error": f"{type(error).__name__}: {first[:300]}"}
        with open(lines_path, "a") as file:
            file.write(json.dumps(values) + "\n")
        if values["status"] == "failed":
            return 1
    return 0


if __name__ == "__main__":
    # Under its own name, so that steps raise the same NotHere as is caught.
    from benchmarks.gpu import workers

    sys.exit(workers._work(*sys.argv[1:]))
