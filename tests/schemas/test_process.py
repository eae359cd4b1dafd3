"""What still runs when a process ends without a last collection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import atexit, gc, sys, threading, time
from schemas.process import end_without_collecting

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("finalised")

atexit.register(lambda: print("exit function"))
end_without_collecting()
end_without_collecting()
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
gc.disable()
cycle = Cycle()
del cycle
"""


def test_threads_and_exit_functions_run_and_cycles_are_left() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "thread\nexit function\n", "")
