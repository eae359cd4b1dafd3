"""Hold-out: a share of the documents is kept for evaluation and never becomes training text.

    taken in ─► any document had this text and was held out ─► held out
             ─► the increments have the text in a training text ─► training
             ─► a new version of a known document ─► as its last version
             ─► a new document ─► by a hash of its text

It is the last step of taking in, so copies are gone: they were dropped for the document that stays, or for
one in the corpus. Held-out documents are in the ledger and in the index of near duplicates, so later copies
are found as well. The choice by hash has no seed and looks at no name: the same text is held out in every
build, stream and corpus with the same `clean` options, and a raised share adds documents only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam

from pipelines.steps.base import StepFn
from pipelines.steps.shuffle import group_of
from pipelines.store.ledger import Ledger
from schemas import storage
from schemas.content_hash import content_hash, digest
from schemas.corpus_layout import HELD_OUT, group_path
from schemas.records import Document, to_json

_SALT = "tutelage holdout"
_OUTPUT = "held_out"
_FILE_CHARACTERS = 1 << 25
"""Average characters of a file; bounds the memory of the worker that writes it."""


def is_chosen(text: str, share: float) -> bool:
    """True if the hash of a new document's text is among the lowest `share` of all hashes."""
    return int(digest(_SALT, content_hash(text))[:16], 16) < share * 2**64


@dataclasses.dataclass(eq=False)
class HoldOut(StepFn):
    """Separate documents that are held out; they go to the output `held_out`."""

    step = "holdout"
    tags = (_OUTPUT,)
    share: float  # of new documents, 0 to 0.5
    open_ledger: Callable[[], Ledger]
    open_held_out: Callable[[], Ledger]  # names and contents are those of held-out contents

    def setup(self) -> None:
        super().setup()
        self._ledger, self._held_out = self.open_ledger(), self.open_held_out()

    def process(self, document: Document) -> Iterator[Any]:
        is_held_out = self._is_held_out(document)
        self.counters.add("held_out", is_held_out)
        yield beam.pvalue.TaggedOutput(_OUTPUT, document) if is_held_out else document

    def _is_held_out(self, document: Document) -> bool:
        if self._held_out.content_of(document.content_hash) is not None:
            return True
        if self._ledger.holder_of(document.content_hash, may_be_superseded=True) is not None:
            return False
        known = self._ledger.content_of(document.document_id)
        if known is not None:
            return self._held_out.content_of(known) is not None
        return is_chosen(document.text, self.share)


@beam.ptransform_fn
def WriteHeldOut(documents: beam.PCollection, increment: str, stream: str) -> beam.PCollection:
    """Write the held-out documents of one stream to files; no file without documents."""
    size = (
        documents
        | "CountCharacters" >> beam.Map(lambda document: len(document.text))
        | "SumCharacters" >> beam.CombineGlobally(sum)
    )
    return (
        documents
        | "KeyByFile" >> beam.Map(_with_file, beam.pvalue.AsSingleton(size))
        | "GroupByFile" >> beam.GroupByKey()
        | "WriteFile" >> beam.Map(_write, increment, stream)
    )


def _with_file(document: Document, num_characters: int) -> tuple[str, Document]:
    number = group_of(0, document.content_hash, num_tokens=num_characters, group_tokens=_FILE_CHARACTERS)
    return f"{number:05d}", dataclasses.replace(document, version=0, stamp="")


def _write(file: tuple[str, Iterable[Document]], increment: str, stream: str) -> None:
    group, documents = file
    ordered = sorted(documents, key=lambda each: each.content_hash)
    uri = storage.join(increment, group_path(HELD_OUT, stream, group))
    storage.write_lines_zst(uri, map(to_json, ordered))
