"""Client of SGLang servers: retries with backoff, and failures as values.

    request ─► endpoint, by affinity and by the results of earlier requests (endpoints.py)
                 │ 200 with the request's own id        ─► Generation
                 │ 4xx: the prompt is wrong             ─► GenerationFailure, without a retry
                 │ 408, 425, 429, 5xx, abort, bad JSON, another id, time-out, no connection
                 ▼
               retry: at once on another endpoint; if there is none, after Retry-After, or after a capped
               exponential backoff with jitter

Requests of one chain share an affinity, so one server's prefix cache serves them. A busy server (429, or 503
with a healthy /health) costs a request no attempt. A request fails when its attempts or the patience are used
up; the run counts failures and decides when to stop.

Each attempt has its own id (`rid`), which the server returns. An answer with another id belongs to another
request: answers on that connection are out of order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pydantic

from plugins.sglang import responses as answers
from plugins.sglang.api_key import HIDDEN, Scrubber, read_key
from plugins.sglang.endpoints import Endpoint, Endpoints
from plugins.sglang.http import Answer, Disconnected, Http, NotConnected, TooLarge
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


@dataclasses.dataclass(kw_only=True)
class _Retry(Exception):
    """A failed attempt that is worth another one."""

    reason: str
    detail: str
    after_sec: float | None = None  # pause that the server asks for (Retry-After)
    reached: bool = True  # true if a healthy server was reached
    busy: bool = False  # true if the server is only overloaded
    elsewhere: bool = False  # true if only another endpoint may answer


class SGLangClient:
    """Sends prompts to one or several SGLang servers. Belongs to one event loop.

    Args:
        endpoints: Base URLs, such as `http://127.0.0.1:30000`.
        options: Limits and retries.
    """

    def __init__(self, endpoints: Sequence[str], options: ClientOptions):
        if not endpoints:
            raise ConfigError(
                "synthesis.endpoints is empty: backend 'sglang' needs the URL of a running server, such as "
                "http://127.0.0.1:30000."
            )
        urls = [check_endpoint(endpoint, "synthesis.endpoints") for endpoint in endpoints]
        self._endpoints = Endpoints(urls, self._backoff)
        self._options = options
        self._http: Http | None = None
        self._scrubber = Scrubber("")
        self._jitter = random.Random(0)  # spreads retries; no result depends on it
        self._unreached_since: float | None = None
        self._busy_since: float | None = None
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

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        """Answer one prompt, with the retries that the options allow."""
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
        """Send one body of `/generate`, with the retries that the options allow.

        Args:
            body: `text` or `input_ids`, and `sampling_params`, as SGLang defines them.
            affinity: Requests with the same value go to the same endpoint while it is in use.
        """
        found = await self._send(body, affinity)
        return found if isinstance(found, GenerationFailure) else found[0]

    async def logprobs(
        self, token_ids: Sequence[int], start: int, *, affinity: str = ""
    ) -> list[float] | GenerationFailure:
        """Natural log-probabilities of `token_ids[start:]` by the server's model; `start` is at least 1."""
        body = {
            "input_ids": list(token_ids),
            "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": start - 1,  # the first reported token has no log-probability
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
        """The answer, as a Generation and as the server's JSON."""
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
                    if failed.reached:
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
        """The failure of a request after its last attempt; None if it gets another one."""
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
        """Send a request once, with a new id: a server refuses an id that is still in flight."""
        rid = uuid.uuid4().hex
        try:
            sent = data[:-1] + f',"rid":"{rid}"}}'.encode()
            answer = await self._connections().post(url, "/generate", sent)
        except NotConnected as error:
            # Not reached counts as no attempt: a starting server may be there the next time.
            raise _Retry(reason="disconnected", detail=str(error), reached=False) from None
        except (Disconnected, TimeoutError) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else "disconnected"
            raise _Retry(reason=reason, detail=str(error), reached=await self._is_healthy(url)) from None
        except TooLarge as error:
            raise _Retry(reason="bad_answer", detail=str(error)) from None
        body = self._scrubber.body(answer.body)
        if body != answer.body:
            self._warn_once(f"{url} returns the API key of its requests; it is replaced by {HIDDEN}.")
        if answer.status != 200:
            return await self._refused(url, answer._replace(body=body))
        try:
            value = self._scrubber.value(answers.parse(body))  # escapes may have hidden the key in the body
            generation = answers.generation(value)
        except ValueError as error:
            raise _Retry(reason="bad_answer", detail=str(error)) from None
        self._check_id(url, answer, rid, value["meta_info"].get("id"))
        if generation.finish_reason == "abort":
            detail = f"the server aborted after {generation.completion_tokens} tokens"
            raise _Retry(reason="aborted", detail=detail)
        return generation, value

    async def _refused(self, url: str, answer: Answer) -> GenerationFailure:
        """The failure of a request that got an error status; raises _Retry if another attempt may help."""
        said = self._scrubber.text(answers.error_message(answer.body))[:_SHOWN_CHARACTERS]
        if answer.status in _RETRIED_STATUS:
            # A server that shuts down answers 503 to everything, and is not healthy.
            reached = answer.status != 503 or await self._is_healthy(url)
            raise _Retry(
                reason=f"http_{answer.status}",
                detail=said,
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
            raise _Retry(reason="refused", detail=detail, elsewhere=True)
        return GenerationFailure(reason="refused", detail=detail)

    def _check_id(self, url: str, answer: Answer, rid: str, returned: Any) -> None:
        # Versions with several tokenizer processes put the number of a process before the id.
        if isinstance(returned, str) and returned.endswith(rid):
            return
        if returned is not None:
            answer.connection.close()
            raise _Retry(
                reason="wrong_id",
                detail=f"the answer to request {rid!r} has the id {answers.shown(returned)} of another one; "
                "its connection was closed. Every server behind this endpoint must return `rid` as "
                "`meta_info.id`, as SGLang does",
            )
        self._warn_once(
            f"{url} returns no request ids (meta_info.id), so the client cannot check that an answer belongs "
            "to its request."
        )

    def _connections(self) -> Http:
        if self._http is None:
            headers = {}
            options = self._options
            if key := read_key(variable=options.api_key_env, path=options.api_key_file):
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

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
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
