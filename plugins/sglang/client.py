"""A client that keeps SGLang servers busy and turns every failure into a value.

    request ─► endpoint by rendezvous hash of its affinity, among those not resting
                 │ 200                          ─► Generation
                 │ 4xx: the prompt is at fault  ─► GenerationFailure, at once
                 │ 408, 425, 429, 5xx, abort, bad JSON, time-out, no connection
                 ▼
               wait (Retry-After, or capped exponential backoff with full jitter) and try again;
               an endpoint that is busy, or without a healthy /health, rests: its requests move to the others

Requests of one chain share an affinity, so they meet the same server's prefix cache. A server that is busy
(429, or 503 with a healthy /health) costs a request no attempt. When the attempts or the patience are used up
the request fails; the run decides how many failures are too many.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pydantic

from plugins.sglang import answers
from plugins.sglang.connections import Answer, Connections, Disconnected, NotConnected
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest
from schemas.config import Section
from schemas.errors import ConfigError
from schemas.records import Generation, digest

_RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})
_BUSY_STATUS = frozenset({429, 503})
_NO_SUCH_PATH = (404, 405)
_HEALTH_SEC = 5.0


class ClientOptions(Section):
    """How patient the client is.

    Attributes:
        max_in_flight: Requests under way at once.
        request_timeout_sec: A request that takes longer is given up and tried again.
        max_attempts: Attempts a request gets while its server is healthy.
        patience_sec: How long requests wait for servers of which none can be reached, such as one starting.
            Counted from when the last one was lost, so that a dead server costs it once, not once a request.
            Also how long all servers may be busy without answering any request.
        backoff_sec: First wait between attempts; doubles each time.
        max_backoff_sec: Longest wait between attempts.
        api_key_env: Environment variable of the workers that holds a key, sent as a bearer token.
    """

    max_in_flight: int = pydantic.Field(default=64, ge=1)
    request_timeout_sec: float = pydantic.Field(default=600.0, gt=0)
    max_attempts: int = pydantic.Field(default=5, ge=1)
    patience_sec: float = pydantic.Field(default=300.0, ge=0)
    backoff_sec: float = pydantic.Field(default=0.5, ge=0)
    max_backoff_sec: float = pydantic.Field(default=30.0, ge=0)
    api_key_env: str | None = None


class _Retry(Exception):
    """One attempt failed in a way that another may not.

    Attributes:
        after_sec: The pause that the server asks for, if it asks for one.
        reached: Whether a healthy server was there.
        busy: Whether it said no more than that it has too much to do.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        after_sec: float | None = None,
        reached: bool = True,
        busy: bool = False,
    ):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.after_sec = after_sec
        self.reached = reached
        self.busy = busy


class SGLangClient:
    """Sends prompts to one or several SGLang servers. Belongs to one event loop.

    Args:
        endpoints: Base URLs, such as `http://127.0.0.1:30000`.
        options: Limits and patience.
    """

    def __init__(self, endpoints: Sequence[str], options: ClientOptions):
        if not endpoints:
            raise ConfigError(
                "synthesis.endpoints is empty: backend 'sglang' needs the URL of at least one running "
                "server, such as http://127.0.0.1:30000."
            )
        for endpoint in endpoints:
            if not _is_url(endpoint):
                raise ConfigError(
                    f"synthesis.endpoints holds {endpoint!r}; expected a URL with http:// or https://."
                )
            if "@" in endpoint.split("/")[2]:
                raise ConfigError(
                    "synthesis.endpoints holds a URL with a name or password in it, which would be logged; "
                    "put the key into an environment variable and name that in synthesis.options.api_key_env."
                )
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._resting_until = dict.fromkeys(self._endpoints, 0.0)
        self._options = options
        self._connections: Connections | None = None
        self._jitter = random.Random(0)  # spreads retries; no result depends on it
        self._unreached_since: float | None = None
        self._busy_since: float | None = None
        self._tallies = {endpoint: EndpointTally() for endpoint in self._endpoints}

    async def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            await self._connections.close()
            self._connections = None

    def tallies(self) -> Mapping[str, EndpointTally]:
        """What each endpoint did so far."""
        for endpoint, tally in self._tallies.items():
            tally.in_flight = self._connections.in_flight(endpoint) if self._connections is not None else 0
        return self._tallies

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        """Answer one prompt, trying again as often as the options allow."""
        sampling: dict[str, Any] = {
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            sampling["stop"] = list(request.stop)
        if request.json_schema:
            sampling["json_schema"] = request.json_schema
        body = {"input_ids": np.asarray(request.prompt_ids, dtype=np.int32), "sampling_params": sampling}
        return await self.send(body, affinity=request.affinity)

    async def send(self, body: Mapping[str, Any], *, affinity: str = "") -> Generation | GenerationFailure:
        """Answer one body of `/generate`, trying again as often as the options allow.

        Args:
            body: `text` or `input_ids`, and `sampling_params`, as SGLang defines them.
            affinity: Requests with the same value go to the same endpoint while it is up.
        """
        found = await self._send(body, affinity)
        return found if isinstance(found, GenerationFailure) else found[0]

    async def logprobs(
        self, token_ids: Sequence[int], start: int, *, affinity: str = ""
    ) -> list[float] | GenerationFailure:
        """How likely the server's model finds tokens, each after those before it.

        Args:
            token_ids: Token ids of prompt and continuation.
            start: Place of the first token asked about, at least 1.
            affinity: As for `send`.

        Returns:
            Natural logarithms for `token_ids[start:]`.
        """
        body = {
            "input_ids": list(token_ids),
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": start - 1,  # nothing precedes the first token that it tells of
        }
        found = await self._send(body, affinity)
        if isinstance(found, GenerationFailure):
            return found
        try:
            return answers.input_logprobs(found[1], token_ids[start:])
        except ValueError as error:
            return GenerationFailure(reason="bad_answer", detail=str(error))

    async def _send(
        self, body: Mapping[str, Any], affinity: str
    ) -> tuple[Generation, Any] | GenerationFailure:
        """The answer, read and as the server gave it."""
        data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        attempts = 0
        waits = 0
        while True:
            endpoint = self._choose(affinity)
            tally = self._tallies[endpoint]
            try:
                answer = await self._read(endpoint, await self._post(endpoint, data))
            except _Retry as failed:
                waits += 1
                attempts += failed.reached and not failed.busy
                failure = self._given_up(endpoint, failed, attempts)
                if failure is not None:
                    tally.failed += 1
                    return failure
                if failed.busy or not failed.reached:
                    self._resting_until[endpoint] = time.monotonic() + self._backoff(waits)
                tally.retried += 1
                pause = failed.after_sec or self._backoff(waits)
            else:
                self._unreached_since = self._busy_since = None
                tally.add(answer if isinstance(answer, GenerationFailure) else answer[0])
                return answer
            await asyncio.sleep(min(pause, self._options.max_backoff_sec))

    def _given_up(self, endpoint: str, failed: _Retry, attempts: int) -> GenerationFailure | None:
        """What becomes of a request after a failed attempt; None where it is tried again."""
        now = time.monotonic()
        if not failed.reached:
            self._unreached_since = self._unreached_since or now
            waited = now - self._unreached_since
            if waited >= self._options.patience_sec:
                tried = f"nothing reached for {waited:.0f} s at {', '.join(self._endpoints)}"
                detail = f"{failed.detail} ({tried}); is the server running?"
                return GenerationFailure(reason="unreachable", detail=detail, ends_chain=True)
            return None
        self._unreached_since = None
        if failed.busy:
            self._busy_since = self._busy_since or now
            waited = now - self._busy_since
            if waited >= self._options.patience_sec:
                tried = f"busy for {waited:.0f} s without an answer at {', '.join(self._endpoints)}"
                detail = f"{failed.detail} ({tried}); lower synthesis.options.max_in_flight"
                return GenerationFailure(reason="busy", detail=detail, ends_chain=True)
        elif attempts >= self._options.max_attempts:
            detail = f"{failed.detail} ({attempts} attempts at {endpoint})"
            return GenerationFailure(reason=failed.reason, detail=detail)
        return None

    async def _post(self, endpoint: str, data: bytes) -> Answer:
        try:
            return await self._http().post(endpoint, "/generate", data)
        except NotConnected as error:
            # It was not there: that it may be now, as when it has just started, makes this no attempt.
            raise _Retry("disconnected", str(error), reached=False) from None
        except (Disconnected, TimeoutError) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "disconnected"
            raise _Retry(reason, str(error), reached=await self._healthy(endpoint)) from None

    async def _read(self, endpoint: str, answer: Answer) -> tuple[Generation, Any] | GenerationFailure:
        if answer.status in _RETRIED_STATUS:
            # A server that drains answers 503 to everything, and will soon be gone.
            reached = answer.status != 503 or await self._healthy(endpoint)
            raise _Retry(
                f"http_{answer.status}",
                answers.error_message(answer.body),
                after_sec=_seconds(answer.headers.get("retry-after")),
                reached=reached,
                busy=reached and answer.status in _BUSY_STATUS,
            )
        if answer.status != 200:
            detail = (
                f"{endpoint}/generate answered HTTP {answer.status}: {answers.error_message(answer.body)}"
                f"{answers.base_url_hint(endpoint) if answer.status in _NO_SUCH_PATH else ''}"
            )
            if "location" in answer.headers:
                detail += f" (it redirects to {answer.headers['location']}: name that endpoint instead)"
            return GenerationFailure(reason="refused", detail=detail)
        try:
            value = answers.parse(answer.body)
            generation = answers.generation(value)
        except ValueError as error:
            raise _Retry("bad_answer", str(error)) from None
        if generation.finish_reason == "abort":
            raise _Retry("aborted", f"the server aborted after {generation.completion_tokens} tokens")
        return generation, value

    def _http(self) -> Connections:
        if self._connections is None:
            headers = {}
            if self._options.api_key_env is not None:
                key = os.environ.get(self._options.api_key_env, "").strip()
                if not key or not (key.isascii() and key.isprintable()):
                    wrong = "holds characters that no header may have" if key else "is not set or empty"
                    raise ConfigError(
                        f"synthesis.options.api_key_env names {self._options.api_key_env!r}, which {wrong} "
                        "in the environment of this worker; set it there."
                    )
                headers["Authorization"] = f"Bearer {key}"
            self._connections = Connections(
                self._endpoints,
                limit=self._options.max_in_flight,
                timeout_sec=self._options.request_timeout_sec,
                headers=headers,
            )
        return self._connections

    async def _healthy(self, endpoint: str) -> bool:
        timeout_sec = min(_HEALTH_SEC, self._options.request_timeout_sec)
        try:
            answer = await self._http().get(endpoint, "/health", timeout_sec=timeout_sec)
        except (NotConnected, Disconnected, TimeoutError):
            return False
        return answer.status == 200

    def _choose(self, affinity: str) -> str:
        """The endpoint with the highest hash for this affinity, among those not resting."""
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        now = time.monotonic()
        awake = [endpoint for endpoint in self._endpoints if self._resting_until[endpoint] <= now]
        return max(awake or self._endpoints, key=lambda endpoint: digest(endpoint, affinity))

    def _backoff(self, times: int) -> float:
        ceiling: float = min(
            self._options.max_backoff_sec, self._options.backoff_sec * 2 ** min(times - 1, 16)
        )
        return ceiling * self._jitter.uniform(0.5, 1.0)


def _is_url(endpoint: str) -> bool:
    try:
        url = urllib.parse.urlsplit(endpoint)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # no port number, or half an IPv6 address
        return False


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
