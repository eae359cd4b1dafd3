"""Quality of the text that readers give, on files made with known text.

python -m benchmarks.readers --quality pdf            # 36 files; 2 minutes
python -m benchmarks.readers --quality pdf --worst 3  # and the differences of the three worst files
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

QUALITY = {"pdf": "benchmarks.readers.pdf_quality"}
"""Modules with `measure(worst)`, by kind of file."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quality", choices=sorted(QUALITY), required=True, help="kind of file")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="files whose differences are shown")
    chosen = parser.parse_args(arguments)
    importlib.import_module(QUALITY[chosen.quality]).measure(chosen.worst)


if __name__ == "__main__":
    main()
