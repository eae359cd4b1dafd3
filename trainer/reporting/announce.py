"""Lines for the person at the terminal, on stderr and from rank 0 only; imports nothing heavy."""

from __future__ import annotations

import os
import sys

from plugins import progress


def announce(line: str) -> None:
    """Print a line, once for all ranks: with `--json` an event. `--quiet` keeps it, since it may warn."""
    if progress.mode() is progress.Mode.EVENTS:
        progress.note(line)
    elif os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
