"""One number of shared memory for all ranks of a node.

Streaming names the shared memory segments of a dataset by the first free number of the node
(`/dev/shm/000003_locals`). In Streaming each rank searches for that number. If another job of the node starts
or ends meanwhile, ranks find different numbers, and the run ends with "shared memory prefix=3 was not
registered by local leader". If two jobs start at once, both may find 3, and one of them fails. Here the first
rank of a node takes a number, retries if another job was faster, and sends it to the other ranks.

Streaming also takes a number some of whose segments still exist, if a lower number has none of that name. A
`000003_resume` left by a killed job would then start the epoch at that job's position: earlier rows would be
skipped without an error. Here a number is free only if it has no segment at all.
"""

from __future__ import annotations

import contextlib
from typing import Any

import streaming.base.dataset
from streaming.base.constant import LOCALS, SHM_TO_CLEAN
from streaming.base.shared import SharedMemory, prefix
from streaming.base.world import World
from torch import distributed as dist

from schemas.replaced_internals import Internal, replaced


def agreed_numbers() -> contextlib.AbstractContextManager[None]:
    """Replace Streaming's search for a number while a StreamingDataset is made."""
    return replaced(Internal(streaming.base.dataset, "get_shm_prefix", take_number))


def take_number(
    streams_local: list[str], streams_remote: list[str | None], world: World, retry: int = 100
) -> tuple[int, SharedMemory]:
    """Take the first free number of this node; a collective, with the signature of `get_shm_prefix`.

    Args:
        streams_local: Local directory of each stream.
        streams_remote: Remote of each stream, if it has one.
        world: Ranks of the run.
        retry: Attempts while another job uses one of the directories.

    Returns:
        The number, and the segment that holds it.

    Raises:
        ValueError: Another job of the node uses one of the directories; on all ranks.
    """
    if world.num_ranks > 1 and not (dist.is_available() and dist.is_initialized()):
        number, memory = prefix.get_shm_prefix(streams_local, streams_remote, world, retry)
        return number, memory  # ranks that cannot communicate search each for itself, as in Streaming
    taken: tuple[int, SharedMemory] | ValueError | None = None
    if world.is_local_leader:
        try:
            taken = _take(streams_local, streams_remote, retry)
        except ValueError as error:
            taken = error
    of_nodes: dict[int, Any] = {}
    if taken is not None:
        of_nodes[world.node] = taken[0] if isinstance(taken, tuple) else taken
    if world.num_ranks > 1:
        gathered: list[dict[int, Any]] = [{}] * world.num_ranks
        dist.all_gather_object(gathered, of_nodes)
        for said in gathered:
            of_nodes |= said
    for answer in of_nodes.values():
        if isinstance(answer, ValueError):
            raise answer
    if isinstance(taken, tuple):
        return taken
    number = of_nodes[world.node]
    return number, SharedMemory(prefix._get_path(number, LOCALS), False)


def _take(streams_local: list[str], streams_remote: list[str | None], retry: int) -> tuple[int, SharedMemory]:
    prefix._check_self(streams_local)
    least = 0
    while True:
        found = [
            prefix._check_and_find_retrying(streams_local, streams_remote, shm_name=name, retry=retry)
            for name in SHM_TO_CLEAN
        ]
        number = max(least, *found)
        while _has_leftovers(number):
            number += 1
        data = prefix._pack_locals(streams_local, number)
        try:
            memory = SharedMemory(prefix._get_path(number, LOCALS), True, len(data))
        except FileExistsError:  # another job has taken it since; it may use the same directories
            least = number + 1
            continue
        memory.buf[: len(data)] = data
        return number, memory


def _has_leftovers(number: int) -> bool:
    """True if a segment other than `locals` exists under this number, even if it is another user's."""
    for name in set(SHM_TO_CLEAN) - {LOCALS}:
        try:
            SharedMemory(prefix._get_path(number, name), False).cleanup()
        except FileNotFoundError:
            continue
        except PermissionError:
            pass
        return True
    return False
