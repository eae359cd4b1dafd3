"""Quality of the text that readers give, on files made with known text.

python -m benchmarks.readers --quality pdf            # 36 files; 2 minutes
python -m benchmarks.readers --quality pdf --worst 3  # and the differences of the three worst files
python -m benchmarks.readers --quality pdf --first 100  # others, by which no rule of the reader was chosen
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

QUALITY = {"pdf": "benchmarks.readers.pdf_quality"}
"""Modules with `measure(first, worst)`, by kind of file."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quality", choices=sorted(QUALITY), required=True, help="kind of file")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="files whose differences are shown")
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first file, its seed"
    )
    chosen = parser.parse_args(arguments)
    importlib.import_module(QUALITY[chosen.quality]).measure(chosen.first, chosen.worst)


if __name__ == "__main__":
    main()
