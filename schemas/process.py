"""How a process ends."""

from __future__ import annotations

import atexit
import gc


def end_without_collecting() -> None:
    """Leave what is in memory at this process's end to the system.

    Python looks for cycles among all objects once more when it ends, which takes one to four seconds with
    Beam, torch and transformers imported. Threads are waited for and exit functions run as ever; only what a
    cycle alone holds is not finalised, such as a file that nobody closed.
    """
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)
