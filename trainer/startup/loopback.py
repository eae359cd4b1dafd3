"""Ranks of one machine meet on its loopback interface.

torch's store, through which ranks meet, listens on all interfaces and asks nobody who he is. Ranks of several
machines need that. The store of `torchrun` is torchrun's own and stays as it is.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

_ADDRESSES = ("127.0.0.1", "localhost")


def is_one_machine() -> bool:
    """Whether all ranks of this run are on this machine, as their launcher says."""
    return os.environ.get("WORLD_SIZE", "1") == os.environ.get("LOCAL_WORLD_SIZE", "1")


def store_on_loopback(timeout: timedelta) -> Any:
    """The store of ranks that meet at an address of loopback; None where they meet elsewhere.

    Args:
        timeout: How long ranks wait for one another.
    """
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
        use_libuv=False,  # which takes no socket that listens already
    )
