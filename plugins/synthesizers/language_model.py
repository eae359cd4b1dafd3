"""A synthesizer made of a protocol and a generator."""

from __future__ import annotations

from plugins.protocols import PROTOCOLS
from plugins.protocols.base import SynthesisProtocol
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.generator import Generator
from plugins.synthesizers.rounds import run_chain
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Chain, SynthesizedDocument


class LanguageModelSynthesizer(Synthesizer):
    """Asks a language model, through the rounds of a chain.

    Args:
        config: The synthesis section.
        seed: Not used by greedy decoding.
        generator: Answers the prompts.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int, generator: Generator):
        super().__init__(config, seed=seed)
        if not config.model:
            raise ConfigError(
                f"synthesis.model is missing: backend {config.backend!r} needs a directory or hub name, "
                "at least for its tokenizer."
            )
        self.generator = generator
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
