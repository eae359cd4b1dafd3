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
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError, unknown_name
from schemas.records import Chain, Document, SynthesizedDocument


class LanguageModelSynthesizer(Synthesizer):
    """Asks a language model, through the rounds of a chain.

    Args:
        config: The synthesis section.
        seed: Unused; decoding has no seed.
        generator: Answers the prompts; may be replaced before `open`.
        shaping: Options of the backend that change its answers.
        constrain_json: True if the backend constrains answers to a protocol's JSON schema.

    Attributes:
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
        self.generator = generator
        self.identity = _identity(config.backend, config.model, shaping or {})
        self._constrain_json = constrain_json

    def open(self) -> None:
        self.protocol  # noqa: B018 - a bad tokenizer or prompt file is an error before a model loads
        self.generator.open()

    async def close(self) -> None:
        await self.generator.close()

    @functools.cached_property
    def protocol(self) -> SynthesisProtocol:
        """The protocol; loads the tokenizer, no model."""
        assert self.config.model is not None
        tokenizer = load_tokenizer(self.config.model, trust_remote_code=self.config.trust_remote_code)
        protocol: SynthesisProtocol = PROTOCOLS.load(self.config.protocol)(
            tokenizer, self.config, constrain_json=self._constrain_json
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
