"""Ranks of an evaluation: gathering values, and failing together.

Under sharded training a forward pass is a collective: if one rank stops alone, the others wait for ever.
So work that can fail runs `together`: if it fails on one rank, it fails on all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.errors import TutelageError

T = TypeVar("T")


class TaskFailed(TutelageError):
    """A task cannot be evaluated; raised on all ranks, so that all of them continue with the next task."""


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
        """The ranks of torch.distributed, or a single rank if it is not in use."""
        import torch.distributed as dist

        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()

        def gather(value: Any) -> list[Any]:
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, value)
            return gathered

        return cls(dist.get_rank(), dist.get_world_size(), gather)

    def together(self, work: Callable[[], T]) -> T:
        """Do `work`; if it fails on any rank, fail on every rank. A single rank raises its own exception.

        Raises:
            TaskFailed: Carries the message of the first rank that failed.
        """
        if self.world_size == 1:
            return work()
        failure: Exception | None = None
        try:
            value = work()
        except Exception as error:  # any failure must reach the other ranks
            failure = error
        messages = [message for message in self.gather(failure and describe(failure)) if message]
        if messages:
            raise TaskFailed(messages[0]) from failure
        return value


def describe(error: Exception) -> str:
    """An error for a person: our own message, or the class and first line of another exception."""
    if isinstance(error, TutelageError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
