"""Generators: they answer one prompt; language-model synthesizers differ in them only."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugins.plain_token_ids import TokenIds
from schemas.records import Generation


class Choice(NamedTuple):
    """One of the answers that a request allows."""

    text: str
    ids: tuple[int, ...]  # tokens that begin the answer, each by itself: "Yes" and " Yes"


def choice_of(text: str, choices: Sequence[str]) -> str | None:
    """The one choice that an answer is, begins with as a whole word, or begins; None for no or several."""
    said = text.strip().casefold()

    def is_it(choice: str) -> bool:
        rest = said.removeprefix(choice)
        return choice.startswith(said) or (rest != said and not rest[:1].isalnum())

    found = [each for each in choices if said and is_it(each.casefold())]
    return found[0] if len(found) == 1 else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One prompt with its sampling parameters."""

    prompt_ids: TokenIds  # token ids of the prompt; with messages they only count its tokens
    max_new_tokens: int  # maximum tokens to generate
    temperature: float = 0.0  # sampling temperature; 0 is greedy
    stop: tuple[str, ...] = ()  # strings that end the generation
    messages: tuple[tuple[str, str], ...] = ()  # role and content of each, for servers that take messages
    json_schema: str = ""  # JSON schema that constrains the answer, or ""; transformers ignores it
    sample: int = 0  # number of the generation among those of the same prompt
    seed: int | None = None  # seed of sampling, for servers that take one
    # The allowed answers. A backend that can constrains the answer to them, and returns `logprobs` of each.
    choices: tuple[Choice, ...] = ()
    affinity: str = ""  # requests with the same value share a prefix, and should go to the same server
    # Makes the request that asks again after an unreadable answer; returns None for no second request.
    repair: Callable[[str], GenerationRequest | None] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFailure:
    """Failure of a request after all retries."""

    reason: str  # a short fixed name: too_long, refused, aborted, unreachable, …
    detail: str  # the finding, for people
    ends_chain: bool = False  # true if later requests of the chain would fail too


@dataclasses.dataclass(slots=True)
class EndpointTally:
    """Counters of one endpoint."""

    in_flight: int = 0  # requests in flight now
    requests: int = 0  # requests answered with a generation
    failed: int = 0  # requests that failed after all retries, or were refused
    retried: int = 0  # failed attempts that were retried
    taken_out: int = 0  # times that it was taken out after too many failures
    prompt_tokens: int = 0  # tokens of answered prompts
    completion_tokens: int = 0  # generated tokens
    cached_tokens: int = 0  # prompt tokens found in the prefix cache

    def add(self, answer: Generation | GenerationFailure) -> None:
        """Count a request's result."""
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
        """Load the model or connect."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Release the resources of `open`."""

    def tallies(self) -> Mapping[str, EndpointTally]:
        """Counters of the endpoints by URL; empty for a generator without endpoints."""
        return {}

    @abstractmethod
    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        """Answer one prompt. A failing prompt or server raises nothing."""
