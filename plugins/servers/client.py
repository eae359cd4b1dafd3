"""Client of servers: retries with backoff, and failures as values.

    request ─► endpoint, by affinity and by the results of earlier requests (endpoints.py)
                 │ 200 with an answer                   ─► Generation
                 │ 4xx: the prompt is wrong             ─► GenerationFailure, without a retry
                 │ 408, 425, 429, 5xx, abort, bad JSON, time-out, no connection
                 ▼
               retry (retries.py): at once on another endpoint; if there is none, after Retry-After, or after
               a capped exponential backoff with jitter

Requests of one chain share an affinity, so one server's prefix cache serves them. A busy server (429, or 503
of a healthy server) costs a request no attempt. A request fails when its attempts or the patience are used
up; the run counts failures and decides when to stop.

A subclass knows one API: the path, the reading of an answer, and how a healthy server is told.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from plugins.servers.api_key import HIDDEN, Scrubber, read_key
from plugins.servers.endpoints import Endpoint, Endpoints
from plugins.servers.http import Answer, Disconnected, Http, NotConnected, TooLarge
from plugins.servers.json_answers import error_message, parse
from plugins.servers.minute_limits import MinuteLimits
from plugins.servers.retries import (
    BUSY_STATUS,
    ENDPOINT_AT_FAULT,
    RETRIED_STATUS,
    ClientOptions,
    FailedAttempt,
    Retries,
)
from plugins.servers.urls import check_endpoint
from plugins.synthesizers.generator import EndpointTally, GenerationFailure
from schemas.errors import ConfigError
from schemas.records import Generation

_HEALTH_SEC = 5.0
_SHOWN_CHARACTERS = 300

_log = logging.getLogger(__name__)


class ServerClient(ABC):
    """Sends requests to servers, given by their base URLs. Belongs to one event loop.

    Attributes:
        backend: Name of the synthesizer, for messages.
        example: A URL of a server, for messages.
        health_path: Path whose answer shows whether a server is healthy.
    """

    backend: str
    example: str
    health_path: str

    def __init__(self, endpoints: Sequence[str], options: ClientOptions, limits: MinuteLimits | None = None):
        if not endpoints:
            raise ConfigError(
                f"synthesis.endpoints is empty: backend {self.backend!r} needs the URL of a running server, "
                f"such as {self.example}."
            )
        urls = [self._base_url(check_endpoint(endpoint, "synthesis.endpoints")) for endpoint in endpoints]
        self._retries = Retries(options)
        self._endpoints = Endpoints(urls, self._retries.backoff)
        self._options = options
        self._limits = limits or MinuteLimits()
        self._http: Http | None = None
        self._scrubber = Scrubber("")
        self._warned: set[str] = set()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def tallies(self) -> Mapping[str, EndpointTally]:
        """Counters of each endpoint so far."""
        for endpoint in self._endpoints:
            endpoint.tally.in_flight = self._http.in_flight(endpoint.url) if self._http is not None else 0
        return {endpoint.url: endpoint.tally for endpoint in self._endpoints}

    def _base_url(self, url: str) -> str:
        """Return the URL that paths are added to, of an endpoint of the configuration."""
        return url

    @abstractmethod
    def _body(self, data: bytes) -> tuple[bytes, str]:
        """Return the body of one attempt, and the id that the answer must have, or ""."""

    @abstractmethod
    def _read(self, url: str, answer: Answer, value: Any, sent_id: str) -> Generation | GenerationFailure:
        """Read an answer with status 200, whose JSON is `value`.

        Raises:
            ValueError: The answer is wrong; the message names the fault.
            FailedAttempt: The answer is not one to this request.
        """

    @abstractmethod
    def _is_well(self, answer: Answer) -> bool:
        """True if a server that answers a GET of `health_path` so is healthy."""

    def _hint(self, url: str, status: int, said: str, data: bytes) -> str:
        """What to do about a refused request, from " (" to ")"; or ""."""
        return ""

    async def _send(
        self, path: str, data: bytes, affinity: str, *, num_tokens: int = 0
    ) -> tuple[Generation, Any] | GenerationFailure:
        """Send a body with the retries that the options allow; the answer, and its JSON.

        Args:
            path: Path of the API, below the base URL.
            data: JSON object of the request.
            affinity: Requests with the same value go to the same endpoint while it is in use.
            num_tokens: Tokens that the request takes at most, for limits by minute.
        """
        waits = 0
        failed_at: list[Endpoint] = []
        while True:
            await self._limits.take(num_tokens)
            endpoint = self._endpoints.choose(affinity, failed_at)
            try:
                with endpoint.attempt():
                    answer = await self._attempt(endpoint.url, path, data)
            except FailedAttempt as failed:
                moves = False
                if not failed.busy:
                    endpoint.failed(failed.reason)
                    if failed.reached:
                        failed_at.append(endpoint)
                        moves = failed_at.count(endpoint) == 1 and any(
                            each not in failed_at for each in self._endpoints
                        )
                failure = self._retries.give_up(failed, failed_at, self._endpoints)
                if failure is not None:
                    endpoint.tally.failed += 1
                    return self._without_key(failure)
                endpoint.tally.retried += 1
                if moves:
                    continue
                waits += 1
                if failed.busy or not failed.reached:
                    endpoint.rest(self._retries.backoff(waits))
                pause = failed.after_sec or self._retries.backoff(waits)
            else:
                self._retries.answered()
                if isinstance(answer, GenerationFailure):
                    endpoint.tally.failed += 1
                    return self._without_key(answer)
                endpoint.succeeded()
                endpoint.tally.add(answer[0])
                used = answer[0].prompt_tokens + answer[0].completion_tokens
                self._limits.settle(num_tokens, used or num_tokens)
                return answer
            await asyncio.sleep(min(pause, self._options.max_backoff_sec))

    async def _attempt(self, url: str, path: str, data: bytes) -> tuple[Generation, Any] | GenerationFailure:
        """Send a request once."""
        sent, sent_id = self._body(data)
        try:
            answer = await self._connections().post(url, path, sent)
        except NotConnected as error:
            # Not reached counts as no attempt: a starting server may be there the next time.
            raise FailedAttempt(reason="disconnected", detail=str(error), reached=False) from None
        except (Disconnected, TimeoutError) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "disconnected"
            raise FailedAttempt(
                reason=reason, detail=str(error), reached=await self._is_healthy(url)
            ) from None
        except TooLarge as error:
            raise FailedAttempt(reason="bad_answer", detail=str(error)) from None
        body = self._scrubber.body(answer.body)
        if body != answer.body:
            self._warn_once(f"{url} returns the API key of its requests; it is replaced by {HIDDEN}.")
        if answer.status != 200:
            return await self._refused(url, path, answer._replace(body=body), data)
        try:
            value = self._scrubber.value(parse(body))  # escapes may have hidden the key in the body
            generation = self._read(url, answer, value, sent_id)
        except ValueError as error:
            raise FailedAttempt(reason="bad_answer", detail=str(error)) from None
        if isinstance(generation, GenerationFailure):
            return generation
        if generation.finish_reason == "abort":
            detail = f"the server aborted after {generation.completion_tokens} tokens"
            raise FailedAttempt(reason="aborted", detail=detail)
        return generation, value

    async def _refused(self, url: str, path: str, answer: Answer, data: bytes) -> GenerationFailure:
        """The failure of a request with an error status; raises FailedAttempt if a retry may help."""
        said = self._scrubber.text(error_message(answer.body))[:_SHOWN_CHARACTERS]
        if answer.status in RETRIED_STATUS:
            # A server that shuts down answers 503 to everything, and is not healthy.
            reached = answer.status != 503 or await self._is_healthy(url)
            raise FailedAttempt(
                reason=f"http_{answer.status}",
                detail=said,
                after_sec=_seconds(answer.headers.get("retry-after")),
                reached=reached,
                busy=reached and answer.status in BUSY_STATUS,
            )
        detail = f"{url}{path} answered HTTP {answer.status}: {said}"
        detail += self._hint(url, answer.status, said, data)
        if answer.redirected_to:
            detail += f" (it redirected to {answer.redirected_to}: name that server's base URL instead)"
        if answer.status in (401, 403) and not (self._options.api_key_env or self._options.api_key_file):
            detail += " (no key was sent: options.api_key_env names the variable that holds one)"
        if answer.status in ENDPOINT_AT_FAULT:
            raise FailedAttempt(reason="refused", detail=detail, elsewhere=True)
        return GenerationFailure(reason="refused", detail=detail)

    def _connections(self) -> Http:
        if self._http is None:
            headers, options = {}, self._options
            urls = [endpoint.url for endpoint in self._endpoints]
            if key := read_key(variable=options.api_key_env, path=options.api_key_file):
                headers["Authorization"] = f"Bearer {key}"
                self._scrubber = Scrubber(key)
            self._http = Http(
                urls, limit=options.max_in_flight, timeout_sec=options.request_timeout_sec, headers=headers
            )
        return self._http

    def _without_key(self, failure: GenerationFailure) -> GenerationFailure:
        return dataclasses.replace(failure, detail=self._scrubber.text(failure.detail))

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message)

    async def _is_healthy(self, url: str) -> bool:
        timeout_sec = min(_HEALTH_SEC, self._options.request_timeout_sec)
        try:
            answer = await self._connections().get(url, self.health_path, timeout_sec=timeout_sec)
        except (NotConnected, Disconnected, TimeoutError, TooLarge):
            return False
        return self._is_well(answer)


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
