"""Lines for the person at the terminal, on stderr and from rank 0 only; imports nothing heavy."""

from __future__ import annotations

import os
import sys


def announce(line: str) -> None:
    """Print a line, once for all ranks."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
