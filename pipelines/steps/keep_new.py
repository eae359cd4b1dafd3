"""What the corpus holds already goes no further."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.increments.document_versions import Origin, VersionOrder
from pipelines.steps.base import REJECTS, StepFn
from pipelines.store.ledger import WITHDRAWN, Ledger, name_hash
from schemas import storage
from schemas.records import Document

HELD, CHANGED = "held", "changed"


class NewDocuments(NamedTuple):
    """What is new among documents.

    Attributes:
        kept: The new ones, and those that changed.
        rejects: What the corpus holds under another name, in a newer version, or not any more on purpose.
    """

    kept: beam.PCollection
    rejects: beam.PCollection


class KeepNew(beam.PTransform):
    """Keep documents that the corpus does not hold.

    Documents whose text the corpus holds under another document_id are copies, unless that document changes
    in this increment: rows that moved on by one id, for instance. Then the text would be lost.

    Args:
        only_new: Compares each document with the ledger.
    """

    def __init__(self, only_new: OnlyNew):
        super().__init__()
        self.only_new = only_new

    def expand(self, documents: beam.PCollection) -> NewDocuments:
        found = documents | "Compare" >> beam.ParDo(self.only_new).with_outputs(
            REJECTS, HELD, CHANGED, main="ok"
        )
        settled = (
            {HELD: found[HELD], CHANGED: found[CHANGED]}
            | "GroupByHolder" >> beam.CoGroupByKey()
            | "Settle" >> beam.ParDo(_SettleHeld(self.only_new.progress_dir)).with_outputs(REJECTS, main="ok")
        )
        kept = (found.ok, settled.ok) | "Kept" >> beam.Flatten()
        rejects = (found[REJECTS], settled[REJECTS]) | "NotKept" >> beam.Flatten()
        return NewDocuments(kept=kept, rejects=rejects)


class _SettleHeld(StepFn):
    def __init__(self, progress_dir: str | None):
        super().__init__("ledger", progress_dir)

    def process(self, group: tuple[bytes, Mapping[str, Iterable[Any]]]) -> Iterator[Any]:
        _, found = group
        is_given_up = any(True for _ in found[CHANGED])
        for document in found[HELD]:
            if is_given_up:
                yield document
            else:
                yield self.reject(
                    "already_ingested",
                    document_id=document.document_id,
                    source=document.source,
                    detail="the corpus holds the same text under another document_id",
                )


class OnlyNew(StepFn):
    """Tell documents that the ledger knows from others.

    Outputs: documents that are new or changed, those whose text another document has (`HELD`, by the hash of
    that one's name), hashes of names of changed documents (`CHANGED`), and rejects.

    An unchanged document is counted and dropped, without a reject: it is in the corpus. A changed one
    goes on, unless the corpus holds a newer version of it. So does one whose name stands in the file
    `asked_again`, if there is one.

    Args:
        corpus: The corpus.
        stream: Stream of the documents.
        names: The increments that they are compared with.
        order: Which version is newer.
        progress_dir: See Counters.
        asked_again: URI of a file of document_ids.
    """

    def __init__(
        self,
        corpus: str,
        stream: str,
        names: tuple[str, ...],
        order: VersionOrder,
        progress_dir: str | None,
        asked_again: str,
    ):
        super().__init__("ledger", progress_dir)
        self.asked_again = asked_again
        self.corpus = corpus
        self.stream = stream
        self.names = names
        self.order = order

    def setup(self) -> None:
        super().setup()
        self._ledger = Ledger.open(self.corpus, self.stream, self.names)
        names = storage.read_lines_zst(self.asked_again) if storage.exists(self.asked_again) else ()
        self._asked_again = frozenset(map(json.loads, names))

    def process(self, document: Document) -> Iterator[Any]:
        known = self._ledger.content_of(document.document_id)
        if known == document.content_hash and document.document_id in self._asked_again:
            self.counters.add("asked_again")
            yield document
        elif known == document.content_hash:
            self.counters.add("unchanged")
        elif known == WITHDRAWN:
            yield self.reject(
                "withdrawn",
                document_id=document.document_id,
                source=document.source,
                detail="the document was withdrawn from the corpus",
            )
        elif known is not None and (origin := self._newer_origin(document)):
            yield self.reject(
                "older_version",
                document_id=document.document_id,
                source=document.source,
                detail=f"the corpus holds the version of {origin.uri}",
            )
        else:
            if known is not None:
                yield beam.pvalue.TaggedOutput(CHANGED, (name_hash(document.document_id), None))
            holder = self._ledger.holder_of(document.content_hash)
            yield document if holder is None else beam.pvalue.TaggedOutput(HELD, (holder, document))

    def _newer_origin(self, document: Document) -> Origin | None:
        """The file of the version that the corpus holds, if that is newer."""
        origin = self._ledger.origin_of(document.document_id)
        is_older = origin is not None and self.order.is_older(document.version, origin)
        return origin if is_older else None
