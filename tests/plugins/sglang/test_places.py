"""Places: so many calls at once, in order, each place taken again at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from plugins.sglang.places import Places


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of its own; everything must have ended with it."""

    async def bounded() -> None:
        await asyncio.wait_for(test, 10)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


class Calls:
    """Calls that last until they are told to end.

    Attributes:
        begun: Names of those that began, in order.
        cancelled: Names of those that were cancelled.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self._ends: dict[str, asyncio.Future[str]] = {}

    def make(self, name: str) -> Callable[[], Awaitable[str]]:
        async def call() -> str:
            self.begun.append(name)
            self._ends[name] = asyncio.get_running_loop().create_future()
            try:
                return await self._ends[name]
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise

        return call

    def end(self, name: str, error: Exception | None = None) -> None:
        if error is None:
            self._ends[name].set_result(f"{name} is done")
        else:
            self._ends[name].set_exception(error)


async def turns(number: int = 5) -> None:
    """Let the loop come round."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_calls_begin_in_order_as_places_get_free() -> None:
    async def test() -> None:
        places, calls = Places(2), Calls()
        waiting = [asyncio.create_task(places.run(calls.make(name))) for name in "abcd"]
        await turns()
        assert calls.begun == ["a", "b"]
        calls.end("b")
        await turns()
        assert calls.begun == ["a", "b", "c"]
        for name in "acd":
            calls.end(name)
            await turns()
        assert await asyncio.gather(*waiting) == [f"{name} is done" for name in "abcd"]
        await places.close()

    run(test())


def test_a_place_is_taken_again_in_the_turn_that_leaves_it() -> None:
    async def test() -> None:
        places, calls = Places(1), Calls()
        first = asyncio.create_task(places.run(calls.make("a")))
        second = asyncio.create_task(places.run(calls.make("b")))
        await turns()
        calls.end("a")
        await turns(1)
        assert calls.begun == ["a", "b"]
        assert not first.done()  # whoever asked for it hears of it in the next
        await first
        calls.end("b")
        await second
        await places.close()

    run(test())


def test_an_error_goes_to_whoever_asked_and_the_place_lives_on() -> None:
    async def test() -> None:
        places, calls = Places(1), Calls()
        failing = asyncio.create_task(places.run(calls.make("a")))
        after = asyncio.create_task(places.run(calls.make("b")))
        await turns()
        calls.end("a", OSError("lost"))
        with pytest.raises(OSError, match="lost"):
            await failing
        calls.end("b")
        assert await after == "b is done"
        await places.close()

    run(test())


def test_who_is_cancelled_cancels_the_call_and_leaves_the_place_to_the_next() -> None:
    async def test() -> None:
        places, calls = Places(1), Calls()
        given_up = asyncio.create_task(places.run(calls.make("a")))
        after = asyncio.create_task(places.run(calls.make("b")))
        await turns()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await turns()
        assert calls.cancelled == ["a"] and calls.begun == ["a", "b"]
        calls.end("b")
        assert await after == "b is done"
        await places.close()

    run(test())


def test_who_is_cancelled_while_waiting_never_begins() -> None:
    async def test() -> None:
        places, calls = Places(1), Calls()
        first = asyncio.create_task(places.run(calls.make("a")))
        given_up = asyncio.create_task(places.run(calls.make("b")))
        last = asyncio.create_task(places.run(calls.make("c")))
        await turns()
        given_up.cancel()
        await turns()
        calls.end("a")
        await first
        await turns()
        assert calls.begun == ["a", "c"] and calls.cancelled == []
        calls.end("c")
        await last
        await places.close()

    run(test())


def test_closing_waits_for_what_was_cancelled() -> None:
    async def test() -> None:
        ended = []

        async def slow_to_end() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.02)
                ended.append(True)

        places = Places(1)
        given_up = asyncio.create_task(places.run(slow_to_end))
        await turns()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await places.close()
        assert ended == [True]

    run(test())


def test_places_rest_while_nobody_comes_and_serve_again() -> None:
    async def test() -> None:
        places = Places(3)

        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return 2 * number

        for _ in range(3):
            assert await asyncio.gather(*(places.run(lambda n=n: double(n)) for n in range(20))) == [
                2 * number for number in range(20)
            ]
            await turns()
        await places.close()

    run(test())
