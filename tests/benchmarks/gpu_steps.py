"""Steps that misbehave, for test_gpu.py."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.gpu.steps import NotHere


def works(sizes: Any, folder: str, *, number: int) -> dict[str, int]:
    return {"number": number, "process": os.getpid()}


def fails(sizes: Any, folder: str) -> None:
    raise ValueError("no kernel\nsecond line")


def crashes(sizes: Any, folder: str) -> None:
    print("last words", flush=True)
    os._exit(9)


def sleeps(sizes: Any, folder: str) -> None:
    time.sleep(60)


def is_not_here(sizes: Any, folder: str) -> None:
    raise NotHere("flash_attn is not installed")
