"""Memory of a process, and its exit without a last garbage collection."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

ENDS = """
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


HEAPS = """
import ctypes, sys, threading, time
from schemas.process import allocate_from_one_heap

if sys.argv[1] == "one":
    allocate_from_one_heap()
libc, kept = ctypes.CDLL(None), []
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
work = lambda: (kept.append(libc.malloc(1000)), time.sleep(0.2))
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""

FAULTS = """
import ctypes, resource, sys
from schemas.process import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
libc, size = ctypes.CDLL(None), 100 << 20
libc.malloc.restype = ctypes.c_void_p
for number in range(5):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(size))
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_threads_and_exit_functions_run_and_cycles_are_left() -> None:
    done = run(ENDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "thread\nexit function\n", "")


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc alone has arenas"
)
@pytest.mark.slow
def test_threads_share_one_heap() -> None:
    assert run(HEAPS, "one").stdout.count("<heap nr=") == 1
    assert run(HEAPS, "each").stdout.count("<heap nr=") > 1


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc alone has arenas"
)
@pytest.mark.slow
def test_freed_memory_is_used_again_without_a_page_fault() -> None:
    """100 MB are allocated and freed four times more."""
    assert int(run(FAULTS, "keep").stdout) < 100
    assert int(run(FAULTS, "return").stdout) > 1000
