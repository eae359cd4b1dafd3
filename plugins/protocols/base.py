"""What a protocol is: documents to prompt token ids, generated text to pairs."""

from __future__ import annotations

import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from plugins.plain_token_ids import Ids, TokenIds, plain_ids
from plugins.protocols.thoughts import without_thoughts
from schemas.corpus_config import SynthesisConfig
from schemas.records import Document, InstructionPair

_KEPT_TEXTS = 4096
"""About 20 MB of documents of 1,000 tokens."""
_NONE_TO_WRITE = re.compile(
    r"\s*(?:```\w*\s*)?(?:\[\s*\]|\{\s*\}|\{\s*\"\w+\"\s*:\s*\[\s*\]\s*\})?\s*(?:```|</s>)?\s*"
)
"""An answer that says in JSON, or by silence, that there is nothing to ask."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An earlier document of the chain with the pairs written about it."""

    document: Document
    pairs: tuple[InstructionPair, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What an answer held: its pairs, and how many pieces of it were none.

    Attributes:
        pairs: The pairs, no question twice.
        num_bad_pieces: Pieces that were meant to be pairs and are none.
        num_repeated: Pairs left out because the answer asked their question before.
        unreadable: Whether nothing of it could be read, not even that there are no pairs. Set by
            `SynthesisProtocol.read`.
    """

    pairs: tuple[InstructionPair, ...]
    num_bad_pieces: int = 0
    num_repeated: int = 0
    unreadable: bool = False

    @classmethod
    def of(cls, pairs: Sequence[InstructionPair], *, num_bad_pieces: int) -> Parsed:
        """Keep the first pair of each question, and count the others."""
        distinct = distinct_questions(pairs)
        return cls(pairs=distinct, num_bad_pieces=num_bad_pieces, num_repeated=len(pairs) - len(distinct))


class SynthesisProtocol(ABC):
    """How a model is prompted and its answer parsed.

    Prompts are token ids, never text: a server that adds BOS to text would add a second one, and
    special-token strings inside a document must stay plain text.

    Args:
        tokenizer: The model's, as `load_tokenizer` gives it.
        config: The synthesis section.
        constrain_json: Whether answers are held to `json_schema`, if the protocol has one.

    Attributes:
        stop: Strings at which generation may end.
        json_schema: Schema that answers are to be held to, or "".
        opens_thought: Whether prompts end inside a block of what the model thinks.
        worked_pairs: Pairs of an example that every prompt shows before the documents of the chain.
    """

    stop: tuple[str, ...] = ()
    json_schema: str = ""
    opens_thought: bool = False
    worked_pairs: tuple[InstructionPair, ...] = ()

    def __init__(self, tokenizer: Any, config: SynthesisConfig, *, constrain_json: bool = False):
        self.tokenizer = tokenizer
        self._kept_ids = functools.lru_cache(maxsize=_KEPT_TEXTS)(self._new_ids)
        self.config = config
        self.constrain_json = constrain_json

    @abstractmethod
    def prompt(self, examples: Sequence[Example], document: Document) -> TokenIds:
        """Token ids that ask for pairs about `document`, after the examples."""

    def read(self, text: str) -> Parsed:
        """Read a generated text: leave out what the model thought, and parse what it said.

        A block of thought that was cut off counts as a bad piece.
        """
        said, is_cut = self.said(text)
        parsed = self.parse(said)
        return dataclasses.replace(
            parsed,
            num_bad_pieces=parsed.num_bad_pieces + is_cut,
            unreadable=not parsed.pairs and _NONE_TO_WRITE.fullmatch(said.strip() or text) is None,
        )

    def said(self, text: str) -> tuple[str, bool]:
        """A generated text without what the model thought, and whether it was cut off while it thought.

        A text that a schema holds to JSON from its first character on is no thought, whatever prompts open.
        """
        held = bool(self.json_schema) and text.lstrip().startswith("{")
        return without_thoughts(text, is_open=self.opens_thought and not held)

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Read the pairs out of what a model said. A bad piece costs only itself."""

    def repair(self, examples: Sequence[Example], document: Document, answer: str) -> TokenIds | None:
        """Token ids that ask once more after an unreadable answer, or None where that is of no use."""
        return None

    def plain_ids(self, text: str) -> Ids:
        """Token ids of text whose special-token strings are plain text; no BOS, no EOS.

        The last ones are kept: the earlier examples of a chain come again in every round, and a chain is
        tokenised when it arrives, before it is asked about. May be called on several threads.

        Returns:
            int32 of shape (num_tokens,), which cannot be written to.
        """
        return self._kept_ids(text)

    def _new_ids(self, text: str) -> Ids:
        ids = plain_ids(self.tokenizer, text)
        ids.flags.writeable = False
        return ids


def distinct_questions(pairs: Iterable[InstructionPair]) -> tuple[InstructionPair, ...]:
    """Drop pairs whose question came before, ignoring case and white space; the first one wins."""
    kept: dict[str, InstructionPair] = {}
    for pair in pairs:
        kept.setdefault(question_key(pair), pair)
    return tuple(kept.values())


def pair_key(pair: InstructionPair) -> str:
    """What makes two pairs the same: the words of question, options and response, ignoring case."""
    return f"{question_key(pair)}\n{' '.join(pair.response.casefold().split())}"


def question_key(pair: InstructionPair) -> str:
    """What makes two questions the same: the words of instruction and options, ignoring case."""
    return " ".join(" ".join([pair.instruction, *pair.options]).casefold().split())
