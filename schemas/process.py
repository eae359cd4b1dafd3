"""Set-up of this package's processes: command line, network, memory, output, exit."""

from __future__ import annotations

import atexit
import codecs
import ctypes
import gc
import io
import json
import os
import sys
from collections.abc import Mapping, MutableMapping

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h

_RUN_MODULE = (
    "import sys; sys.path[:] = filter(None, sys.path); del sys.argv[0]; "
    "import tutelage, runpy; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python_command(module: str, *arguments: str) -> list[str]:
    """Command line that runs one of our modules in a new process.

    `python -m` would search the working directory first, and could run a foreign package with the same name;
    `tutelage` puts ours before those on PYTHONPATH.
    (Python 3.10 has no `-P`.)
    """
    return [sys.executable, "-c", _RUN_MODULE, module, *arguments]


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Make gloo and NCCL listen on loopback, unless the environment names an interface.

    Their default is the address of the host name, without authentication.
    """
    environment.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    environment.setdefault("NCCL_SOCKET_IFNAME", f"={_LOOPBACK}")  # without `=` it is a prefix


def allocate_from_one_heap() -> None:
    """Limit glibc malloc to one arena for threads started from now on; no effect with other allocators.

    By default each thread has an arena, whose free memory serves no other thread. Each of Beam's threads
    would keep as much memory as its largest message, although they take turns.
    """
    _set_malloc({_M_ARENA_MAX: 1})


def keep_freed_memory() -> None:
    """Let glibc malloc keep what this process frees for its next use; no effect with other allocators.

    By default a freed tensor of over 32 MB goes back to the system, and the system clears each page of the
    next one: 8 to 14% of the CPU time of a training step.
    """
    _set_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1})


def _set_malloc(options: Mapping[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def end_without_collecting() -> None:
    """Skip the garbage collection at interpreter exit.

    It takes one to four seconds with Beam, torch and transformers imported. Threads are still joined and exit
    functions still run; only finalizers of objects in reference cycles do not run.
    """
    atexit.unregister(gc.freeze)  # do not register it twice
    atexit.register(gc.freeze)


def escape_unprintable() -> None:
    """Make standard output escape characters outside its encoding, as JSON does.

    An ASCII terminal cannot show accents, and UTF-8 cannot encode the surrogates of a file name that is not
    UTF-8. Escaped output stays readable, and JSON stays valid.
    """
    codecs.register_error("json_escape", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json_escape")


def drop_output() -> None:
    """Redirect standard output to /dev/null, after its reader has closed the pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
