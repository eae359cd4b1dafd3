"""Speed of readers, beside the plain libraries and datatrove; and quality of their text on made files.

python -m benchmarks.readers                          # speed of all kinds; 5 minutes
python -m benchmarks.readers --kinds csv wet          # of some
python -m benchmarks.readers --datatrove PYTHON       # an interpreter that has it: throughput.py
python -m benchmarks.readers --quality html           # 50 pages with known main text; 10 seconds
python -m benchmarks.readers --quality pdf            # 36 files with known text; 2 minutes
python -m benchmarks.readers --quality pdf --worst 3  # and the differences of the three worst files
python -m benchmarks.readers --quality pdf --first 100  # others, by which no rule of the reader was chosen
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from benchmarks.readers.throughput import KINDS, measure

QUALITY = {"html": "benchmarks.readers.html_quality", "pdf": "benchmarks.readers.pdf_quality"}
"""Modules with `measure(first, worst)`, by kind of file."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS), help="of speed")
    parser.add_argument("--megabytes", type=float, default=10, help="text in a file; a tenth for slow kinds")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--datatrove", metavar="PYTHON", help="an interpreter with datatrove")
    parser.add_argument("--quality", choices=sorted(QUALITY), help="kind of file")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="files whose differences are shown")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first made file")
    chosen = parser.parse_args(arguments)
    if chosen.quality:
        importlib.import_module(QUALITY[chosen.quality]).measure(chosen.first, chosen.worst)
    else:
        measure(chosen.kinds, chosen.megabytes, chosen.rounds, chosen.datatrove)


if __name__ == "__main__":
    main()
