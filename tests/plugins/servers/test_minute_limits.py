"""Limits by minute on a clock of the test."""

from __future__ import annotations

import asyncio

import pytest

from plugins.servers import minute_limits
from plugins.servers.minute_limits import MinuteLimits


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr(minute_limits.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(minute_limits.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def passed(clock: Clock, limits: MinuteLimits, amounts: list[int], used: int | None = None) -> list[float]:
    """Seconds after which each request passes; each then uses `used` tokens."""

    async def run() -> list[float]:
        start, found = clock.now, []
        for amount in amounts:
            await limits.take(amount)
            found.append(round(clock.now - start, 3))
            if used is not None:
                limits.settle(amount, used)
        return found

    return asyncio.run(run())


def test_requests_keep_their_limit_and_are_spread_evenly(clock: Clock) -> None:
    assert passed(clock, MinuteLimits(requests=30), [0] * 4) == [0.0, 2.0, 4.0, 6.0]


def test_a_request_with_more_tokens_than_the_bucket_passes_and_the_next_one_waits(clock: Clock) -> None:
    assert passed(clock, MinuteLimits(tokens=6_000), [1_000, 100, 100]) == [0.0, 10.0, 11.0]


def test_tokens_that_an_answer_did_not_use_return(clock: Clock) -> None:
    assert passed(clock, MinuteLimits(tokens=6_000), [1_000, 1_000, 1_000], used=200) == [0.0, 2.0, 4.0]


def test_an_idle_minute_saves_up_one_second_only(clock: Clock) -> None:
    limits = MinuteLimits(requests=60)
    passed(clock, limits, [0])
    clock.now += 60
    assert passed(clock, limits, [0] * 4) == [0.0, 0.0, 1.0, 2.0]


def test_without_limits_nothing_waits(clock: Clock) -> None:
    assert passed(clock, MinuteLimits(), [10_000] * 3) == [0.0] * 3
