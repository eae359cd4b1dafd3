"""Synthesis through running SGLang servers."""

from __future__ import annotations

from plugins.sglang.client import ClientOptions, SGLangClient
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.config import validate
from schemas.corpus_config import SynthesisConfig
from schemas.records import Generation


class SGLangSynthesizer(LanguageModelSynthesizer):
    """Synthesizes with a model that SGLang serves; `synthesis.options` are ClientOptions."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        values = {"max_in_flight": config.max_in_flight, **config.options}
        options = validate(ClientOptions, values, name="synthesis.options")
        generator = SGLangGenerator(SGLangClient(config.endpoints, options))
        super().__init__(config, seed=seed, generator=generator)


class SGLangGenerator(Generator):
    """Answers prompts through the client."""

    def __init__(self, client: SGLangClient):
        self._client = client

    async def close(self) -> None:
        await self._client.close()

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        return await self._client.generate(request)
