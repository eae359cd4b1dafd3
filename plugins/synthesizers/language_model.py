"""Synthesizer with a language model: a protocol for prompts and answers, a generator for requests."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from plugins.protocols import PROTOCOLS
from plugins.protocols.base import SynthesisProtocol
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.chain_rounds import run_chain
from plugins.synthesizers.document_parts import Limit, prompt_limit, split_document
from plugins.synthesizers.generator import Generator
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError, unknown_name
from schemas.records import Chain, Document, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig


class LanguageModelSynthesizer(Synthesizer):
    """Asks a language model, through the rounds of a chain.

    Args:
        config: The synthesis section.
        seed: Unused; decoding has no seed.
        generator: Answers the prompts; may be replaced before `open`.
        shaping: Options of the backend that change its answers.
        constrain_json: True if the backend constrains answers to a protocol's JSON schema.
        sends_messages: True if the backend sends messages instead of token ids.

    Attributes:
        sends_messages: True if the backend sends messages instead of token ids.
        identity: Backend, model and options that answer. Synthesizers with equal identities may use each
            other's generations.
    """

    def __init__(
        self,
        config: SynthesisConfig,
        *,
        seed: int,
        generator: Generator,
        shaping: Mapping[str, Any] | None = None,
        constrain_json: bool = False,
        sends_messages: bool = False,
    ):
        super().__init__(config, seed=seed)
        if not config.model:
            raise ConfigError(
                f"synthesis.model is missing: backend {config.backend!r} needs a directory or hub name, "
                "at least for the tokenizer."
            )
        if config.protocol not in PROTOCOLS.names():
            raise ConfigError(
                f"synthesis.protocol: {unknown_name('protocol', config.protocol, PROTOCOLS.names())}"
            )
        if sends_messages and not PROTOCOLS.load(config.protocol).has_messages:
            raise ConfigError(
                f"synthesis.protocol {config.protocol!r} makes token ids, and `/chat/completions` takes "
                "messages. Set synthesis.options.api: completions, or protocol: chat."
            )
        if config.chat_template_kwargs and not PROTOCOLS.load(config.protocol).has_messages:
            raise ConfigError(
                f"synthesis.chat_template_kwargs is set, and protocol {config.protocol!r} uses no chat "
                "template. Remove it, or set synthesis.protocol: chat."
            )
        if config.thinking_tokens and constrain_json and not sends_messages:
            raise ConfigError(
                f"synthesis.thinking_tokens {config.thinking_tokens}: a JSON schema constrains answers from "
                "their first token on, so that the model cannot think. Set synthesis.options.json_schema: "
                "false, or thinking_tokens: 0."
            )
        self.generator = generator
        self.identity = _identity(config.backend, config.model, shaping or {})
        self.sends_messages = sends_messages
        self._ways = {"constrain_json": constrain_json, **({"as_messages": True} if sends_messages else {})}

    def open(self) -> None:
        self.protocol  # noqa: B018 - a bad tokenizer or prompt file is an error before a model loads
        self.generator.open()

    async def close(self) -> None:
        await self.generator.close()

    @functools.cached_property
    def protocol(self) -> SynthesisProtocol:
        """The protocol; loads the tokenizer, no model."""
        assert self.config.model is not None
        name = self.config.tokenizer or self.config.model
        tokenizer = load_tokenizer(name, trust_remote_code=self.config.trust_remote_code)
        protocol: SynthesisProtocol = PROTOCOLS.load(self.config.protocol)(
            tokenizer, self.config, **self._ways
        )
        return protocol

    def split(self, document: Document, row: Limit) -> list[Document]:
        return split_document(
            document, [prompt_limit(document, protocol=self.protocol, config=self.config), row]
        )

    def prepare(self, chain: Chain) -> None:
        for document in chain.documents:  # tokenised here, not on the event loop
            self.protocol.prompt((), document)

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        return await run_chain(
            chain, protocol=self.protocol, generator=self.generator, config=self.config, count=self.count
        )


def asks_model(backend: str) -> bool:
    """True if the synthesizer of this name sends requests; decided by its class."""
    kind = SYNTHESIZERS.load(backend)
    return isinstance(kind, type) and issubclass(kind, LanguageModelSynthesizer)


def _identity(backend: str, model: str, shaping: Mapping[str, Any]) -> str:
    """Backend, model and options, and for a directory the sizes of its files, because weights may change."""
    parts: list[Any] = [backend, model, dict(shaping)]
    if os.path.isdir(model):
        parts += sorted(
            [entry.name, entry.stat().st_size]
            for entry in os.scandir(model)
            if entry.name.endswith((".safetensors", ".bin", ".json", ".gguf"))
        )
    return json.dumps(parts, sort_keys=True)
