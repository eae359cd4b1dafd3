"""Texts that are asked about, drawn by seed from a corpus or held out by it, and questions about them.

A document is drawn if the hash of the seed and its name is among the lowest. So one pass over the texts is
enough, and the same documents are drawn from a corpus that was built in other increments. Memory holds twice
the drawn documents.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from pipelines.inspect.lineage import text_lines
from pipelines.store.held_out import read_held_out
from pipelines.store.ledger import Newest
from schemas.content_hash import digest
from schemas.manifest import Manifest
from schemas.records import Document

BLANK = "____"


@dataclasses.dataclass(frozen=True, slots=True)
class SourceText:
    """A document, or one part of it, as the model is trained on it, or as it is held out."""

    document_id: str
    stream: str
    text: str
    source: str  # origin of the document
    part: str = ""  # `k/n`, or "" for the whole document
    held_out: bool = False  # no model is trained on it

    def as_document(self) -> Document:
        """The text as synthesizers take it."""
        made = Document.of(self.document_id, self.text, source=self.source)
        return dataclasses.replace(made, part=self.part)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a text, with its one right answer."""

    text: str  # in a cloze question the answer's place is BLANK
    answer: str  # as the text has it
    about: SourceText
    author: str  # `cloze`, or the name of the synthesizer
    span: tuple[int, int] = (0, 0)  # start and end offset of the answer in the text, once it is found there
    statement: str  # to look for in training pairs: the question, or the whole sentence of a cloze
    is_specific: bool  # the question can be understood without the text

    @property
    def question_id(self) -> str:
        """Name of the question, the same in every run."""
        return digest(self.about.document_id, self.about.part, self.text, self.answer, size_bytes=6)


def draw_texts(
    corpus: str, manifest: Manifest, streams: Sequence[str], most: int, seed: int, counts: Counter[str]
) -> list[SourceText]:
    """Draw up to `most` current documents of some streams; return their texts, a document's parts together.

    `counts` gets the number of drawn `documents`, and of texts that cannot be told from their pairs
    (`untold`, in corpora of old versions).

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    drawn: dict[str, dict[str, SourceText]] = {}
    for stream in streams:
        newest = Newest(corpus, stream, manifest.names())
        for line in text_lines(corpus, manifest, stream):
            text = line.text()
            for each in text.passages:
                if not newest.is_current(line.place.increment, each.document_id, each.content_hash):
                    continue
                start, end = (each.text_start, each.text_end) if each.num_pairs else (each.start, each.end)
                if start == end:
                    counts["untold"] += 1
                    continue
                found = SourceText(each.document_id, stream, text.text[start:end], each.source, each.part)
                drawn.setdefault(digest(str(seed), stream, each.document_id), {})[each.part] = found
            if len(drawn) > 2 * most:
                drawn = {key: drawn[key] for key in sorted(drawn)[:most]}
    chosen = [drawn[key] for key in sorted(drawn)[:most]]
    counts["documents"] = len(chosen)
    return [parts[name] for parts in chosen for name in sorted(parts, key=_number_of)]


def held_out_texts(corpus: str, manifest: Manifest, most: int, counts: Counter[str]) -> list[SourceText]:
    """Return up to `most` held-out documents of each stream; `counts` gets the number of all, `held_out`."""
    texts = []
    for stream in sorted({name for each in manifest.increments for name in each.num_held_out}):
        for number, each in enumerate(read_held_out(corpus, manifest, stream)):
            counts["held_out"] += 1
            if number < most:
                texts.append(SourceText(each.document_id, stream, each.text, each.source, held_out=True))
    return texts


def _number_of(part: str) -> int:
    return int(part.partition("/")[0] or 0)
