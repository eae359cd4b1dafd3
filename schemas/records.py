"""The records that flow from raw text to packed rows.

    Document ─► Chain ─► SynthesizedDocument ─► AugmentedText ─► PackedSample
        └──────────┴─────────── Reject (stage, reason) ◄──────────────┘

All are frozen, slotted, keyword-only dataclasses of plain values: they cross process boundaries, compare by
value and convert to JSON (`to_json`, `from_json`).
"""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from schemas.content_hash import document_hash
from schemas.json_records import made, parse_json

RecordT = TypeVar("RecordT")
ClassT = TypeVar("ClassT", bound=type)


def quick_to_pickle(cls: ClassT) -> ClassT:
    """Pickle a frozen, slotted dataclass by its slots.

    Beam pickles every record that leaves a stage. The methods that Python 3.10 to 3.12 generates look up the
    fields for each record, and take 1.5 times as long.
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


def well_formed(text: str) -> str:
    """Replace lone surrogates by U+FFFD, because tokenizers refuse them.

    JSON can hold half of an emoji as `\\ud83d`, and files and models do write that.
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
        document_id: Stable name from the source; it stays the same when the text changes.
        text: The text.
        source: Origin, as `uri` or `uri:position`.
        content_hash: `content_hash(text)`, or a hash of text and pairs; exact dedup and the ledger compare
            it.
        metadata: Further fields from the reader, strings only.
        pairs: Question-answer pairs from the source, for synthesizer tuning.
        dataset: Question-answer dataset of the pairs, or "".
        part: `k/n` for the k-th of n parts of a document that is too long for one prompt, or "".
        whole_hash: For a part, the content hash of the whole document.
        version: Order of documents with one name within a build; the highest is the newest. Comparisons of
            documents ignore it, because it dates a document and does not describe it.
        stamp: Version that its row or file states, as 32 hexadecimal digits in the order of versions
            (plugins/readers/row_versions.py), or "". It comes before `version`; comparisons ignore it too.
        is_deleted: True if the source deletes the document; then it has no text.
        pages: Entries of its pages (schemas/page_starts.py); none without pages.
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
    stamp: str = dataclasses.field(default="", compare=False)
    is_deleted: bool = False
    pages: tuple[str, ...] = ()

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
        stamp: str = "",
        is_deleted: bool = False,
    ) -> Document:
        """Make a document; hash its text and its pairs."""
        return cls(
            document_id=document_id,
            text=text,
            source=source,
            content_hash=document_hash(text, pairs),
            metadata=dict(metadata or {}),
            pairs=pairs,
            dataset=dataset,
            version=version,
            stamp=stamp,
            is_deleted=is_deleted,
        )

    def changed(self, text: str, pairs: tuple[InstructionPair, ...] | None = None) -> Document:
        """Copy the document with another text, and with other pairs if given; not for parts."""
        pairs = self.pairs if pairs is None else pairs
        if (text, pairs) == (self.text, self.pairs):
            return self
        hashed = document_hash(text, pairs)
        return dataclasses.replace(self, text=text, pairs=pairs, content_hash=hashed, part="", whole_hash="")


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Up to M documents in round order; pairs of earlier documents are examples for later ones."""

    chain_id: str
    documents: tuple[Document, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A language model's answer to one request, with SGLang's names and counts.

    Attributes:
        text: The generated text, without the prompt.
        finish_reason: `stop`, `length` or `abort`.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens generated.
        cached_tokens: Prompt tokens that the server found in its prefix cache.
        key: Key of the answer in the journal, or "" without a journal.
        logprobs: Natural log-probability of each choice of the request (`GenerationRequest.choices`); none
            if the server does not give them.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    key: str = ""
    logprobs: tuple[float, ...] = ()


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """What one rule of `verify` found about a pair.

    Attributes:
        rule: Name of the rule.
        score: From 0, surely bad, to 1, surely good.
        reason: The finding, for people; "" if all is well.
        span: Start and end offset in the passage of the text that supports the response; else none.
    """

    rule: str
    score: float
    reason: str = ""
    span: tuple[int, ...] = ()


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstructionPair:
    """One instruction about a document and its response.

    Attributes:
        instruction: The question or task, without its options.
        response: The answer; with options, usually the text of the right option.
        options: The options in their order, or none.
        rationale: The reasoning behind the response, or "".
        verdicts: What each rule of `verify` found; none if the pair was not verified.
    """

    instruction: str
    response: str
    options: tuple[str, ...] = ()
    rationale: str = ""
    verdicts: tuple[PairVerdict, ...] = ()


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizedDocument:
    """A document with the pairs written about it.

    Attributes:
        document: The document, with its text unchanged.
        pairs: Its pairs; without pairs it stays raw text.
        follows_previous: True if its prompt held earlier documents of the chain, so that it belongs to the
            same training text as the document before it.
        failure: Reason why there is no readable answer, as `reason: detail`, or "".
        generation: Journal key of the answer with the pairs, or ""; of several samples all keys.
        dropped: Parts of the answer that gave no pair, by counter: bad_pieces, repeated_questions,
            copied_pairs; of several samples also repeated_in_samples, failed_samples; `not_english` if rules
            were for English only.
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
        content_hash: Content hash of the whole document, for parts too.
        source: Origin of the document.
        start: Offset of the first character in the training text.
        end: Offset behind the last character. Text between two passages separates them.
        part: Part of the document, `k/n`, or "" for the whole document.
        num_pairs: Number of pairs about it.
        generation: Journal key of the answer with the pairs, or ""; of several samples all keys.
        failure: Reason why there is no answer, or "".
        prompt_length: Characters at the beginning without loss: the context of a tuning example. 0 in all
            other texts, where every token carries loss.
        text_start: Offset of the document's own text, if there are pairs.
        text_end: Offset behind it; 0 without pairs, and in corpora of old versions.
        asks_first: True if the questions come before the document's own text.
        pages: Pages of the document's file on which its own text lies, `12` or `11-12`, or "".
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
    pages: str = ""

    def moved(self, by: int) -> Passage:
        """Shift all offsets by `by` characters."""
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
    """An instruction pair as a corpus stores it, beside its training text.

    Attributes:
        text_id: The training text.
        document_id: The document.
        content_hash: Content hash of the whole document, for parts too.
        source: Origin of the document.
        part: Part of the document, `k/n`, or "" for the whole document.
        instruction: As in InstructionPair, like `response`, `options` and `rationale`.
        span: Start and end offset of the response in the passage, if it occurs there literally; else none.
        passage_span: Start and end offset of the passage (the text of the document or part, without pairs) in
            `text[Passage.start : Passage.end]`; none if a template changed the passage.
        synthesizer: Author, `backend` or `backend:protocol:model`; "" if the pair came with the document.
        generation: Journal key of the answer with the pair, or ""; of several samples all keys.
        verdicts: As in InstructionPair.
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
    verdicts: tuple[PairVerdict, ...] = ()


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedText:
    """One training text, rendered.

    Attributes:
        text_id: Name of the text, derived from its documents.
        text: The text that the model is trained on.
        passages: The documents' shares of the text, in order.
        num_pairs: Instruction pairs in it; 0 for raw text.
        template: `family/layout` that rendered it, or `raw`.
        seed: Seed of every random choice of the rendering.
        pairs: Its pairs, passage by passage. On disk they have a file of their own; corpora of old versions
            lack it.
        is_apart: Whether the model reads each document's own text and the pairs about it by themselves.
        mean_score: Mean score of its pairs in `verify`; None without verified pairs.
    """

    text_id: str
    text: str
    passages: tuple[Passage, ...]
    num_pairs: int
    template: str
    seed: int
    pairs: tuple[StoredPair, ...] = ()
    is_apart: bool = False
    mean_score: float | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """What the model reads by itself: the whole text, or each document's own text and its pairs."""
        if not self.is_apart:
            return (self.text,)
        found: list[str] = []
        for each in self.passages:
            cut = each.text_end or each.end
            found += (self.text[each.start : cut], self.text[cut : each.end].lstrip())
        return tuple(filter(None, found))

    @property
    def document_ids(self) -> tuple[str, ...]:
        """Ids of its documents in order, one for each passage."""
        return tuple(passage.document_id for passage in self.passages)

    @property
    def is_tuning(self) -> bool:
        """True for a text of tuning examples, in which only pairs carry loss."""
        return any(passage.prompt_length for passage in self.passages)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedSample:
    """One training row.

    Attributes:
        tokens: int32 of shape (T,). Positions behind the last segment are padding.
        segment_lengths: int32 of shape (num_segments,); tokens of each text in the row, in order. Their sum
            is at most T. Padding carries no loss.
        loss_spans: int32 of shape (2 * num_spans,): start and end position of each run of tokens with loss,
            in order. None if all tokens of the texts carry loss.
    """

    tokens: np.ndarray[Any, np.dtype[np.int32]]
    segment_lengths: np.ndarray[Any, np.dtype[np.int32]]
    loss_spans: np.ndarray[Any, np.dtype[np.int32]] | None = None


@quick_to_pickle
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A record that a step refused.

    Attributes:
        stage: The step: read, clean, dedup, tokenize, ...
        reason: A short fixed name; also the name of the counter.
        document_id: The document, or "" if it has no name yet.
        source: File and position.
        detail: The finding, for people.
        pairs: The refused pair, whole and with its verdicts; none if the reject is no pair of `verify`.
    """

    stage: str
    reason: str
    document_id: str
    source: str
    detail: str = ""
    pairs: tuple[InstructionPair, ...] = ()


UNEXPECTED = "unexpected_error"
"""Reason of a reject after an unexpected exception about one record, document or file."""


def to_json(record: Any) -> str:
    """Convert a record to one line of JSON with sorted keys.

    Fields that few records use are left out if they are 0, false or empty; a score of 0.0 is not.
    """
    plain = dataclasses.asdict(record, dict_factory=_without_rare)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)


_RARE = frozenset(("prompt_length", "text_start", "text_end", "asks_first", "pairs", "is_apart"))
_RARE |= {"verdicts", "mean_score", "stamp", "is_deleted", "pages"}


def _without_rare(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value or name not in _RARE or type(value) is float}


def from_json(kind: type[RecordT], line: str | bytes) -> RecordT:
    """Read a line of `to_json`; lists become the tuples that the record declares.

    Raises:
        ValueError: The line is not JSON, or not such a record.
    """
    record: RecordT = made(kind, parse_json(line))
    return record
