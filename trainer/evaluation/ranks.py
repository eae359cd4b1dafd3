"""This process among its peers: who it is, and how all of them agree.

Under sharded training a forward pass is a collective: a rank that stops alone leaves the others
waiting for it. So work that can fail is done `together`, where one rank's failure is everyone's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.errors import TutelageError

T = TypeVar("T")


class TaskFailed(TutelageError):
    """A task cannot be evaluated; raised on all ranks alike, so that all can go on to the next."""


def _alone(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process of `world_size`.

    Attributes:
        rank: This process, from 0.
        world_size: Number of processes.
        gather: Collects one value of each rank, in rank order, on every rank; a collective.
    """

    rank: int = 0
    world_size: int = 1
    gather: Callable[[Any], list[Any]] = _alone

    @classmethod
    def current(cls) -> Ranks:
        """The ranks of torch.distributed, or a single one where it is not in use."""
        import torch.distributed as dist

        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()

        def gather(value: Any) -> list[Any]:
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, value)
            return gathered

        return cls(dist.get_rank(), dist.get_world_size(), gather)

    def together(self, work: Callable[[], T]) -> T:
        """Do `work`, and fail on every rank if it fails on any; a rank alone raises what it met.

        Raises:
            TaskFailed: Carries the message of the first rank that failed.
        """
        if self.world_size == 1:
            return work()
        failure: Exception | None = None
        try:
            value = work()
        except Exception as error:  # whatever a rank meets, its peers must hear of it
            failure = error
        messages = [message for message in self.gather(failure and describe(failure)) if message]
        if messages:
            raise TaskFailed(messages[0]) from failure
        return value


def describe(error: Exception) -> str:
    """What a person is told of an error: our own message, or the kind and first line of another's."""
    if isinstance(error, TutelageError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
