"""Unix sockets in a folder of this user alone, where Beam would wait for its workers at open ports.

Beam's servers for worker processes listen on all interfaces of the machine and authenticate nobody: whoever
reaches them reads the pipeline with its configuration, and can send results of his own. Loopback would keep
other machines out; a socket in a folder of mode 700 keeps the other users of this machine out, too.
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
from schemas.scratch_folder import scratch

_LONGEST_PATH = 100
"""Bytes of a socket's path: the kernel takes 107 on Linux and 103 on macOS."""
_SHORT_FOLDER = "/tmp"

_numbers = itertools.count()


def use_private_sockets() -> None:
    """Have Beam's servers in this process listen on Unix sockets, and tell workers so."""
    worker_handlers.grpc = types.SimpleNamespace(server=_server)  # of grpc it uses no more than this
    GrpcWorkerHandler.port_from_worker = lambda self, port: port  # an address already


def _server(*arguments: Any, **named: Any) -> grpc.Server:
    """`grpc.server`; it listens on a socket of its own, whatever port it is told."""
    server = grpc.server(*arguments, **named)
    add = server.add_insecure_port

    def listen(port: str) -> str:
        address = f"unix:{quote(_folder())}/{next(_numbers)}"
        try:
            add(address)
        except RuntimeError as error:
            raise MachineError(
                f"{_folder()}: takes no socket, by which worker processes reach the command: {error}. "
                "Set TMPDIR to a folder on a local disk."
            ) from error
        return address

    server.add_insecure_port = listen
    return server


def _folder() -> str:
    """Where sockets are; another one if somebody removed it."""
    if not os.path.isdir(_made()):
        _made.cache_clear()
    return _made()


@functools.cache
def _made() -> str:
    """A folder of mode 700, removed when this process ends, or by the next one."""
    place = tempfile.gettempdir()
    is_short = len(os.fsencode(place)) + len("/tutelage-scratch-sockets-12345678/123") <= _LONGEST_PATH
    held = contextlib.ExitStack()
    folder = held.enter_context(scratch("sockets", place if is_short else _SHORT_FOLDER))
    atexit.register(_release, held, os.getpid())
    return folder


def _release(held: contextlib.ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # and not a child of it
        held.close()
