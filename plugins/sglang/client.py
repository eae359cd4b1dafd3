"""Client of SGLang servers: retries with backoff, and failures as values.

    request ─► endpoint, by affinity and by the results of earlier requests (endpoints.py)
                 │ 200 with the request's own id        ─► Generation
                 │ 4xx: the prompt is wrong             ─► GenerationFailure, without a retry
                 │ 408, 425, 429, 5xx, abort, bad JSON, another id, time-out, no connection
                 ▼
               retry (retries.py): at once on another endpoint; if there is none, after Retry-After, or after
               a capped exponential backoff with jitter

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
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from plugins.sglang import responses as answers
from plugins.sglang.api_key import HIDDEN, Scrubber, read_key
from plugins.sglang.endpoints import Endpoint, Endpoints
from plugins.sglang.http import Answer, Disconnected, Http, NotConnected, TooLarge
from plugins.sglang.retries import (
    BUSY_STATUS,
    ENDPOINT_AT_FAULT,
    RETRIED_STATUS,
    ClientOptions,
    FailedAttempt,
    Retries,
)
from plugins.sglang.urls import base_url_hint, check_endpoint
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest
from schemas.errors import ConfigError
from schemas.records import Generation

_NO_SUCH_PATH = (404, 405)
_HEALTH_SEC = 5.0
_SHOWN_CHARACTERS = 300

_log = logging.getLogger(__name__)


class SGLangClient:
    """Sends prompts to SGLang servers, given by their base URLs. Belongs to one event loop.

    With `constrains` the server's grammar holds an answer to the choices of its request, if it has any.
    """

    def __init__(self, endpoints: Sequence[str], options: ClientOptions, *, constrains: bool = True):
        if not endpoints:
            raise ConfigError(
                "synthesis.endpoints is empty: backend 'sglang' needs the URL of a running server, such as "
                "http://127.0.0.1:30000."
            )
        urls = [check_endpoint(endpoint, "synthesis.endpoints") for endpoint in endpoints]
        self._retries = Retries(options)
        self._endpoints = Endpoints(urls, self._retries.backoff)
        self._options = options
        self._constrains = constrains
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
        if not request.choices:
            return await self.send(body, affinity=request.affinity)
        if self._constrains:
            sampling["regex"] = "|".join(re.escape(choice.text) for choice in request.choices)
        of_choices = [choice.ids for choice in request.choices]
        body |= {"return_logprob": True, "token_ids_logprob": [each for ids in of_choices for each in ids]}
        found = await self._send(body, request.affinity)
        if isinstance(found, GenerationFailure):
            return found
        return dataclasses.replace(found[0], logprobs=answers.choice_logprobs(found[1], of_choices))

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
        waits = 0
        failed_at: list[Endpoint] = []
        while True:
            endpoint = self._endpoints.choose(affinity, failed_at)
            try:
                with endpoint.attempt():
                    answer = await self._attempt(endpoint.url, data)
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
                return answer
            await asyncio.sleep(min(pause, self._options.max_backoff_sec))

    async def _attempt(self, url: str, data: bytes) -> tuple[Generation, Any] | GenerationFailure:
        """Send a request once, with a new id: a server refuses an id that is still in flight."""
        rid = uuid.uuid4().hex
        try:
            sent = data[:-1] + f',"rid":"{rid}"}}'.encode()
            answer = await self._connections().post(url, "/generate", sent)
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
            return await self._refused(url, answer._replace(body=body))
        try:
            value = self._scrubber.value(answers.parse(body))  # escapes may have hidden the key in the body
            generation = answers.generation(value)
        except ValueError as error:
            raise FailedAttempt(reason="bad_answer", detail=str(error)) from None
        self._check_id(url, answer, rid, value["meta_info"].get("id"))
        if generation.finish_reason == "abort":
            detail = f"the server aborted after {generation.completion_tokens} tokens"
            raise FailedAttempt(reason="aborted", detail=detail)
        return generation, value

    async def _refused(self, url: str, answer: Answer) -> GenerationFailure:
        """The failure of a request with an error status; raises FailedAttempt if a retry may help."""
        said = self._scrubber.text(answers.error_message(answer.body))[:_SHOWN_CHARACTERS]
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
        detail = f"{url}/generate answered HTTP {answer.status}: {said}"
        if answer.status in _NO_SUCH_PATH:
            detail += base_url_hint(url)
        if answer.redirected_to:
            detail += f" (it redirected to {answer.redirected_to}: name that server's base URL instead)"
        if answer.status in ENDPOINT_AT_FAULT:
            raise FailedAttempt(reason="refused", detail=detail, elsewhere=True)
        return GenerationFailure(reason="refused", detail=detail)

    def _check_id(self, url: str, answer: Answer, rid: str, returned: Any) -> None:
        # Versions with several tokenizer processes put the number of a process before the id.
        if isinstance(returned, str) and returned.endswith(rid):
            return
        if returned is not None:
            answer.connection.close()
            raise FailedAttempt(
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
            answer = await self._connections().get(url, "/health", timeout_sec=timeout_sec)
        except (NotConnected, Disconnected, TimeoutError, TooLarge):
            return False
        return answer.status == 200


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
