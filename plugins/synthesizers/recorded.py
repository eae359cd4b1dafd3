"""Pairs from a file, by document: for users who have pairs already, and for the bundled handbook.

    {"document_id": "a-1", "instruction": "…", "response": "…"}    one JSON object a line, plain or compressed

`options`, `rationale` and `part` are optional, and so are the other keys that `tutelage corpus export-pairs`
writes. A document without a line gets no pairs and is counted as such. Where a document is named by its path,
the last parts of the path are enough: `notes/a.txt`. Of a document that is cut into parts, a pair without
`part` goes with each part that holds its response word for word; each part counts the other pairs. A line
that repeats the pair of an earlier line is counted and not used again. After a build, `unused_pairs` counts
the pairs about documents that the increment lacks.

Cost: each worker process holds all pairs in memory, about 1 KB a pair.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator

from plugins.readers import decompression
from plugins.synthesizers.base import Synthesizer
from schemas.config import Section, validate
from schemas.errors import ConfigError
from schemas.json_records import made, parse_json
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
_UNUSED_KEYS = {field.name for field in dataclasses.fields(StoredPair)} | {"passage"}
_UNUSED_KEYS -= {*_PAIR_FIELDS, "document_id", "part"}
"""Keys that `tutelage corpus export-pairs` writes and that a pair does not need."""


class RecordedSynthesizer(Synthesizer):
    """Gives each document the pairs that a file holds about it. Documents of a chain form one text."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        super().__init__(config, seed=seed)
        self._uri = validate(RecordedOptions, config.options, name="synthesis.options").pairs
        self._by_document: dict[str, Counter[RecordedPair]] = {}  # pairs, and how often the file holds them

    def open(self) -> None:
        """Read the file.

        Raises:
            ConfigError: It is missing, damaged or empty, or a line holds no pair; names the line.
        """
        try:
            for pair in self._read():
                self._by_document.setdefault(pair.document_id, Counter())[pair] += 1
        except (FileNotFoundError, *decompression.DAMAGED) as error:
            raise ConfigError(
                f"synthesis.options.pairs {self._uri!r} cannot be read: {error}. Check the path, or copy the "
                "file again if it is cut off."
            ) from error
        if not self._by_document:
            raise ConfigError(
                f"synthesis.options.pairs {self._uri!r} holds no pair. Write one JSON object a line, with "
                "document_id, instruction and response."
            )

    def unused_pairs(self, document_ids: Collection[str]) -> Counter[str]:
        """Number of pairs by the document that they name, for documents that are not in `document_ids`."""
        used = {self._recorded_name(document_id) for document_id in document_ids}
        return Counter({name: len(pairs) for name, pairs in self._by_document.items() if name not in used})

    def _read(self) -> Iterator[RecordedPair]:
        for number, line in enumerate(decompression.lines(self._uri), start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line.decode("utf-8-sig"))
                if isinstance(row, dict):
                    row = {key: value for key, value in row.items() if key not in _UNUSED_KEYS}
                pair: RecordedPair = made(RecordedPair, row)
            except ValueError as error:
                raise ConfigError(
                    f"synthesis.options.pairs {self._uri}: line {number}: {error}. Expected an object with "
                    "document_id, instruction and response; options and rationale are optional."
                ) from None
            if not pair.instruction.strip() or not pair.response.strip():
                raise ConfigError(f"synthesis.options.pairs {self._uri}: line {number}: its text is empty.")
            yield pair

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        synthesized: list[SynthesizedDocument] = []
        for document in chain.documents:
            recorded = self._by_document.get(self._recorded_name(document.document_id), Counter())
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

    def _recorded_name(self, document_id: str) -> str:
        """The name of a document in the file: its id, or else the longest end of it after a slash."""
        name = document_id
        while name not in self._by_document and "/" in name:
            name = name.partition("/")[2]
        return name


def _fits(pair: RecordedPair, document: Document) -> bool:
    """True if the pair is about the whole document, or about this part of it."""
    if not document.part or pair.part:
        return pair.part in ("", document.part)
    return pair.response in document.text
