"""Study of instruction pairs against plain text: run the units that are not finished, then report."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.instruction.arms import ARMS, BASE, Settings
from benchmarks.instruction.report import PRIMARY_ARM, REFERENCE, as_markdown, draw_curves, summarize
from benchmarks.instruction.unit import read_result, run_unit
from schemas import storage
from schemas.errors import TutelageError, unknown_name

SEEDS = tuple(range(1, 7))
"""Seed 0 was the pilot by which the arms were chosen."""
UNIT_SECONDS = 420.0
"""Assumed time of a unit before one has been timed."""


def in_order(arms: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Units in the order of their use: the two arms of the primary measure seed by seed, then arm by arm."""
    primary = [arm for arm in ARMS if arm in arms and arm in (REFERENCE, PRIMARY_ARM)]
    yield from ((arm, seed) for seed in seeds for arm in primary)
    yield from itertools.product([arm for arm in ARMS if arm in arms and arm not in primary], seeds)


def run_units(
    output: Path, units: Sequence[tuple[str, int]], settings: Settings, *, minutes: float | None
) -> None:
    """Run the units that have no result, as many as fit into `minutes`; print which are skipped or left."""
    began, longest = time.monotonic(), 0.0
    for number, (arm, seed) in enumerate(units):
        finished = read_result(output, seed, arm, settings)
        if finished is not None:
            longest = max(longest, finished["seconds"])
            print(f"seed {seed}, {arm}: finished earlier, skipped", file=sys.stderr)
            continue
        spent = time.monotonic() - began
        if minutes is not None and spent + (longest or UNIT_SECONDS) > 60 * minutes:
            left = [
                unit for unit in units[number:] if read_result(output, unit[1], unit[0], settings) is None
            ]
            print(
                f"stopped after {spent / 60:.0f} of {minutes:g} minutes, because a unit takes about "
                f"{(longest or UNIT_SECONDS) / 60:.0f}; left: {len(left)} units. The same command continues.",
                file=sys.stderr,
            )
            return
        print(f"-- unit {number + 1} of {len(units)}: seed {seed}, {arm}", file=sys.stderr, flush=True)
        unit_began = time.monotonic()
        run_unit(output, seed, arm, settings)
        longest = max(longest, time.monotonic() - unit_began)


def write_report(output: Path, units: Sequence[tuple[str, int]], settings: Settings) -> str:
    """Write `results.json`, `report.md` and `curves.svg` of the finished units; return the tables.

    Raises:
        TutelageError: No unit is finished.
    """
    results = {
        (arm, seed): found
        for arm, seed in units
        if (found := read_result(output, seed, arm, settings)) is not None
    }
    if not results:
        raise TutelageError(f"{output}: no unit of these arms and seeds is finished. Run without --report.")
    report = summarize(results)
    tables = as_markdown(report)
    storage.write_bytes(str(output / "results.json"), f"{json.dumps(report, indent=1)}\n".encode())
    storage.write_bytes(str(output / "report.md"), f"{tables}\n".encode())
    storage.write_bytes(str(output / "curves.svg"), draw_curves(report))
    return tables


def main(argv: Sequence[str]) -> int:
    """Run and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instruction", description=__doc__)
    default = Settings()
    parser.add_argument("--arms", nargs="+", metavar="ARM", default=list(ARMS), help=", ".join(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", default=list(SEEDS))
    parser.add_argument("--minutes", type=float, metavar="X", help="start no unit that would end later")
    parser.add_argument("--report", action="store_true", help="run nothing; report finished units")
    parser.add_argument("--output", type=Path, default=Path("runs/instruction"), metavar="FOLDER")
    parser.add_argument("--model", default=default.model, metavar="FOLDER")
    parser.add_argument("--drugs", type=int, default=default.drugs, metavar="N", help="of a seed")
    parser.add_argument("--tokens", type=int, default=default.tokens, metavar="N", help="of a training")
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate, metavar="X")
    args = parser.parse_args(argv)
    for arm in args.arms:
        if arm == BASE:
            parser.error(f"--arms: {BASE} needs no training; it is the first point of every arm")
        if arm not in ARMS:
            parser.error(f"--arms: {unknown_name('arm', arm, ARMS)}")
    if args.drugs < 1 or args.drugs % 12:  # else a value's frequency gives answers away
        parser.error(f"--drugs is {args.drugs}, expected a multiple of 12, the values of an attribute")
    if args.tokens < 1:
        parser.error(f"--tokens is {args.tokens}, expected at least 1")
    settings = Settings(
        drugs=args.drugs, tokens=args.tokens, learning_rate=args.learning_rate, model=args.model
    )
    units = list(in_order(list(dict.fromkeys(args.arms)), list(dict.fromkeys(args.seeds))))
    try:
        if not args.report:
            run_units(args.output, units, settings, minutes=args.minutes)
        print(write_report(args.output, units, settings), flush=True)
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
