"""Choice of the endpoint for each request, by the results of earlier requests.

    in use ──half of the last requests failed──► out ──after a rest──► on trial: one request at a time
      ▲                                           ▲                        │            │
      └───────────────── answered ────────────────┼────────────────────────┘            │
                                                  └── failed: a rest twice as long ─────┘

A request goes to the endpoint with the highest hash of URL and affinity, so that one prefix cache serves a
chain. If that endpoint is out, its chains move to the endpoint with their next highest hash; other chains do
not move. A request avoids endpoints at which it has failed.

Health checks do not count, because a server may answer `/health` and fail at everything else.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from plugins.synthesizers.generator import EndpointTally
from schemas.content_hash import digest

_LAST = 20
_FEWEST = 5
_MAX_FAILED_SHARE = 0.5

_log = logging.getLogger(__name__)


class Endpoint:
    """One server, its counters and the results of its last requests."""

    def __init__(self, url: str, backoff: Callable[[int], float], *, is_only: bool):
        self.url = url
        self.tally = EndpointTally()
        self.is_out = False  # true after too many failures, until it answers again
        self._is_only = is_only
        self._backoff = backoff
        self._failed: deque[bool] = deque(maxlen=_LAST)
        self._rests_until = 0.0
        self._num_rests = 0
        self._num_attempts = 0

    def is_ready(self) -> bool:
        """True if a request may be sent now."""
        return time.monotonic() >= self._rests_until and not (self.is_out and self._num_attempts)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count one request in flight; a server on trial gets one at a time."""
        self._num_attempts += 1
        try:
            yield
        finally:
            self._num_attempts -= 1

    def rest(self, seconds: float) -> None:
        """Send no request for so many seconds, if there are other endpoints."""
        self._rests_until = max(self._rests_until, time.monotonic() + seconds)

    def succeeded(self) -> None:
        """Note an answered request."""
        if self.is_out:
            _log.warning("%s answers again and is in use", self.url)
            self.is_out = False
            self._num_rests = 0
            self._failed.clear()
        self._failed.append(False)

    def failed(self, reason: str) -> None:
        """Note a failed request that another server might answer, or a failed connection."""
        if self._is_only:
            return
        self._failed.append(True)
        num_failed, num_last = sum(self._failed), len(self._failed)
        if self.is_out:
            if time.monotonic() < self._rests_until:
                return  # the request was in flight before the rest
        elif num_last < _FEWEST or num_failed < _MAX_FAILED_SHARE * num_last:
            return
        self._num_rests += 1
        seconds = self._backoff(self._num_rests)
        self.rest(seconds)
        if not self.is_out:
            self.is_out = True
            self.tally.taken_out += 1
            _log.warning(
                "%s is taken out: %d of its last %d requests failed, the last one with %s; its chains move "
                "to other endpoints, and it gets a trial request in %.1f s",
                *(self.url, num_failed, num_last, reason, seconds),
            )


class Endpoints:
    """The endpoints of a client; `backoff` returns the seconds of the n-th rest in a row."""

    def __init__(self, urls: Sequence[str], backoff: Callable[[int], float]):
        distinct = list(dict.fromkeys(urls))
        self._all = [Endpoint(url, backoff, is_only=len(distinct) == 1) for url in distinct]

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all)

    def choose(self, affinity: str, failed_at: Collection[Endpoint] = ()) -> Endpoint:
        """Choose the endpoint for a request; if all are out, one of them.

        Requests with the same affinity go to the same endpoint while it is in use. Endpoints at which this
        request has failed are the last choice.
        """
        if len(self._all) == 1:
            return self._all[0]
        ready = [each for each in self._all if each.is_ready()] or self._all
        fresh = [each for each in ready if each not in failed_at] or ready
        return max(fresh, key=lambda each: digest(each.url, affinity))
