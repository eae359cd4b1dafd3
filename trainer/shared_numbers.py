"""One number of shared memory for all ranks of a node.

Streaming names a dataset's segments of shared memory by the first number that is free on the node
(`/dev/shm/000003_locals`). There each rank looks for that number itself: where another job of the node
ends or begins meanwhile, ranks find different ones, and the run ends with "shared memory prefix=3 was not
registered by local leader"; two jobs that begin at once may both find 3, and one of them fails. Here the
first rank of a node looks and takes, looks again if another job was quicker, and tells the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import streaming.base.dataset
from streaming.base.constant import LOCALS, SHM_TO_CLEAN
from streaming.base.shared import SharedMemory, prefix
from streaming.base.world import World
from torch import distributed as dist


@contextlib.contextmanager
def agreed_numbers() -> Iterator[None]:
    """A StreamingDataset that is made within takes its number with its node's other ranks."""
    module: Any = streaming.base.dataset
    original, module.get_shm_prefix = module.get_shm_prefix, take_number
    try:
        yield
    finally:
        module.get_shm_prefix = original


def take_number(
    streams_local: list[str], streams_remote: list[str | None], world: World, retry: int = 100
) -> tuple[int, SharedMemory]:
    """Take the first free number of this node; in the place of Streaming's `get_shm_prefix`, a collective.

    Args:
        streams_local: Local directory of each stream.
        streams_remote: Where each stream comes from, if elsewhere.
        world: This rank among all.
        retry: How often to look again where another job has one of the directories.

    Returns:
        The number, and the segment that holds it.

    Raises:
        ValueError: Another job of the node has one of the directories; on all ranks.
    """
    if not (dist.is_available() and dist.is_initialized()):  # ranks that cannot tell each other anything
        number, memory = prefix.get_shm_prefix(streams_local, streams_remote, world, retry)
        return number, memory
    taken: tuple[int, SharedMemory] | ValueError | None = None
    if world.is_local_leader:
        try:
            taken = _take(streams_local, streams_remote, retry)
        except ValueError as error:
            taken = error
    said: dict[int, Any] = {}
    if world.is_local_leader:
        said[world.node] = taken[0] if isinstance(taken, tuple) else taken
    gathered: list[dict[int, Any]] = [{}] * dist.get_world_size()
    dist.all_gather_object(gathered, said)
    for answer in gathered:
        said |= answer
    for answer in said.values():
        if isinstance(answer, ValueError):
            raise answer
    if isinstance(taken, tuple):
        return taken
    number = said[world.node]
    return number, SharedMemory(prefix._get_path(number, LOCALS), False)


def _take(streams_local: list[str], streams_remote: list[str | None], retry: int) -> tuple[int, SharedMemory]:
    prefix._check_self(streams_local)
    while True:
        number = max(
            prefix._check_and_find_retrying(streams_local, streams_remote, shm_name=name, retry=retry)
            for name in SHM_TO_CLEAN
        )
        data = prefix._pack_locals(streams_local, number)
        try:
            memory = SharedMemory(prefix._get_path(number, LOCALS), True, len(data))
        except FileExistsError:
            continue  # another job has taken it since
        memory.buf[: len(data)] = data
        return number, memory
