"""Client of servers that speak OpenAI's API: `/chat/completions` and `/completions`, without streaming.

It shares connections, endpoints, retries and the masking of keys with SGLang's client (client.py). The
`openai` package would bring httpx and retries and time-outs of its own, and does not limit the bytes of an
answer.

    content and finish_reason          Generation
    text, stop                         text, stop
    text, length                       text, length
    text, abort                        retried, as an abort of SGLang
    no text, with reasoning            `<think>`: a thought without an end, which no protocol can read
    content_filter, or a refusal       GenerationFailure, without a retry
    tool_calls and others              a wrong answer, retried

No id that the client sets comes back, so nothing shows that an answer belongs to its request.
"""

from __future__ import annotations

import dataclasses
import math
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from plugins.servers.client import ServerClient
from plugins.servers.http import Answer
from plugins.servers.json_answers import shown, token_count
from plugins.synthesizers.generator import GenerationFailure, choice_of
from schemas.errors import ConfigError
from schemas.records import Generation, well_formed

_PATHS = ("/chat/completions", "/completions", "/models")
_NO_SUCH_PATH = (404, 405)
_UNFIT = (400, 422, 501)
_OF_TGI = {"eos_token": "stop", "stop_sequence": "stop"}
_REASONS = {"stop": "stop", "length": "length", "abort": "abort", **_OF_TGI}
_CUT_THOUGHT = "<think>"
_LEAST_PROBABILITY = 1e-30
_OPTIONS = {
    "response_format": "synthesis.options.json_schema: false sends no schema",
    "chat_template_kwargs": "an empty synthesis.chat_template_kwargs sends none",
    "max_tokens": "synthesis.options.max_tokens_field names the field with the limit on tokens",
    "temperature": "synthesis.options.extra_body {temperature: null} sends none",
    "seed": "synthesis.options.extra_body {seed: null} sends none",
    "logprobs": "extra_body {logprobs: null, top_logprobs: null} asks for none; scores are then 0 or 1",
    "prompt": "synthesis.options.send_text: true sends text instead of token ids",
}
"""Cures by the field of a request that a server refuses."""


class OpenAIClient(ServerClient):
    """Sends requests to servers, given by the URLs that OpenAI's client calls `base_url`."""

    backend = "openai"
    example = "http://127.0.0.1:8000/v1"
    health_path = "/models"

    async def send(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        affinity: str,
        num_tokens: int,
        choices: Sequence[str] = (),
    ) -> Generation | GenerationFailure:
        """Send one body to `/chat/completions` or `/completions`, with the retries that the options allow.

        The answer has the log-probabilities of `choices`, if the server lists one of them.
        """
        data = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        found = await self._send(path, data, affinity, num_tokens=num_tokens)
        if isinstance(found, GenerationFailure):
            return found
        logprobs = choice_logprobs(_top_tokens(found[1]["choices"][0].get("logprobs")), choices)
        if choices and not logprobs:
            self._warn_once(
                "The server lists no log-probabilities (logprobs): scores of rules that ask it are 0 or 1."
            )
        return dataclasses.replace(found[0], logprobs=logprobs)

    def _base_url(self, url: str) -> str:
        path = urllib.parse.urlsplit(url).path.rstrip("/")
        for known in _PATHS:
            if path.endswith(known):
                raise ConfigError(
                    f"synthesis.endpoints holds {url!r}, which ends in a path that the client adds; give "
                    f"{url.removesuffix(known)}."
                )
        return url if path else f"{url}/v1"

    def _body(self, data: bytes) -> tuple[bytes, str]:
        return data, ""

    def _read(self, url: str, answer: Answer, value: Any, sent_id: str) -> Generation | GenerationFailure:
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise ValueError(f"expected an object with choices, found {shown(value)}")
        choice, usage = choices[0], value.get("usage")
        message = choice.get("message", choice)  # `/completions` has the text in the choice itself
        if not isinstance(message, dict):
            raise ValueError(f"message is {shown(message)}, expected an object")
        reason = choice.get("finish_reason")
        if reason == "content_filter" or message.get("refusal"):
            said = message.get("refusal") or "the content filter ended the answer"
            return GenerationFailure(reason="refused", detail=f"{url}: the model refused: {shown(said)}")
        if not isinstance(reason, str) or reason not in _REASONS:
            raise ValueError(f"finish_reason is {shown(reason)}, expected stop or length")
        text = message.get("content") if "message" in choice else message.get("text")
        thought = message.get("reasoning_content") or message.get("reasoning")
        if thought and (text is None or (isinstance(text, str) and not text.strip())):
            text = _CUT_THOUGHT
        if not isinstance(text, str):
            raise ValueError(f"expected a text as content, found {shown(text)}")
        if not isinstance(usage, dict):
            usage = {}
            self._warn_once(f"{url} counts no tokens (usage); statistics and limits by minute lack them.")
        return Generation(
            text=well_formed(text),
            finish_reason=_REASONS[reason],
            prompt_tokens=token_count(usage, "prompt_tokens"),
            completion_tokens=token_count(usage, "completion_tokens"),
            cached_tokens=token_count(usage.get("prompt_tokens_details") or {}, "cached_tokens"),
        )

    def _is_well(self, answer: Answer) -> bool:
        return answer.status < 500  # a server without `/models`, or with another key for it, is there

    def _hint(self, url: str, status: int, said: str, data: bytes) -> str:
        if status in _NO_SUCH_PATH:
            return f" (expected the URL that OpenAI's client calls base_url, such as {self.example})"
        if status not in _UNFIT:
            return ""
        sent, words = orjson.loads(data), said.casefold()
        if any(word in words for word in ("schema", "grammar", "guided", "structured")):
            words += " response_format"
        cures = [cure for field, cure in _OPTIONS.items() if field in sent and field in words]
        return f" ({'; '.join(cures)})" if cures else ""


def _top_tokens(value: Any) -> Iterator[tuple[str, float]]:
    """Yield the likeliest first tokens with their log-probabilities, in the form of either path."""
    if not isinstance(value, dict):
        return
    steps = value.get("content") or value.get("top_logprobs")
    first = steps[0] if isinstance(steps, list) and steps else None
    if isinstance(first, dict) and isinstance(first.get("top_logprobs"), list):
        listed = [
            (each.get("token"), each.get("logprob"))
            for each in first["top_logprobs"]
            if isinstance(each, dict)
        ]
    else:
        listed = list(first.items()) if isinstance(first, dict) else []
    for token, logprob in listed:
        if isinstance(token, str) and isinstance(logprob, float | int) and math.isfinite(logprob):
            yield token, min(float(logprob), 0.0)


def choice_logprobs(tokens: Iterable[tuple[str, float]], choices: Sequence[str]) -> tuple[float, ...]:
    """Log-probabilities of choices, each the sum over the listed tokens that are or begin it.

    A choice that no listed token begins is as unlikely as the last token of the list. Returns none if no
    choice is listed.
    """
    listed = list(tokens)
    sums = dict.fromkeys(choices, 0.0)
    for token, logprob in listed:
        chosen = choice_of(token, choices)
        if chosen is not None:
            sums[chosen] += math.exp(logprob)
    if not any(sums.values()):
        return ()
    least = math.exp(min(logprob for _, logprob in listed))
    return tuple(math.log(max(each or least, _LEAST_PROBABILITY)) for each in sums.values())
