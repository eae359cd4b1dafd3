"""Pairs from a file, by document: for users who have pairs already, and for the bundled handbook.

    {"document_id": "a-1", "instruction": "…", "response": "…"}    one JSON object a line, plain or compressed

`options`, `rationale` and `part` are optional, and so are the other keys that `tutelage corpus export-pairs`
writes. A document without a line gets no pairs and is counted as such. Where a document is named by its path,
the last parts of the path are enough: `notes/a.txt`. Of a document that is cut into parts, a pair without
`part` goes with each part that holds its response word for word; each part counts the other pairs. A line
that repeats the pair of an earlier line is counted and not used again.

Cost: each worker process holds all pairs in memory, about 1 KB a pair.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

from plugins.readers import decompression
from plugins.synthesizers.base import Synthesizer
from schemas.config import Section, validate
from schemas.errors import ConfigError, unknown_name
from schemas.json_records import parse_json
from schemas.records import Chain, Document, InstructionPair, StoredPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig


class RecordedOptions(Section):
    """`synthesis.options` of this backend.

    Attributes:
        pairs: Path or fsspec URI of the file; a relative path is taken from the working directory.
    """

    pairs: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedPair(InstructionPair):
    """One line of the file.

    Attributes:
        document_id: The document that the pair is about.
        part: Part of the document, `k/n`; "" fits each part that holds the response.
    """

    document_id: str
    part: str = ""


_PAIR_FIELDS = tuple(f.name for f in dataclasses.fields(InstructionPair) if f.name != "verdicts")
_KEYS = (*_PAIR_FIELDS, "document_id", "part")
_NEEDED = ("document_id", "instruction", "response")
_UNUSED_KEYS = {field.name for field in dataclasses.fields(StoredPair)} - {*_KEYS} | {"passage"}
"""Keys that `tutelage corpus export-pairs` writes and that a pair does not need."""

_CLIPPED_AT = 60
_UNREADABLE = (FileNotFoundError, IsADirectoryError, PermissionError, decompression.TooLong)


class RecordedSynthesizer(Synthesizer):
    """Gives each document the pairs that a file holds about it. Documents of a chain form one text."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        super().__init__(config, seed=seed)
        self.uri = validate(RecordedOptions, config.options, name="synthesis.options").pairs
        self._by_document: dict[str, Counter[RecordedPair]] = {}  # pairs, and how often the file holds them

    def open(self) -> None:
        """Read the file; a ConfigError says what is wrong with it."""
        for pair in read_pairs(self.uri):
            self._by_document.setdefault(pair.document_id, Counter())[pair] += 1

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        synthesized: list[SynthesizedDocument] = []
        for document in chain.documents:
            recorded = self._by_document.get(
                recorded_name(document.document_id, self._by_document), Counter()
            )
            pairs = tuple(
                InstructionPair(**{name: getattr(pair, name) for name in _PAIR_FIELDS})
                for pair in recorded
                if _fits(pair, document)
            )
            dropped = {
                "pairs_of_other_parts": len(recorded) - len(pairs),
                "repeated_pairs": recorded.total() - len(recorded),
            }
            follows = bool(pairs) and bool(synthesized) and bool(synthesized[-1].pairs)
            synthesized.append(
                SynthesizedDocument(
                    document=document,
                    pairs=pairs,
                    follows_previous=follows,
                    dropped={reason: count for reason, count in dropped.items() if count},
                )
            )
        return tuple(synthesized)


def read_pairs(uri: str) -> Iterator[RecordedPair]:
    """Yield the pairs of a file in its order, repeated ones too.

    Raises:
        ConfigError: It is missing, damaged or empty, or a line holds no pair; names the line and the key.
    """
    num_pairs = 0
    try:
        for number, line in enumerate(decompression.lines(uri), start=1):
            if line.strip():
                yield _pair_in(line, f"synthesis.options.pairs {uri}: line {number}")
                num_pairs += 1
    except (*_UNREADABLE, *decompression.DAMAGED) as error:
        raise ConfigError(
            f"synthesis.options.pairs {uri!r} cannot be read: {error}. Check the path, or copy the file "
            "again if it is cut off."
        ) from error
    if not num_pairs:
        raise ConfigError(
            f"synthesis.options.pairs {uri!r} holds no pair. Write one JSON object a line, with document_id, "
            "instruction and response."
        )


def recorded_name(document_id: str, names: Container[str]) -> str:
    """The name of a document in a file: its id, or else the longest end of it after a slash."""
    name = document_id
    while name not in names and "/" in name:
        name = name.partition("/")[2]
    return name


def _pair_in(line: bytes, where: str) -> RecordedPair:
    """Read the pair of a line, or raise a ConfigError with the key, what it holds and what was expected."""
    try:
        row = parse_json(line.decode("utf-8-sig"))
    except ValueError as error:
        cause = str(error).replace(": line 1 column", " at column")
        raise ConfigError(f"{where} is not a JSON object: {cause}.") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is {_shown(row)}, expected an object with {', '.join(_NEEDED)}.")
    row = {key: value for key, value in row.items() if key not in _UNUSED_KEYS}
    if unknown := [key for key in row if key not in _KEYS]:
        raise ConfigError(f"{where}: {unknown_name('key', unknown[0], _KEYS)}")
    if missing := [key for key in _NEEDED if key not in row]:
        raise ConfigError(f"{where}: key {missing[0]!r} is missing. Expected {', '.join(_NEEDED)}.")
    for key, value in row.items():
        expected, items = ("a list of strings", value) if key == "options" else ("a string", [value])
        if not isinstance(items, list) or not all(isinstance(each, str) for each in items):
            raise ConfigError(f"{where}: key {key!r} is {_shown(value)}, expected {expected}.")
        if key in _NEEDED and not value.strip():
            raise ConfigError(
                f"{where}: key {key!r} is {_shown(value)}, expected a string that is not blank."
            )
    return RecordedPair(**{**row, "options": tuple(row.get("options", ()))})


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _CLIPPED_AT else f"{shown[:_CLIPPED_AT]}…"


def _fits(pair: RecordedPair, document: Document) -> bool:
    """True if the pair is about the whole document, or about this part of it."""
    if not document.part or pair.part:
        return pair.part in ("", document.part)
    return pair.response in document.text
