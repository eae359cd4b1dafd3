"""Speed, memory and resumption of training, and speed of evaluation, on a machine with one NVIDIA GPU.

    pip wheel --no-deps --wheel-dir DIR -r benchmarks/gpu/wheels.txt      # elsewhere, with a network
    python -m benchmarks.gpu --wheels DIR --output DIR                    # under 8 minutes, no network
    python -m benchmarks.gpu --small --output DIR                         # on a CPU; shows that it works

Needs Python 3.12, torch 2.7 or newer and transformers 4.53 or newer, with 48 GB of GPU memory and 10 GB of
disk. Packages that this Python lacks are installed from the wheels into the output folder, and this Python
stays as it is. Without `--wheels` nothing is installed.

    matrix        multiplications of large matrices in bfloat16: the rate that MFU is a share of
    mfu           a Llama of 1.24 billion parameters, rows of 4,096 tokens: attention, torch.compile, loss
    training      our trainer beside a bare loop; peak memory beside the estimate of `--dry-run`
    evaluation    rows of ChemProt's shape, by our scorer beside one pass an option
    resumption    a run that stopped and resumed beside an unbroken one, bit by bit

Each step has a time limit, and shares a process only with steps of its kind. A step that fails, crashes or is
too slow is recorded with its error, and the others go on. Steps for which no time is left are recorded as
skipped. `gpu.json` and `gpu.md` in the output folder are written anew after each step.

Exit status: 0 if every step is done or skipped for a stated reason, 1 if one failed, 2 for wrong use.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.report import Report
from benchmarks.gpu.steps import STEPS
from benchmarks.gpu.wheels import Unusable, check_gpu, check_libraries, install
from benchmarks.gpu.workers import ROOT, run_steps

BUDGET_SEC = 460.0


def main(argv: Sequence[str]) -> int:
    """Measure and write the reports; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="wheels to install; left out: none")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True)
    parser.add_argument("--small", action="store_true", help="a tiny model, also on a CPU")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="steps, by the beginning of their names")
    parser.add_argument("--budget-sec", type=float, default=BUDGET_SEC, help=f"default {BUDGET_SEC:.0f}")
    args = parser.parse_args(argv)
    end = time.monotonic() + args.budget_sec
    steps = [step for step in STEPS if step.in_small or not args.small]
    if args.only:
        steps = [step for step in steps if step.name.startswith(tuple(args.only))]
        if not steps:
            parser.error(f"no step begins so; steps: {', '.join(step.name for step in STEPS)}")
    if args.small:  # a busy CPU may need longer for a step
        steps = [dataclasses.replace(step, limit_sec=args.budget_sec) for step in steps]
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    for name in ("inputs", "inputs-changed", "packages"):  # of an earlier call
        shutil.rmtree(output / name, ignore_errors=True)
    (output / "worker.log").unlink(missing_ok=True)
    try:
        check_libraries()
        if args.wheels:
            install(args.wheels.resolve(), output / "packages")
        if not args.small:
            check_gpu()
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    paths = [str(ROOT), str(output / "packages"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # for `resumption`; the size that Hopper has by default
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    report = Report(output, small=args.small)
    for result in run_steps(steps, folder=output, small=args.small, end=end, environment=environment):
        report.add(result)
        error = f": {result.error}" if result.error else ""
        print(f"{result.name}: {result.status}, {result.sec:.0f} s{error}", flush=True)
    print(report.markdown())
    print(f"{output}/gpu.json, {output}/gpu.md; the steps' own output is in {output}/worker.log")
    return int(any(result.status == "failed" for result in report.results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
