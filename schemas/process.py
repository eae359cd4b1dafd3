"""How a process of ours is started, takes memory, prints, and ends."""

from __future__ import annotations

import atexit
import codecs
import ctypes
import gc
import io
import json
import os
import sys
from collections.abc import MutableMapping

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_M_ARENA_MAX = -8  # of glibc's malloc.h

_RUN_MODULE = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; "
    "import runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in a process of its own.

    `python -m` would look into the working directory first, and run a package of a stranger there that has
    the name of ours. (Python 3.10 has no `-P`.)
    """
    return [sys.executable, "-c", _RUN_MODULE, module, *arguments]


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Have gloo and NCCL listen on loopback alone, unless the environment says where.

    Else they listen on the address that the machine's name has, and ask nobody who he is.
    """
    environment.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    environment.setdefault("NCCL_SOCKET_IFNAME", f"={_LOOPBACK}")  # without `=`, all names that begin so


def allocate_from_one_heap() -> None:
    """Let threads that begin from now on share the process's heap; does nothing but with glibc.

    That gives a thread a heap of its own, and what is freed there serves no other: of Beam's threads, which
    take turns, each keeps as much as the largest message that it saw.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def end_without_collecting() -> None:
    """Leave what is in memory at this process's end to the system.

    Python looks for cycles among all objects once more when it ends, which takes one to four seconds with
    Beam, torch and transformers imported. Threads are waited for and exit functions run as ever; only what a
    cycle alone holds is not finalised, such as a file that nobody closed.
    """
    atexit.unregister(gc.freeze)  # once is enough
    atexit.register(gc.freeze)


def escape_unprintable() -> None:
    """Have standard output escape, as JSON does, the characters that its encoding lacks.

    A terminal in ASCII cannot show an accent, and UTF-8 has no bytes for the surrogates of a file name that
    is not UTF-8. Escaped they are readable, and JSON stays JSON.
    """
    codecs.register_error("json_escape", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json_escape")


def drop_output() -> None:
    """Let standard output lead nowhere, where it cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
