"""Interface of verifiers: a passage and a pair about it in, a verdict out.

    Verifier        verdict(passage, pair) ─► Verdict
    ModelVerifier   request(passage, pair) ─► GenerationRequest ─► Generation ─► read(…) ─► Verdict

Each worker makes a verifier from its options. A verifier keeps no state between pairs. A ModelVerifier only
writes prompts and reads answers: the step sends the requests, as synthesis does, with journal and retries.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import pydantic

from plugins.plain_token_ids import plain_ids
from plugins.protocols.chat_template import PLACEHOLDER, ChatTemplate
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.generator import Choice, GenerationRequest, choice_of
from plugins.synthesizers.language_model import LanguageModelSynthesizer, asks_model
from plugins.tokenizers import load_tokenizer, opening_ids
from schemas.config import Section, validate
from schemas.errors import ConfigError
from schemas.records import Generation, InstructionPair
from schemas.synthesis_config import ServerConfig, SynthesisConfig

_KEPT_TEXTS = 4096
"""Texts in a cache of token ids, because several pairs have one passage."""


class VerifierOptions(Section):
    """Options of every verifier.

    Attributes:
        min_score: Minimum score of a pair, 0 to 1; pairs below it are rejected.
        action: `drop` rejects pairs below `min_score`; `mark` keeps them with their verdict, and counts them.
    """

    min_score: float = pydantic.Field(default=0.5, ge=0.0, le=1.0)
    action: Literal["drop", "mark"] = "drop"


class ModelVerifierOptions(VerifierOptions):
    """Options of every verifier that asks a model. Without any of these, the model of synthesis answers.

    Attributes:
        model: Directory or hub name of another model. Alone, it runs in the worker process (transformers).
        endpoints: URLs of running servers of that model, or one URL.
        server: Servers of that model that the workers start.
        tokenizer: Directory or hub name of its tokenizer; null takes the model's. For a server that takes
            messages it only counts, and null takes that of synthesis.
        backend: Name of the synthesizer that sends the requests; null takes sglang with `endpoints` or
            `server`, transformers with `model` alone, and else that of synthesis.
        options: Options of the backend; null takes those of synthesis for the same backend.
    """

    model: str | None = None
    tokenizer: str | None = None
    endpoints: tuple[str, ...] = ()
    server: ServerConfig | None = None
    backend: str | None = None
    options: dict[str, Any] | None = None

    @pydantic.field_validator("endpoints", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


OptionsT = TypeVar("OptionsT", bound=VerifierOptions)
ModelOptionsT = TypeVar("ModelOptionsT", bound=ModelVerifierOptions)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier says about a pair."""

    score: float  # from 0, surely bad, to 1, surely good
    reason: str = ""  # the finding, for people: "the passage does not hold the number 250"; "" if all is well
    span: tuple[int, int] | None = None  # start and end offset in the passage of what supports the answer


class Rule(ABC, Generic[OptionsT]):
    """A named check with options.

    Args:
        options: The YAML's section `verify.NAME`; missing keys have their defaults.

    Attributes:
        name: Its name in the registry.
        Options: Its section of the YAML.
        options: That section, validated.

    Raises:
        ConfigError: An option is unknown or invalid.
    """

    name: ClassVar[str]
    Options: type[OptionsT]

    def __init__(self, options: Mapping[str, Any] | None = None):
        self.options: OptionsT = validate(self.Options, dict(options or {}), name=f"verify.{self.name}")


class Verifier(Rule[OptionsT]):
    """A check of pairs against their passage without a model; arguments and attributes as in Rule."""

    @abstractmethod
    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        """Judge a pair by the text of its own document or part."""


class ModelVerifier(Rule[ModelOptionsT]):
    """A check of pairs by a language model; arguments and attributes as in Rule, and after `connect`:

    Attributes:
        asker: Synthesizer whose generator answers the requests; it never writes pairs here.
        max_new_tokens: Maximum tokens generated about a pair.
    """

    max_new_tokens: ClassVar[int]

    def connect(self, synthesis: SynthesisConfig, *, seed: int) -> None:
        """Choose the model; loads and sends nothing.

        Raises:
            ConfigError: There is no model, or an option is unusable; names the key.
        """
        own, key = self.options, f"verify.{self.name}"
        has_servers = bool(own.endpoints) or own.server is not None
        is_own = has_servers or own.model is not None or own.backend is not None
        backend = own.backend or ("sglang" if has_servers else "transformers" if own.model else "")
        backend = backend or synthesis.backend
        if not asks_model(backend):
            raise ConfigError(
                f"{key} needs a model, and backend {backend!r} asks none. Set {key}.model and, for running "
                f"servers, {key}.endpoints, or remove {key}."
            )
        # A rule writes its own prompts, without a protocol of synthesis, and its answer is no thought.
        changes: dict[str, Any] = {"protocol": "chat", "thinking_tokens": 0}
        if is_own:
            options = synthesis.options if backend == synthesis.backend else {}
            changes |= {
                **{"backend": backend, "endpoints": own.endpoints, "server": own.server},
                "model": own.model or synthesis.model,
                "options": options if own.options is None else own.options,
            }
        elif own.options is not None:
            changes["options"] = own.options
        if own.tokenizer or own.model:
            changes["tokenizer"] = own.tokenizer
        try:
            self.config = synthesis.model_copy(update=changes)
            self.asker: LanguageModelSynthesizer = SYNTHESIZERS.load(backend)(self.config, seed=seed)
        except ConfigError as error:
            said = str(error).replace("synthesis.", f"{key}.") if is_own else str(error)
            raise ConfigError(f"{key}: {said}" if is_own else said) from error
        if self.asker.sends_messages and not os.path.isdir(str(self.config.model)):
            counts = self.config.tokenizer or synthesis.tokenizer or synthesis.model
            self.config = self.config.model_copy(update={"tokenizer": counts})

    def open(self) -> None:
        """Load the tokenizer, no model; needs `connect`."""
        model = str(self.config.model)
        try:
            tokenizer = load_tokenizer(
                self.config.tokenizer or model, trust_remote_code=self.config.trust_remote_code
            )
        except ConfigError as error:
            raise ConfigError(
                f"verify.{self.name}: {error} verify.{self.name}.tokenizer names another tokenizer."
            ) from error
        self._ids = functools.lru_cache(maxsize=_KEPT_TEXTS)(functools.partial(plain_ids, tokenizer))
        self._before, self._after = opening_ids(tokenizer), []
        if tokenizer.chat_template and not self.asker.sends_messages:
            backend = copy.deepcopy(tokenizer.backend_tokenizer)
            backend.encode_special_tokens = False  # the template holds special tokens; pairs never do
            named = f"verify.{self.name}: model {model!r} has a chat template that"
            template = ChatTemplate(
                tokenizer, model, refused_by=named, variables=self.config.chat_template_kwargs
            )
            before, _, after = PLACEHOLDER.split(template.render(["user"]))
            self._before, self._after = (
                backend.encode(each, add_special_tokens=False).ids for each in (before, after)
            )

    @abstractmethod
    def parts(self, passage: str, pair: InstructionPair) -> list[str]:
        """Pieces of the prompt, first what several pairs of a passage share; each is tokenized by itself."""

    @abstractmethod
    def choices(self, pair: InstructionPair) -> tuple[str, ...]:
        """The allowed answers; none for free text."""

    @abstractmethod
    def read(self, passage: str, pair: InstructionPair, answer: Generation) -> Verdict | None:
        """Read the answer to the request about a pair; None if nothing can be read in it."""

    def request(self, passage: str, pair: InstructionPair, *, affinity: str = "") -> GenerationRequest:
        """Write the request about a pair; needs `open`."""
        parts = self.parts(passage, pair)
        ids: list[Any] = [self._before, *map(self._ids, parts), self._after]
        texts = self.choices(pair)
        first = [self._first_tokens(text) for text in texts]
        shared = {token for at, each in enumerate(first) for other in first[:at] for token in each & other}
        return GenerationRequest(
            prompt_ids=np.concatenate(ids).astype(np.int32),
            max_new_tokens=1 if texts else self.max_new_tokens,
            choices=tuple(
                Choice(text, () if self.asker.sends_messages else tuple(sorted(each - shared)))
                for text, each in zip(texts, first, strict=True)
            ),
            messages=(("user", "".join(parts)),) if self.asker.sends_messages else (),
            affinity=affinity,
        )

    def prefix_tokens(self, passage: str, pair: InstructionPair) -> int:
        """Tokens at the beginning of the request that all pairs of a passage share; needs `open`."""
        shared, *own = self.parts(passage, pair)
        return len(self._before) + (len(self._ids(shared)) if own else 0)

    def _first_tokens(self, text: str) -> set[int]:
        """Tokens with which an answer may begin: as it is, after a space, in small and large letters."""
        wordings = (text, f" {text}", text.lower(), f" {text.lower()}")
        return {int(self._ids(wording)[0]) for wording in wordings}


def probabilities(answer: Generation, choices: tuple[str, ...]) -> list[float] | None:
    """Probability of each choice among the choices, 1.0 and 0.0 without log-probabilities.

    One generated token may be only the beginning of a choice. None if the answer is none of them.
    """
    chosen = choice_of(answer.text, choices)
    if chosen is None:
        return None
    if len(answer.logprobs) != len(choices):
        return [float(each == chosen) for each in choices]
    weights = np.exp(np.asarray(answer.logprobs) - max(answer.logprobs))
    return [float(each) for each in weights / weights.sum()]
