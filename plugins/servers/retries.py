"""Retries of requests to servers: which failures are retried, how often, and after how long.

an attempt failed on a healthy server    counts towards `max_attempts`
all servers are busy, or none reached    costs no attempt; requests fail after `patience_sec`
an answer arrives                        both clocks of `patience_sec` stop
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Sequence

import pydantic

from plugins.servers.endpoints import Endpoint, Endpoints
from plugins.synthesizers.generator import GenerationFailure
from schemas.config import Section

RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP statuses after which another attempt may succeed."""
BUSY_STATUS = frozenset({429, 503})
ENDPOINT_AT_FAULT = frozenset({*range(100, 200), *range(300, 400), 401, 403, 404, 405, 407})
"""HTTP statuses after which only another endpoint may answer."""


class ClientOptions(Section):
    """Limits and retries of the client, for one worker process.

    Attributes:
        max_in_flight: Maximum requests in flight.
        request_timeout_sec: Seconds until an attempt times out and is retried.
        max_attempts: Maximum attempts of a request on healthy servers.
        patience_sec: Seconds without any reachable server, or with all servers busy and no answer, after
            which requests fail. The clock starts once for all requests.
        backoff_sec: Seconds before the first retry; doubles each time.
        max_backoff_sec: Maximum seconds between two attempts.
        api_key_env: Environment variable of the workers with an API key, sent as a bearer token. In answers
            of a server, a key of 8 characters or more is replaced by `[api key]`. Null sends no key.
        api_key_file: File on the workers with the API key; null reads none.
    """

    max_in_flight: int = pydantic.Field(default=64, ge=1)
    request_timeout_sec: float = pydantic.Field(default=600.0, gt=0)
    max_attempts: int = pydantic.Field(default=5, ge=1)
    patience_sec: float = pydantic.Field(default=300.0, ge=0)
    backoff_sec: float = pydantic.Field(default=0.5, ge=0)
    max_backoff_sec: float = pydantic.Field(default=30.0, ge=0)
    api_key_env: str | None = None
    api_key_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _one_key(self) -> ClientOptions:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("api_key_env and api_key_file both name a key; keep one")
        return self


@dataclasses.dataclass(kw_only=True, eq=False)
class FailedAttempt(Exception):
    """A failed attempt that is worth another one."""

    reason: str
    detail: str
    after_sec: float | None = None  # pause that the server asks for (Retry-After)
    reached: bool = True  # true if a healthy server was reached
    busy: bool = False  # true if the server is only overloaded
    elsewhere: bool = False  # true if only another endpoint may answer


class Retries:
    """Decides after each failed attempt whether its request gets another one, and when."""

    def __init__(self, options: ClientOptions):
        self._options = options
        self._jitter = random.Random(0)  # spreads retries; no result depends on it
        self._unreached_since: float | None = None
        self._busy_since: float | None = None

    def answered(self) -> None:
        """Note an answer of any server."""
        self._unreached_since = self._busy_since = None

    def give_up(
        self, failed: FailedAttempt, failed_at: Sequence[Endpoint], endpoints: Endpoints
    ) -> GenerationFailure | None:
        """The failure of a request after its last attempt; None if it gets another one.

        `failed` is the latest attempt; `failed_at` has the endpoint of each attempt that counts.
        """
        now = time.monotonic()
        urls = ", ".join(each.url for each in endpoints)
        if not failed.reached:
            self._unreached_since = self._unreached_since or now
            waited = now - self._unreached_since
            if waited >= self._options.patience_sec:
                detail = (
                    f"{failed.detail} (nothing reached for {waited:.0f} s at {urls}); is the server running?"
                )
                return GenerationFailure(reason="unreachable", detail=detail, ends_chain=True)
            return None
        self._unreached_since = None
        if failed.busy:
            self._busy_since = self._busy_since or now
            waited = now - self._busy_since
            if waited >= self._options.patience_sec:
                tried = f"busy for {waited:.0f} s without an answer at {urls}"
                detail = f"{failed.detail} ({tried}); lower synthesis.options.max_in_flight"
                return GenerationFailure(reason="busy", detail=detail, ends_chain=True)
        elif failed.elsewhere and all(each in failed_at for each in endpoints):
            return GenerationFailure(reason=failed.reason, detail=failed.detail)
        elif len(failed_at) >= self._options.max_attempts:
            where = ", ".join(dict.fromkeys(each.url for each in failed_at))
            detail = f"{failed.detail} ({len(failed_at)} attempts at {where})"
            return GenerationFailure(reason=failed.reason, detail=detail)
        return None

    def backoff(self, times: int) -> float:
        """Seconds before the n-th retry, with jitter."""
        ceiling: float = min(
            self._options.max_backoff_sec, self._options.backoff_sec * 2 ** min(times - 1, 16)
        )
        return ceiling * self._jitter.uniform(0.5, 1.0)
