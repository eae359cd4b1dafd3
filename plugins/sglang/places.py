"""So many calls at once, and a place that is taken again in the turn of the event loop that leaves it.

Whoever waits for a semaphore is woken in a later turn: after all that the loop has to do by then. With 256
requests in flight that kept seven places empty. Here a task goes on to the next call by itself.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

ResultT = TypeVar("ResultT")


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting(Generic[ResultT]):
    call: Callable[[], Awaitable[ResultT]]
    result: asyncio.Future[ResultT]
    task: asyncio.Task[None] | None = None


class Places:
    """Runs calls in the order in which they come, at most `limit` at once. Belongs to one event loop."""

    def __init__(self, limit: int):
        self._limit = limit
        self._waiting: collections.deque[_Waiting[Any]] = collections.deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, call: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Await what `call` gives once there is a place; who is cancelled meanwhile cancels it."""
        mine: _Waiting[ResultT] = _Waiting(call, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if len(self._tasks) < self._limit:
            self._start()
        try:
            return await mine.result
        except asyncio.CancelledError:
            if mine.task is not None:
                mine.task.cancel()
            raise

    async def close(self) -> None:
        """Wait for calls that were cancelled."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        task = asyncio.create_task(self._serve())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting:  # the task was cancelled, or somebody came after it had looked
            self._start()

    async def _serve(self) -> None:
        while self._waiting:
            one = self._waiting.popleft()
            if one.result.done():  # cancelled while it waited
                continue
            one.task = asyncio.current_task()
            try:
                value = await one.call()
            except asyncio.CancelledError:
                one.result.cancel()
                raise
            except BaseException as error:
                if not one.result.done():
                    one.result.set_exception(error)
            else:
                if not one.result.done():
                    one.result.set_result(value)
            one.task = None
