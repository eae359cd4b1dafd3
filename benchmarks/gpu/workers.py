"""Processes that run steps, within time limits, and return what they find.

    parent ──(steps)──► worker process: runs each, and writes its result
           ◄──(a line a step in results.jsonl)──┘

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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import GPU, SMALL, NotHere, Result, Step

ROOT = Path(__file__).resolve().parents[2]
_POLL_SEC = 0.05
_EXIT_SEC = 10.0
"""Time for a worker to leave by itself: Streaming removes its shared memory then."""


def run_steps(
    steps: Sequence[Step], *, folder: Path, small: bool, end: float, environment: Mapping[str, str]
) -> Iterator[Result]:
    """Yield the result of each step, in their order.

    Args:
        steps: What to run.
        folder: Where steps write.
        small: Whether sizes are those of a CPU; all steps share a process then.
        end: When the time is over, by time.monotonic.
        environment: Of the workers.
    """
    results, log = folder / "results.jsonl", folder / "worker.log"
    left = list(steps)
    while left and time.monotonic() < end:
        results.write_text("")
        group = [step for step in left if step.group == left[0].group or small]
        with log.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.workers", str(results), str(folder), json.dumps(small)]
                + [json.dumps([step.name, step.function, step.arguments]) for step in group],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        patience_sec = 0.5
        try:
            for step in group:
                result = _await(step, worker, results, log, end)
                left.remove(step)
                yield result
                if result.status == "failed" or time.monotonic() >= end:
                    break
            else:
                patience_sec = _EXIT_SEC
        finally:
            _end(worker, patience_sec)
    yield from (Result(name=step.name, status="skipped", error="no time left") for step in left)


def _await(step: Step, worker: subprocess.Popen[bytes], results: Path, log: Path, end: float) -> Result:
    """Wait for a step's result, its end without one, or its limit."""
    begun = time.monotonic()
    deadline = min(begun + step.limit_sec, end)
    while True:
        has_ended = worker.poll() is not None
        for line in results.read_text().splitlines(keepends=True):
            values = json.loads(line) if line.endswith("\n") else {}
            if values.get("name") == step.name:
                return Result(sec=time.monotonic() - begun, **values)
        if not has_ended and time.monotonic() < deadline:
            time.sleep(_POLL_SEC)
            continue
        status, error = "failed", f"stopped after its limit of {step.limit_sec:.0f} s"
        if has_ended:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            error = f"its process ended with status {worker.returncode}: {lines[-1].strip()[:300]}"
        elif deadline == end:
            status, error = "skipped", "no time left to finish it"
        return Result(name=step.name, status=status, sec=time.monotonic() - begun, error=error)


def _end(worker: subprocess.Popen[bytes], patience_sec: float) -> None:
    try:
        worker.wait(timeout=patience_sec)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)  # its own session: only it and its children
        worker.wait()


def _work(results: str, folder: str, small: str, *steps: str) -> int:
    """Run steps in this process, and append a line for each; stop at the first that fails."""
    import trainer  # noqa: F401  makes newer libraries ready

    sizes = SMALL if json.loads(small) else GPU
    for name, target, arguments in map(json.loads, steps):
        print(f"== {name}", flush=True)
        values: dict[str, Any] = {"name": name}
        try:
            module, _, function = target.partition(":")
            found = getattr(importlib.import_module(module), function)(sizes, folder, **arguments)
            values |= {"status": "done", "found": found}
        except NotHere as reason:
            values |= {"status": "skipped", "error": str(reason)}
        except Exception as error:
            traceback.print_exc()
            first = (str(error).strip() or "no message").splitlines()[0]
            values |= {"status": "failed", "error": f"{type(error).__name__}: {first[:300]}"}
        with open(results, "a") as file:
            file.write(json.dumps(values) + "\n")
        if values["status"] == "failed":
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_work(*sys.argv[1:]))
