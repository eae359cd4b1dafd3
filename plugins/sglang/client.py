"""A client that keeps SGLang servers busy and turns every failure into a value.

    request ─► endpoint, by affinity and by what came of earlier requests (endpoints.py)
                 │ 200 with the request's own id  ─► Generation
                 │ 4xx: the prompt is at fault    ─► GenerationFailure, at once
                 │ 408, 425, 429, 5xx, abort, bad JSON, another id, time-out, no connection
                 ▼
               try another endpoint at once; where there is none, wait (Retry-After, or capped exponential
               backoff with full jitter) and try again

Requests of one chain share an affinity, so they meet the same server's prefix cache. A server that is busy
(429, or 503 with a healthy /health) costs a request no attempt. When the attempts or the patience are used up
the request fails; the run decides how many failures are too many.

Each attempt carries an id of its own (`rid`), which the server returns: an answer with another id is that of
another request, sent over a connection on which answers are out of step.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pydantic

from plugins.sglang import responses as answers
from plugins.sglang.endpoints import Endpoint, Endpoints
from plugins.sglang.http import Answer, Disconnected, Http, NotConnected, TooLarge
from plugins.sglang.scrub import HIDDEN, Scrubber
from plugins.sglang.urls import base_url_hint, check_endpoint
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest
from schemas.config import Section
from schemas.errors import ConfigError
from schemas.records import Generation

_RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})
_BUSY_STATUS = frozenset({429, 503})
_NO_SUCH_PATH = (404, 405)
_ENDPOINT_AT_FAULT = frozenset({*range(100, 200), *range(300, 400), 401, 403, 404, 405, 407})
_HEALTH_SEC = 5.0
_SHOWN_CHARACTERS = 300

_log = logging.getLogger(__name__)


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
        api_key_env: Environment variable of the workers that holds a key, sent as a bearer token. In whatever
            a server sends back a key of 8 characters or more is replaced by `[api key]`.
        api_key_file: File of the workers that holds the key instead.
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
            raise ValueError("api_key_env and api_key_file both say where the key is; keep one")
        return self

    def read_key(self) -> str | None:
        """The key, where one is to be sent.

        Raises:
            ConfigError: There is none where the options say, or it is none that a header may have.
        """
        if self.api_key_env is not None:
            named = f"api_key_env names {self.api_key_env!r}, which"
            key = os.environ.get(self.api_key_env, "").strip()
        elif self.api_key_file is not None:
            named = f"api_key_file {self.api_key_file!r}"
            try:
                with open(self.api_key_file, encoding="utf-8", errors="surrogateescape") as file:
                    key = file.read().strip()
            except OSError as error:
                raise ConfigError(f"synthesis.options.{named} cannot be read: {error.strerror}.") from error
        else:
            return None
        if not key or not (key.isascii() and key.isprintable()):
            wrong = "holds characters that no header may have" if key else "is not set or empty"
            raise ConfigError(
                f"synthesis.options.{named} {wrong} in the environment of this worker; set it there."
            )
        return key


class _Retry(Exception):
    """One attempt failed in a way that another may not.

    Attributes:
        after_sec: The pause that the server asks for, if it asks for one.
        elsewhere: Whether only another endpoint may answer.
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
        elsewhere: bool = False,
    ):
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.after_sec = after_sec
        self.reached = reached
        self.busy = busy
        self.elsewhere = elsewhere


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
        urls = [check_endpoint(endpoint, "synthesis.endpoints") for endpoint in endpoints]
        self._endpoints = Endpoints(urls, self._backoff)
        self._options = options
        self._http: Http | None = None
        self._scrubber = Scrubber("")
        self._jitter = random.Random(0)  # spreads retries; no result depends on it
        self._unreached_since: float | None = None
        self._busy_since: float | None = None
        self._said: set[str] = set()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def tallies(self) -> Mapping[str, EndpointTally]:
        """What each endpoint did so far."""
        for endpoint in self._endpoints:
            endpoint.tally.in_flight = self._http.in_flight(endpoint.url) if self._http is not None else 0
        return {endpoint.url: endpoint.tally for endpoint in self._endpoints}

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
            "logprob_start_len": start - 1,  # the first one reported has no log-probability
        }
        found = await self._send(body, affinity)
        if isinstance(found, GenerationFailure):
            return found
        try:
            return answers.input_logprobs(found[1], token_ids[start:])
        except ValueError as error:
            return self._without_key(GenerationFailure(reason="bad_answer", detail=str(error)))

    async def _send(
        self, body: Mapping[str, Any], affinity: str
    ) -> tuple[Generation, Any] | GenerationFailure:
        """The answer, read and as the server gave it."""
        data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        attempts = 0
        waits = 0
        failed_at: list[Endpoint] = []
        while True:
            endpoint = self._endpoints.choose(affinity, failed_at)
            try:
                with endpoint.attempt():
                    answer = await self._attempt(endpoint.url, data)
            except _Retry as failed:
                moves = False
                if not failed.busy:
                    endpoint.failed(failed.reason)
                if failed.reached and not failed.busy:
                    attempts += 1
                    failed_at.append(endpoint)
                    moves = failed_at.count(endpoint) == 1 and any(
                        each not in failed_at for each in self._endpoints
                    )
                failure = self._given_up(failed, attempts, failed_at)
                if failure is not None:
                    endpoint.tally.failed += 1
                    return self._without_key(failure)
                endpoint.tally.retried += 1
                if moves:
                    continue
                waits += 1
                if failed.busy or not failed.reached:
                    endpoint.rest(self._backoff(waits))
                pause = failed.after_sec or self._backoff(waits)
            else:
                self._unreached_since = self._busy_since = None
                if isinstance(answer, GenerationFailure):
                    endpoint.tally.failed += 1
                    return self._without_key(answer)
                endpoint.succeeded()
                endpoint.tally.add(answer[0])
                return answer
            await asyncio.sleep(min(pause, self._options.max_backoff_sec))

    def _given_up(
        self, failed: _Retry, attempts: int, failed_at: Sequence[Endpoint]
    ) -> GenerationFailure | None:
        """What becomes of a request after a failed attempt; None where it is tried again."""
        now = time.monotonic()
        urls = ", ".join(each.url for each in self._endpoints)
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
        elif failed.elsewhere and all(each in failed_at for each in self._endpoints):
            return GenerationFailure(reason=failed.reason, detail=failed.detail)
        elif attempts >= self._options.max_attempts:
            where = ", ".join(dict.fromkeys(each.url for each in failed_at))
            detail = f"{failed.detail} ({attempts} attempts at {where})"
            return GenerationFailure(reason=failed.reason, detail=detail)
        return None

    async def _attempt(self, url: str, data: bytes) -> tuple[Generation, Any] | GenerationFailure:
        """Send a request once, with an id of its own: a server refuses an id that is still in flight."""
        rid = uuid.uuid4().hex
        try:
            sent = data[:-1] + f',"rid":"{rid}"}}'.encode()
            answer = await self._connections().post(url, "/generate", sent)
        except NotConnected as error:
            # It was not there: that it may be now, as when it has just started, makes this no attempt.
            raise _Retry("disconnected", str(error), reached=False) from None
        except (Disconnected, TimeoutError) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "disconnected"
            raise _Retry(reason, str(error), reached=await self._is_healthy(url)) from None
        except TooLarge as error:
            raise _Retry("bad_answer", str(error)) from None
        body = self._scrubber.body(answer.body)
        if body != answer.body:
            self._say_once(f"{url} sends back the API key that it was sent; it is replaced by {HIDDEN}.")
        if answer.status != 200:
            return await self._refused(url, answer._replace(body=body))
        try:
            value = self._scrubber.value(answers.parse(body))  # escapes may have hidden the key in the body
            generation = answers.generation(value)
        except ValueError as error:
            raise _Retry("bad_answer", str(error)) from None
        self._check_id(url, answer, rid, value["meta_info"].get("id"))
        if generation.finish_reason == "abort":
            raise _Retry("aborted", f"the server aborted after {generation.completion_tokens} tokens")
        return generation, value

    async def _refused(self, url: str, answer: Answer) -> GenerationFailure:
        """What an error status means for the request; raises _Retry where another attempt may help."""
        said = self._scrubber.text(answers.error_message(answer.body))[:_SHOWN_CHARACTERS]
        if answer.status in _RETRIED_STATUS:
            # A server that drains answers 503 to everything, and will soon be gone.
            reached = answer.status != 503 or await self._is_healthy(url)
            raise _Retry(
                f"http_{answer.status}",
                said,
                after_sec=_seconds(answer.headers.get("retry-after")),
                reached=reached,
                busy=reached and answer.status in _BUSY_STATUS,
            )
        detail = f"{url}/generate answered HTTP {answer.status}: {said}"
        if answer.status in _NO_SUCH_PATH:
            detail += base_url_hint(url)
        if answer.redirected_to:
            detail += f" (it redirected to {answer.redirected_to}: name that server's base URL instead)"
        if answer.status in _ENDPOINT_AT_FAULT:
            raise _Retry("refused", detail, elsewhere=True)
        return GenerationFailure(reason="refused", detail=detail)

    def _check_id(self, url: str, answer: Answer, rid: str, returned: Any) -> None:
        # Versions with several tokenizer processes put the number of one before it.
        if isinstance(returned, str) and returned.endswith(rid):
            return
        if returned is not None:
            answer.connection.close()
            raise _Retry(
                "wrong_id",
                f"the answer to request {rid!r} has the id {answers.shown(returned)} of another one; its "
                "connection was closed. Every server behind this endpoint must return `rid` as "
                "`meta_info.id`, as SGLang does",
            )
        self._say_once(
            f"{url} returns no ids of requests (meta_info.id): whether an answer belongs to its request "
            "cannot be checked there."
        )

    def _connections(self) -> Http:
        if self._http is None:
            headers = {}
            if key := self._options.read_key():
                headers["Authorization"] = f"Bearer {key}"
                self._scrubber = Scrubber(key)
            self._http = Http(
                [endpoint.url for endpoint in self._endpoints],
                limit=self._options.max_in_flight,
                timeout_sec=self._options.request_timeout_sec,
                headers=headers,
            )
        return self._http

    def _without_key(self, failure: GenerationFailure) -> GenerationFailure:
        return dataclasses.replace(failure, detail=self._scrubber.text(failure.detail))

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _log.warning(message)

    async def _is_healthy(self, url: str) -> bool:
        timeout_sec = min(_HEALTH_SEC, self._options.request_timeout_sec)
        try:
            answer = await self._connections().get(url, "/health", timeout_sec=timeout_sec)
        except (NotConnected, Disconnected, TimeoutError, TooLarge):
            return False
        return answer.status == 200

    def _backoff(self, times: int) -> float:
        ceiling: float = min(
            self._options.max_backoff_sec, self._options.backoff_sec * 2 ** min(times - 1, 16)
        )
        return ceiling * self._jitter.uniform(0.5, 1.0)


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
