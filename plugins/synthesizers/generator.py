"""What answers one prompt: the part in which language-model synthesizers differ."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from plugins.plain_token_ids import TokenIds
from schemas.records import Generation


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One prompt and how to answer it.

    Attributes:
        prompt_ids: Token ids of the prompt.
        max_new_tokens: Most tokens to generate.
        temperature: 0 is greedy.
        stop: Strings at which to end.
        json_schema: A JSON schema that the answer is held to, or "". Only for generators that can.
        affinity: Requests with the same value share a prefix, and are best sent to the same server.
        repair: Gives, for an answer of which nothing can be read, the prompt that asks once more; None where
            it is not asked again.
    """

    prompt_ids: TokenIds
    max_new_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    json_schema: str = ""
    affinity: str = ""
    repair: Callable[[str], TokenIds | None] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFailure:
    """Why a request got no answer, after all retries.

    Attributes:
        reason: A short fixed name: too_long, refused, aborted, unreachable, ...
        detail: What was seen, readable.
        ends_chain: Whether later requests of the chain would fail alike.
    """

    reason: str
    detail: str
    ends_chain: bool = False


@dataclasses.dataclass(slots=True)
class EndpointTally:
    """What one endpoint did so far.

    Attributes:
        in_flight: Requests under way now.
        requests: Requests answered with a generation.
        failed: Requests given up or refused.
        retried: Attempts that are tried again.
        taken_out: How often it was taken out because its requests failed.
        prompt_tokens: Tokens of the prompts answered.
        completion_tokens: Tokens generated.
        cached_tokens: Prompt tokens answered from the prefix cache.
    """

    in_flight: int = 0
    requests: int = 0
    failed: int = 0
    retried: int = 0
    taken_out: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def add(self, answer: Generation | GenerationFailure) -> None:
        """Count an answer."""
        if isinstance(answer, GenerationFailure):
            self.failed += 1
            return
        self.requests += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.cached_tokens += answer.cached_tokens


class Generator(ABC):
    """Answers prompts, many at a time, on one event loop."""

    def open(self) -> None:  # noqa: B027 - optional
        """Load or connect."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Let go."""

    def tallies(self) -> Mapping[str, EndpointTally]:
        """What each endpoint did so far, by name; none for a generator without endpoints."""
        return {}

    @abstractmethod
    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        """Answer one prompt. Never raises for what one prompt or a server does."""
