"""A synthesizer made of a protocol and a generator."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from plugins.protocols import PROTOCOLS
from plugins.protocols.base import SynthesisProtocol
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.generator import Generator
from plugins.synthesizers.rounds import run_chain
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError, unknown_name
from schemas.records import Chain, SynthesizedDocument


class LanguageModelSynthesizer(Synthesizer):
    """Asks a language model, through the rounds of a chain.

    Args:
        config: The synthesis section.
        seed: Not used by greedy decoding.
        generator: Answers the prompts; may be replaced before `open`.
        shaping: Options of the backend that change what it answers.

    Attributes:
        identity: Who answers. Two synthesizers of one identity may use each other's generations.
    """

    def __init__(
        self,
        config: SynthesisConfig,
        *,
        seed: int,
        generator: Generator,
        shaping: Mapping[str, Any] | None = None,
    ):
        super().__init__(config, seed=seed)
        if not config.model:
            raise ConfigError(
                f"synthesis.model is missing: backend {config.backend!r} needs a directory or hub name, "
                "at least for its tokenizer."
            )
        if config.protocol not in PROTOCOLS.names():
            raise ConfigError(
                f"synthesis.protocol: {unknown_name('protocol', config.protocol, PROTOCOLS.names())}"
            )
        self.generator = generator
        self.identity = _identity(config.backend, config.model, shaping or {})
        self._protocol: SynthesisProtocol | None = None

    def open(self) -> None:
        assert self.config.model is not None
        tokenizer = load_tokenizer(self.config.model, trust_remote_code=self.config.trust_remote_code)
        self._protocol = PROTOCOLS.load(self.config.protocol)(tokenizer, self.config)
        self.generator.open()

    async def close(self) -> None:
        await self.generator.close()

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        assert self._protocol is not None, "open() comes first"
        return await run_chain(
            chain,
            protocol=self._protocol,
            generator=self.generator,
            config=self.config,
            count=self.count,
        )


def _identity(backend: str, model: str, shaping: Mapping[str, Any]) -> str:
    """Backend, model and options; of a directory also the sizes of its files, since weights change."""
    parts: list[Any] = [backend, model, dict(shaping)]
    if os.path.isdir(model):
        parts += sorted(
            [entry.name, entry.stat().st_size]
            for entry in os.scandir(model)
            if entry.name.endswith((".safetensors", ".bin", ".json", ".gguf"))
        )
    return json.dumps(parts, sort_keys=True)
