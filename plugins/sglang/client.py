"""Client of SGLang servers, for its own API `/generate`; see plugins/servers/client.py for the retries.

Each attempt has its own id (`rid`), which the server returns. An answer with another id belongs to another
request: answers on that connection are out of order.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from plugins.servers.client import ServerClient
from plugins.servers.http import Answer
from plugins.servers.json_answers import shown
from plugins.servers.retries import ClientOptions, FailedAttempt
from plugins.servers.urls import base_url_hint
from plugins.sglang import responses as answers
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from schemas.records import Generation

_PATH = "/generate"
_NO_SUCH_PATH = (404, 405)


class SGLangClient(ServerClient):
    """Sends prompts to SGLang servers, given by their base URLs. Belongs to one event loop.

    With `constrains` the server's grammar holds an answer to the choices of its request, if it has any.
    """

    backend = "sglang"
    example = "http://127.0.0.1:30000"
    health_path = "/health"

    def __init__(self, endpoints: Sequence[str], options: ClientOptions, *, constrains: bool = True):
        super().__init__(endpoints, options)
        self._constrains = constrains

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
        found = await self._send(_PATH, _json(body), request.affinity)
        if isinstance(found, GenerationFailure):
            return found
        return dataclasses.replace(found[0], logprobs=answers.choice_logprobs(found[1], of_choices))

    async def send(self, body: Mapping[str, Any], *, affinity: str = "") -> Generation | GenerationFailure:
        """Send one body of `/generate`, with the retries that the options allow.

        Args:
            body: `text` or `input_ids`, and `sampling_params`, as SGLang defines them.
            affinity: Requests with the same value go to the same endpoint while it is in use.
        """
        found = await self._send(_PATH, _json(body), affinity)
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
        found = await self._send(_PATH, _json(body), affinity)
        if isinstance(found, GenerationFailure):
            return found
        try:
            return answers.input_logprobs(found[1], token_ids[start:])
        except ValueError as error:
            return self._without_key(GenerationFailure(reason="bad_answer", detail=str(error)))

    def _body(self, data: bytes) -> tuple[bytes, str]:
        rid = uuid.uuid4().hex  # a server refuses an id that is still in flight
        return data[:-1] + f',"rid":"{rid}"}}'.encode(), rid

    def _read(self, url: str, answer: Answer, value: Any, sent_id: str) -> Generation:
        generation = answers.generation(value)
        self._check_id(url, answer, sent_id, value["meta_info"].get("id"))
        return generation

    def _is_well(self, answer: Answer) -> bool:
        return answer.status == 200

    def _hint(self, url: str, status: int, said: str, data: bytes) -> str:
        hint = base_url_hint(url) if status in _NO_SUCH_PATH else ""
        return (
            f"{hint[:-1]}; for OpenAI's API set synthesis.backend: openai)" if "/v1" in url and hint else hint
        )

    def _check_id(self, url: str, answer: Answer, rid: str, returned: Any) -> None:
        # Versions with several tokenizer processes put the number of a process before the id.
        if isinstance(returned, str) and returned.endswith(rid):
            return
        if returned is not None:
            answer.connection.close()
            raise FailedAttempt(
                reason="wrong_id",
                detail=f"the answer to request {rid!r} has the id {shown(returned)} of another one; "
                "its connection was closed. Every server behind this endpoint must return `rid` as "
                "`meta_info.id`, as SGLang does",
            )
        self._warn_once(
            f"{url} returns no request ids (meta_info.id), so the client cannot check that an answer belongs "
            "to its request."
        )


def _json(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
