"""Loopback rendezvous: ranks of one machine meet on 127.0.0.1.

Ranks meet through torch's store, which listens on all interfaces without authentication. Ranks of several
machines need that. `torchrun` has its own store, which stays as it is.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

_ADDRESSES = ("127.0.0.1", "localhost")


def is_one_machine() -> bool:
    """True if all ranks of this run are on this machine, by the launcher's environment variables."""
    return os.environ.get("WORLD_SIZE", "1") == os.environ.get("LOCAL_WORLD_SIZE", "1")


def store_on_loopback(timeout: timedelta) -> Any:
    """Return a store on the loopback interface; None if the ranks do not meet there."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined, unused-ignore]

    has_another = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if has_another or not is_one_machine() or os.environ.get("MASTER_ADDR") not in _ADDRESSES:
        return None
    host, port = _ADDRESSES[0], int(os.environ["MASTER_PORT"])
    is_master = os.environ["RANK"] == "0"
    listens = socket.create_server((host, port)).detach() if is_master else None
    return TCPStore(
        host,
        port,
        int(os.environ["WORLD_SIZE"]),
        is_master,
        timeout=timeout,
        master_listen_fd=listens,
        use_libuv=False,  # libuv takes no socket that listens already
    )
