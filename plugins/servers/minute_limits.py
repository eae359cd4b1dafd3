"""Limits by minute on requests and tokens, as hosted servers set them; for one worker process.

A limit is a bucket that fills evenly, up to one second's worth. A request waits until the bucket is not in
debt, and then takes its tokens: a request larger than the bucket leaves a debt, and the next one waits
longer. A request takes the tokens of its prompt and all that it may generate; once it is answered, unused
tokens return. Requests pass in the order in which they come.

aiolimiter has no return of tokens, and refuses requests larger than its bucket.
"""

from __future__ import annotations

import asyncio
import time

_LONGEST_SLEEP_SEC = 1.0


class MinuteLimits:
    """Waits before requests. None is no limit. Belongs to one event loop."""

    def __init__(self, *, requests: float | None = None, tokens: float | None = None):
        self._requests = _Bucket(requests) if requests else None
        self._tokens = _Bucket(tokens) if tokens else None

    async def take(self, num_tokens: int) -> None:
        """Wait until one more request of at most so many tokens is allowed."""
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens is not None:
            await self._tokens.take(num_tokens)

    def settle(self, taken: int, used: int) -> None:
        """Correct the tokens that an answered request took to those that it used."""
        if self._tokens is not None:
            self._tokens.give_back(taken - used)


class _Bucket:
    def __init__(self, per_minute: float):
        self._per_sec = per_minute / 60
        self._level = 0.0  # below 0 is a debt
        self._filled_at = time.monotonic()
        self._turn = asyncio.Lock()

    async def take(self, amount: float) -> None:
        async with self._turn:
            while (debt := -self._fill()) > 0:
                await asyncio.sleep(min(debt / self._per_sec, _LONGEST_SLEEP_SEC))
            self._level -= amount

    def give_back(self, amount: float) -> None:
        self._level += amount

    def _fill(self) -> float:
        now = time.monotonic()
        self._level = min(self._level + (now - self._filled_at) * self._per_sec, self._per_sec)
        self._filled_at = now
        return self._level
