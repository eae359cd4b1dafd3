"""The records that flow from raw text to packed rows.

    Document ─► Chain ─► SynthesizedDocument ─► AugmentedText ─► PackedSample
        └──────────┴─────────── Reject (stage, reason) ◄──────────────┘

All are frozen, slotted, keyword-only dataclasses of plain values, so that they cross process
boundaries, compare by value and serialise to JSON (`to_json`, `from_json`) without ceremony.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from schemas.strict_json import made, parse_json

RecordT = TypeVar("RecordT")
ClassT = TypeVar("ClassT", bound=type)


def quick_to_pickle(cls: ClassT) -> ClassT:
    """Let a frozen, slotted dataclass be pickled by its slots.

    What Python 3.10 to 3.12 gives such a class itself goes through its fields anew at every record, which
    takes half as long again; Beam pickles a record wherever it leaves a stage.
    """
    names = tuple(field.name for field in dataclasses.fields(cls))
    values_of = operator.attrgetter(*names)
    setters = tuple(getattr(cls, name).__set__ for name in names)

    def set_values(self: Any, values: tuple[Any, ...]) -> None:
        for set_value, value in zip(setters, values, strict=True):
            set_value(self, value)

    cls.__getstate__ = lambda self: values_of(self)  # type: ignore[attr-defined]
    cls.__setstate__ = set_values  # type: ignore[attr-defined]
    return cls


def digest(*parts: str | bytes, size_bytes: int = 16) -> str:
    """Hash strings to hex with blake2b; parts are length-prefixed, so ("ab", "c") != ("a", "bc")."""
    state = hashlib.blake2b(digest_size=size_bytes)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def content_hash(text: str) -> str:
    """blake2b-128 of the text with NFKC applied, case folded and whitespace runs made one space."""
    return digest(" ".join(unicodedata.normalize("NFKC", text).casefold().split()))


def well_formed(text: str) -> str:
    """The text with each lone surrogate made U+FFFD, since no tokenizer takes one.

    JSON can hold half of an emoji as `\\ud83d`, and files and models do.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One raw text.

    Attributes:
        document_id: Stable name given by its source; a changed text keeps it.
        text: The text itself.
        source: Where it was read, as `uri` or `uri:position`.
        content_hash: `content_hash(text)`, or a hash of text and pairs; what exact dedup and the ledger
            compare.
        metadata: What the reader carried along, strings only.
        pairs: Question-answer pairs that came with the text; what a synthesizer is tuned on.
        dataset: The question-answer set that they are of, or "".
        part: `k/n` for the k-th of n parts of a document that was too long to be prompted as a whole.
        whole_hash: For a part, the content hash of the whole document.
        version: Orders documents of one name within a build: the one with the highest is the newest. It says
            when a document was written, not what it is, and so does not count where documents are compared.
    """

    document_id: str
    text: str
    source: str
    content_hash: str
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pairs: tuple[InstructionPair, ...] = ()
    dataset: str = ""
    part: str = ""
    whole_hash: str = ""
    version: int = dataclasses.field(default=0, compare=False)

    @classmethod
    def of(
        cls,
        document_id: str,
        text: str,
        *,
        source: str,
        metadata: Mapping[str, str] | None = None,
        pairs: tuple[InstructionPair, ...] = (),
        dataset: str = "",
        version: int = 0,
    ) -> Document:
        """Make a document and hash its text, and its pairs if it has any."""
        hashed = content_hash(text)
        if pairs:
            said = (part for pair in pairs for part in (pair.instruction, *pair.options, pair.response))
            hashed = digest(hashed, *map(content_hash, said))
        return cls(
            document_id=document_id,
            text=text,
            source=source,
            content_hash=hashed,
            metadata=dict(metadata or {}),
            pairs=pairs,
            dataset=dataset,
            version=version,
        )

    def changed(self, text: str, pairs: tuple[InstructionPair, ...] | None = None) -> Document:
        """The same document with another text, and with other pairs if given; hashed again if one differs."""
        pairs = self.pairs if pairs is None else pairs
        if (text, pairs) == (self.text, self.pairs):
            return self
        return Document.of(
            self.document_id,
            text,
            source=self.source,
            metadata=self.metadata,
            pairs=pairs,
            dataset=self.dataset,
            version=self.version,
        )


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Up to M documents whose earlier pairs serve as examples for the later ones, in round order."""

    chain_id: str
    documents: tuple[Document, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a language model answered to one request; names and counts as SGLang gives them.

    Attributes:
        text: The generated text, without the prompt.
        finish_reason: `stop`, `length` or `abort`.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens generated.
        cached_tokens: Prompt tokens answered from the server's prefix cache.
        key: Its name in the journal, or "" where it was not journaled.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    key: str = ""


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstructionPair:
    """One instruction about a document and its response.

    Attributes:
        instruction: The question or task, without its options.
        response: The answer; for a pair with options, as a rule the text of the right one.
        options: The choices in the order given, or none.
        rationale: The reasoning that leads to the response, or "".
    """

    instruction: str
    response: str
    options: tuple[str, ...] = ()
    rationale: str = ""


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizedDocument:
    """A document with the pairs written about it.

    Attributes:
        document: The document, text untouched.
        pairs: Its pairs; empty means that it goes on as raw text.
        follows_previous: Whether it was prompted with the chain's earlier documents, and so
            belongs to the same training text as the one before it.
        failure: Why no answer could be had or read, as `reason: detail`, or "".
        generation: Name of the answer that the pairs were read from in the journal, or "".
        dropped: What of the answer became no pair, by counter: bad_pieces, repeated_questions, copied_pairs.
    """

    document: Document
    pairs: tuple[InstructionPair, ...] = ()
    follows_previous: bool = False
    failure: str = ""
    generation: str = ""
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A document's share of a training text: its own text and the pairs about it.

    Attributes:
        document_id: The document.
        content_hash: Of the whole document, also where this is a part of it.
        source: Where it was read.
        start: Offset of its first character in the training text.
        end: Offset behind its last one. What lies between two passages separates them.
        part: Which part of the document, `k/n`, or "" for a whole one.
        num_pairs: Pairs about it.
        generation: Name of the answer that they were read from in the journal, or "".
        failure: Why no answer could be had, or "".
        prompt_length: Characters at its beginning that are only read and carry no loss: the context in an
            example that a synthesizer is tuned on. 0 in all other texts, whose tokens all carry loss.
        text_start: Offset of the document's own text, where pairs stand beside it.
        text_end: Offset behind it; 0 without pairs, and where nobody noted it.
        asks_first: Whether the pairs' questions stand before the document's own text.
    """

    document_id: str
    content_hash: str
    source: str
    start: int
    end: int
    part: str = ""
    num_pairs: int = 0
    generation: str = ""
    failure: str = ""
    prompt_length: int = 0
    text_start: int = 0
    text_end: int = 0
    asks_first: bool = False

    def moved(self, by: int) -> Passage:
        """The same passage in a text in which it stands so many characters further on."""
        has_text = bool(self.text_end)
        return dataclasses.replace(
            self,
            start=self.start + by,
            end=self.end + by,
            text_start=self.text_start + by if has_text else 0,
            text_end=self.text_end + by if has_text else 0,
        )


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredPair:
    """An instruction pair as a corpus keeps it, beside the training text that it was rendered into.

    Attributes:
        text_id: The training text.
        document_id: The document that it is about.
        content_hash: Of the whole document, also where `part` of it was asked about.
        source: Where the document was read.
        part: Which part of the document, `k/n`, or "" for a whole one.
        instruction: As in InstructionPair, and so are `response`, `options`, `rationale`.
        span: Offsets in the passage of the first character of the response and behind its last one, where
            it stands there word for word; else none.
        passage_span: Offsets of the passage (the text of the document or part, without pairs) in the
            document's share of the training text, `text[Passage.start : Passage.end]`; none where a template
            changed it.
        synthesizer: Who wrote it, `backend` or `backend:protocol:model`; "" where it came with the document.
        generation: Name of the answer that it was read from in the journal, or "".
    """

    text_id: str
    document_id: str
    content_hash: str
    source: str
    part: str
    instruction: str
    response: str
    options: tuple[str, ...]
    rationale: str
    span: tuple[int, ...]
    passage_span: tuple[int, ...]
    synthesizer: str
    generation: str


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedText:
    """One training text, rendered.

    Attributes:
        text_id: Name of the text, derived from its documents.
        text: What the model is trained on.
        passages: What of it comes from which document, in order.
        num_pairs: Instruction pairs in it; 0 for raw text.
        template: `family/layout` that rendered it, or `raw`.
        seed: Seed of every random choice made in rendering it.
        pairs: Its pairs, passage by passage; in a file of their own on disk, none where the text was made
            before corpora kept them.
    """

    text_id: str
    text: str
    passages: tuple[Passage, ...]
    num_pairs: int
    template: str
    seed: int
    pairs: tuple[StoredPair, ...] = ()

    @property
    def document_ids(self) -> tuple[str, ...]:
        """The documents in it, in order; one for each passage."""
        return tuple(passage.document_id for passage in self.passages)

    @property
    def is_tuning(self) -> bool:
        """Whether it is made of examples that a synthesizer is tuned on, with loss on their pairs only."""
        return any(passage.prompt_length for passage in self.passages)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedSample:
    """One training row.

    Attributes:
        tokens: int32 of shape (T,). Positions past the last segment are padding.
        segment_lengths: int32 of shape (num_segments,); tokens of each text in the row, in order.
            They add up to at most T; what is left is padding and carries no loss.
        loss_spans: int32 of shape (2 * num_spans,): first token and end of each run of tokens that carry
            loss, counted in the row, in order. None where all tokens of the texts do.
    """

    tokens: np.ndarray[Any, np.dtype[np.int32]]
    segment_lengths: np.ndarray[Any, np.dtype[np.int32]]
    loss_spans: np.ndarray[Any, np.dtype[np.int32]] | None = None


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A record that went no further.

    Attributes:
        stage: The step that refused it: read, clean, dedup, tokenize, ...
        reason: A short fixed name, which is also its counter.
        document_id: The document, or "" when it never got a name.
        source: File and position.
        detail: What was found, readable.
    """

    stage: str
    reason: str
    document_id: str
    source: str
    detail: str = ""


UNEXPECTED = "unexpected_error"
"""Reason of a reject that nobody foresaw: an exception that one record, document or file led to."""


def to_json(record: Any) -> str:
    """Serialise a record of plain values to one line of JSON with sorted keys.

    What few passages have is left out where it is 0 or false. So are the pairs of a text, which no file of
    texts holds, where there are none.
    """
    plain = dataclasses.asdict(record, dict_factory=_without_rare)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)


_RARE = frozenset(("prompt_length", "text_start", "text_end", "asks_first", "pairs"))


def _without_rare(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value or name not in _RARE}


def from_json(kind: type[RecordT], line: str | bytes) -> RecordT:
    """Read back what `to_json` wrote; lists become the tuples that the record declares.

    Raises:
        ValueError: The line is no JSON, or no such record.
    """
    record: RecordT = made(kind, parse_json(line))
    return record
