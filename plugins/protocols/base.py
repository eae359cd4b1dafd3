"""Base class of protocols: documents to prompt token ids, generated text to pairs."""

from __future__ import annotations

import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from plugins.plain_token_ids import Ids, TokenIds, plain_ids
from plugins.protocols.thoughts import without_thoughts
from schemas.records import Document, InstructionPair
from schemas.synthesis_config import SynthesisConfig

Messages: TypeAlias = tuple[tuple[str, str], ...]
"""Role and content of each message."""

_KEPT_TEXTS = 4096
"""Texts in the cache of token ids: about 20 MB for documents of 1,000 tokens."""
_NONE_TO_WRITE = re.compile(
    r"\s*(?:```\w*\s*)?(?:\[\s*\]|\{\s*\}|\{\s*\"\w+\"\s*:\s*\[\s*\]\s*\})?\s*(?:```|</s>)?\s*"
)
"""An answer without pairs: empty JSON or nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An earlier document of the chain with its pairs."""

    document: Document
    pairs: tuple[InstructionPair, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A parsed answer."""

    pairs: tuple[InstructionPair, ...]  # the pairs; all questions differ
    num_bad_pieces: int = 0  # pieces that should be pairs and are not
    num_repeated: int = 0  # pairs dropped because the answer asked their question before
    unreadable: bool = False  # neither pairs nor a statement that there are none; set by `read`

    @classmethod
    def of(cls, pairs: Sequence[InstructionPair], *, num_bad_pieces: int) -> Parsed:
        """Keep the first pair of each question, ignoring case and white space, and count the others."""
        distinct: dict[str, InstructionPair] = {}
        for pair in pairs:
            distinct.setdefault(question_key(pair), pair)
        num_repeated = len(pairs) - len(distinct)
        return cls(pairs=tuple(distinct.values()), num_bad_pieces=num_bad_pieces, num_repeated=num_repeated)


class SynthesisProtocol(ABC):
    """Builds prompts for a model and parses its answers.

    Prompts are token ids, not text: a server may add a second BOS to text, and special-token strings inside a
    document must stay plain text.

    Args:
        tokenizer: The model's tokenizer, from `load_tokenizer`.
        config: The synthesis section.
        constrain_json: True if the backend constrains answers to `json_schema`.
        as_messages: True if the backend sends `messages`; token ids then only count a prompt's tokens.

    Attributes:
        has_messages: True if the protocol can make messages.
        stop: Strings that end a generation.
        json_schema: JSON schema of answers, or "".
        opens_thought: True if prompts end inside a block of thoughts.
        worked_pairs: Pairs of the example that every prompt shows before the documents of the chain.
    """

    stop: tuple[str, ...] = ()
    json_schema: str = ""
    opens_thought: bool = False
    worked_pairs: tuple[InstructionPair, ...] = ()
    has_messages: bool = False

    def __init__(
        self,
        tokenizer: Any,
        config: SynthesisConfig,
        *,
        constrain_json: bool = False,
        as_messages: bool = False,
    ):
        self.tokenizer = tokenizer
        self._kept_ids = functools.lru_cache(maxsize=_KEPT_TEXTS)(self._new_ids)
        self.config = config
        self.constrain_json = constrain_json
        self.as_messages = as_messages

    @abstractmethod
    def prompt(self, examples: Sequence[Example], document: Document) -> TokenIds:
        """Token ids of the prompt for pairs about `document`, after the examples."""

    def read(self, text: str) -> Parsed:
        """Remove thoughts from a generated text and parse the rest. A truncated thought is a bad piece."""
        said, is_cut = self.said(text)
        parsed = self.parse(said)
        return dataclasses.replace(
            parsed,
            num_bad_pieces=parsed.num_bad_pieces + is_cut,
            unreadable=not parsed.pairs and _NONE_TO_WRITE.fullmatch(said.strip() or text) is None,
        )

    def said(self, text: str) -> tuple[str, bool]:
        """Remove thoughts from a generated text; return the rest, and True if the last thought has no end.

        A text that a schema constrains to JSON from its first character on holds no thought.
        """
        held = bool(self.json_schema) and text.lstrip().startswith("{")
        return without_thoughts(text, is_open=self.opens_thought and not held)

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Parse the pairs in a text without thoughts. A bad piece does not affect other pieces."""

    def repair(self, examples: Sequence[Example], document: Document, answer: str) -> TokenIds | None:
        """Token ids of a prompt that asks again after an unreadable answer; None to ask only once."""
        return None

    def messages(
        self, examples: Sequence[Example], document: Document, *, unreadable: str | None = None
    ) -> Messages:
        """Role and content of the messages of `prompt`, or of `repair` after an unreadable answer."""
        return ()

    def for_sample(self, sample: int) -> SynthesisProtocol:
        """Return the protocol that prompts for the n-th generation about a document; the first is 0."""
        return self

    def plain_ids(self, text: str) -> Ids:
        """Token ids of text, with special-token strings as plain text, without BOS and EOS. Thread-safe.

        A cache keeps recent texts, because the examples of a chain come again in every round.

        Returns:
            Read-only int32 of shape (num_tokens,).
        """
        return self._kept_ids(text)

    def _new_ids(self, text: str) -> Ids:
        ids = plain_ids(self.tokenizer, text)
        ids.flags.writeable = False
        return ids


def pair_key(pair: InstructionPair) -> str:
    """Key of equal pairs: the words of question, options and response, ignoring case."""
    return f"{question_key(pair)}\n{' '.join(pair.response.casefold().split())}"


def question_key(pair: InstructionPair) -> str:
    """Key of equal questions: the words of instruction and options, ignoring case."""
    return " ".join(" ".join([pair.instruction, *pair.options]).casefold().split())
