"""Unix sockets of this user alone between the local runner and its workers, in place of open ports.

Beam's servers for worker processes listen on all interfaces of the machine and authenticate no one: anyone
who reaches them can read the pipeline with its configuration, and send false results. A port on loopback
would keep out other machines; a socket in a folder of mode 700 also keeps out other users of this machine.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import tempfile
import types
from typing import Any
from urllib.parse import quote

import grpc
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler

from schemas.errors import MachineError
from schemas.replaced_internals import Internal
from schemas.scratch_folder import scratch

_LONGEST_PATH = 100
"""Bytes of a socket's path: the kernel takes 107 on Linux and 103 on macOS."""
_SHORT_FOLDER = "/tmp"

_numbers = itertools.count()


def socket_internals() -> list[Internal]:
    """Internals to replace so that Beam's servers listen on Unix sockets and give workers their addresses."""
    return [
        Internal(worker_handlers, "grpc", types.SimpleNamespace(**{**vars(grpc), "server": _server})),
        Internal(GrpcWorkerHandler, "port_from_worker", _address_from_worker),
    ]


def _address_from_worker(self: Any, port: Any) -> Any:
    return port  # `_server` returns addresses in place of ports


def _server(*arguments: Any, **named: Any) -> grpc.Server:
    """Return a `grpc.server` that listens on a socket of its own instead of any port."""
    server = grpc.server(*arguments, **named)
    add = server.add_insecure_port

    def listen(port: str) -> str:
        address = f"unix:{quote(_folder())}/{next(_numbers)}"
        try:
            add(address)
        except RuntimeError as error:
            raise MachineError(
                f"{_folder()}: cannot hold a Unix socket, which connects worker processes to the command: "
                f"{error}. Set TMPDIR to a folder on a local disk."
            ) from error
        return address

    server.add_insecure_port = listen
    return server


def _folder() -> str:
    """Return the folder of sockets; make another one if the first was removed."""
    if not os.path.isdir(_made()):
        _made.cache_clear()
    return _made()


@functools.cache
def _made() -> str:
    """Make a folder of mode 700. This process removes it when it ends, or the next run does."""
    place = tempfile.gettempdir()
    is_short = len(os.fsencode(place)) + len("/tutelage-scratch-sockets-12345678/123") <= _LONGEST_PATH
    held = contextlib.ExitStack()
    folder = held.enter_context(scratch("sockets", place if is_short else _SHORT_FOLDER))
    atexit.register(_release, held, os.getpid())
    return folder


def _release(held: contextlib.ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves the folder to its parent
        held.close()
