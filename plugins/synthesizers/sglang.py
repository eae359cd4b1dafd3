"""Synthesizer `sglang`: pairs from SGLang servers, running ones or servers that the workers start."""

from __future__ import annotations

from collections.abc import Mapping

from plugins.servers.retries import ClientOptions
from plugins.sglang.client import SGLangClient
from plugins.sglang.server import ServerLease, lease_servers
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.config import validate
from schemas.errors import ConfigError
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig


class SGLangOptions(ClientOptions):
    """`synthesis.options` of backend sglang.

    Attributes:
        json_schema: True constrains answers to the protocol's JSON schema, if it has one, and a judge's to
            Yes or No. A server started with `--grammar-backend none` refuses such requests.
    """

    json_schema: bool = True


class SGLangSynthesizer(LanguageModelSynthesizer):
    """Writes pairs with a model that SGLang serves."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        values = {"max_in_flight": config.max_in_flight, **config.options}
        options = validate(SGLangOptions, values, name="synthesis.options")
        super().__init__(
            config, seed=seed, generator=SGLangGenerator(config, options), constrain_json=options.json_schema
        )


class SGLangGenerator(Generator):
    """Answers prompts through the client."""

    def __init__(self, config: SynthesisConfig, options: SGLangOptions):
        if config.endpoints and config.server is not None:
            raise ConfigError(
                "synthesis.endpoints and synthesis.server are both set; keep endpoints for running servers, "
                "or server for servers that the workers start."
            )
        self._config = config
        self._options = options
        self._lease: ServerLease | None = None
        self._client: SGLangClient | None = None
        if config.server is None:
            self._client = SGLangClient(config.endpoints, options, constrains=options.json_schema)

    def open(self) -> None:
        server = self._config.server
        if server is not None:
            self._lease = lease_servers(server, model=server.model or self._config.model or "")
            self._client = SGLangClient(
                self._lease.endpoints, self._options, constrains=self._options.json_schema
            )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
        if self._lease is not None:
            self._lease.release()
            self._lease = self._client = None

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        assert self._client is not None, "open() comes first"
        return await self._client.generate(request)

    def tallies(self) -> Mapping[str, EndpointTally]:
        return self._client.tallies() if self._client is not None else {}
