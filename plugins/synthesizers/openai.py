"""Synthesizer `openai`: pairs from servers with OpenAI's API, such as vLLM, TGI, llama.cpp, hosted ones.

    api: chat          /chat/completions    messages; the server applies its own chat template
    api: completions   /completions         token ids, as for SGLang, or text

A chat server decides whether a special-token string inside a document stays plain text. Messages need no
tokenizer of the model: `synthesis.tokenizer` counts their tokens, or the tokenizer of the corpus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pydantic

from plugins.servers.minute_limits import MinuteLimits
from plugins.servers.openai_client import OpenAIClient
from plugins.servers.retries import ClientOptions
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from plugins.tokenizers import load_tokenizer, opening_ids
from schemas.config import validate
from schemas.errors import ConfigError
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig

_FEW_LOGPROBS, _MOST_LOGPROBS = 5, 20
"""Likeliest tokens that a request with choices asks for; some servers list five at most."""


class OpenAIOptions(ClientOptions):
    """`synthesis.options` of backend openai.

    Attributes:
        api: chat sends messages to `/chat/completions`; completions sends token ids to `/completions`.
        send_text: For api completions, true sends the prompt as text. The server then adds its own BOS and
            reads special-token strings of documents as special tokens.
        json_schema: True constrains answers to the protocol's JSON schema, if it has one, by
            `response_format`.
        max_tokens_field: Name of the field with the limit on generated tokens; some models take
            max_completion_tokens only.
        extra_body: Further fields of each request, which override others; null leaves a field out.
        requests_per_minute: Maximum requests a minute, retries included, of one worker process; null sets
            none.
        tokens_per_minute: Maximum tokens a minute, of prompts and answers, of one worker process; null sets
            none.
    """

    api: Literal["chat", "completions"] = "chat"
    send_text: bool = False
    json_schema: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = pydantic.Field(default_factory=dict)
    requests_per_minute: float | None = pydantic.Field(default=None, gt=0)
    tokens_per_minute: float | None = pydantic.Field(default=None, gt=0)


class OpenAISynthesizer(LanguageModelSynthesizer):
    """Writes pairs with a model behind OpenAI's API.

    Raises:
        ConfigError: An option, an endpoint or the protocol does not fit.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int):
        values = {"max_in_flight": config.max_in_flight, **config.options}
        options = validate(OpenAIOptions, values, name="synthesis.options")
        if config.server is not None:
            raise ConfigError(
                "synthesis.server starts SGLang servers, for backend 'sglang'; backend 'openai' needs "
                "synthesis.endpoints."
            )
        if options.send_text and options.api == "chat":
            raise ConfigError(
                "synthesis.options.send_text is for api: completions; api: chat sends messages."
            )
        super().__init__(
            config,
            seed=seed,
            generator=OpenAIGenerator(config, options),
            shaping={
                "api": options.api,
                "send_text": options.send_text,
                "extra_body": options.extra_body,
                "chat_template_kwargs": config.chat_template_kwargs if options.api == "chat" else {},
            },
            constrain_json=options.json_schema,
            sends_messages=options.api == "chat",
        )

    @classmethod
    def with_tokenizer(cls, config: SynthesisConfig, corpus_tokenizer: str) -> SynthesisConfig:
        sends_ids = config.options.get("api", "chat") != "chat"
        if config.tokenizer or sends_ids or os.path.isdir(config.model or ""):
            return config
        return config.model_copy(update={"tokenizer": corpus_tokenizer})


class OpenAIGenerator(Generator):
    """Answers prompts through the client."""

    def __init__(self, config: SynthesisConfig, options: OpenAIOptions):
        limits = MinuteLimits(requests=options.requests_per_minute, tokens=options.tokens_per_minute)
        self._client = OpenAIClient(config.endpoints, options, limits)
        self._config = config
        self._options = options

    def open(self) -> None:
        if self._options.send_text:
            name = self._config.tokenizer or self._config.model or ""
            self._tokenizer = load_tokenizer(name, trust_remote_code=self._config.trust_remote_code)

    async def close(self) -> None:
        await self._client.close()

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        path = "/chat/completions" if self._options.api == "chat" else "/completions"
        return await self._client.send(
            path,
            self._body(request),
            affinity=request.affinity,
            num_tokens=len(request.prompt_ids) + request.max_new_tokens,
            choices=[choice.text for choice in request.choices],
        )

    def tallies(self) -> Mapping[str, EndpointTally]:
        return self._client.tallies()

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        options = self._options
        body: dict[str, Any] = {"model": self._config.model}
        if options.api == "chat":
            assert request.messages, "a request for messages has none"
            body["messages"] = [{"role": role, "content": text} for role, text in request.messages]
            if self._config.chat_template_kwargs:
                body["chat_template_kwargs"] = self._config.chat_template_kwargs
        else:
            body["prompt"] = self._text(request) if options.send_text else np.asarray(request.prompt_ids)
        body |= {options.max_tokens_field: request.max_new_tokens, "temperature": request.temperature}
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
        if request.choices:
            listed = _FEW_LOGPROBS if len(request.choices) < _FEW_LOGPROBS else _MOST_LOGPROBS
            in_chat = {"logprobs": True, "top_logprobs": listed}
            body |= in_chat if options.api == "chat" else {"logprobs": listed}
        if request.json_schema:
            schema = {"name": "answer", "schema": _strict(json.loads(request.json_schema)), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        body |= options.extra_body
        return {name: value for name, value in body.items() if value is not None}

    def _text(self, request: GenerationRequest) -> str:
        """The prompt as text, without the tokens that the server puts before every text itself."""
        ids, opening = list(request.prompt_ids), opening_ids(self._tokenizer, add_bos=None)
        ids = ids[len(opening) :] if opening and ids[: len(opening)] == list(opening) else ids
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _strict(schema: Any) -> Any:
    """Require every property, as the strict form does; answers then have empty lists and strings."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        schema["required"] = list(schema["properties"])
    return schema
