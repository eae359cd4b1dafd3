"""Selection of new and changed documents, by the ledger of the corpus.

documents ─► KeepNew ─┬─► new or changed ─► … other steps … ─► MarkSuperseded ─► taken in
                      ├─► unchanged: counted only
                      └─► held under another document_id, older, or withdrawn: rejects
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from pipelines.increments.document_versions import Origin, VersionOrder
from pipelines.steps.base import REJECTS, StepFn, outputs_of
from pipelines.store.ledger import DELETED, WITHDRAWN, Ledger, name_hash
from schemas import storage
from schemas.records import Document

SUPERSEDED = "superseded"
_HELD, _CHANGED = "held", "changed"


@beam.ptransform_fn
def KeepNew(
    documents: beam.PCollection,
    open_ledger: Callable[[], Ledger],
    order: VersionOrder | None,
    asked_again: str,
    deleted: Sequence[beam.PCollection] = (),
) -> dict[str, beam.PCollection]:
    """Keep documents that the corpus does not hold, and those that changed. Outputs: `ok` and rejects.

    A document is a copy if the corpus holds its text under another document_id, unless that other document
    changes in this increment: then the text would be lost. This happens where rows move on by one id.

    `order` is None if older versions were dropped before. `asked_again` is the URI of a file of document_ids
    that are kept although they did not change; it may be missing. `deleted` are documents that the increment
    deletes.
    """
    found = outputs_of(documents, "Compare", _Compare(open_ledger, order, asked_again))
    changed = found[_CHANGED]
    for each in deleted:
        gone = each | "KeyDeleted" >> beam.Map(lambda document: (name_hash(document.document_id), None))
        changed = (changed, gone) | "ChangedOrDeleted" >> beam.Flatten()
    by_holder = {_HELD: found[_HELD], _CHANGED: changed} | "GroupByHolder" >> beam.CoGroupByKey()
    settled = outputs_of(by_holder, "Settle", _SettleHeld())
    return {
        "ok": (found["ok"], settled["ok"]) | "Kept" >> beam.Flatten(),
        REJECTS: (found[REJECTS], settled[REJECTS]) | "NotKept" >> beam.Flatten(),
    }


@dataclasses.dataclass(eq=False)
class _Compare(StepFn):
    """Compare documents with the ledger.

    Outputs: new and changed documents; `held`, documents whose text the corpus holds, by the name hash of its
    holder; `changed`, name hashes of changed documents; and rejects.
    """

    step = "ledger"
    tags = (REJECTS, _HELD, _CHANGED)
    open_ledger: Callable[[], Ledger]
    order: VersionOrder | None
    asked_again: str

    def setup(self) -> None:
        super().setup()
        self._ledger = self.open_ledger()
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
            yield self.reject("withdrawn", document, "the document was withdrawn from the corpus")
        elif known is not None and (origin := self._newer_origin(document)):
            yield self.reject("older_version", document, f"the corpus holds the version of {origin.uri}")
        else:
            if known is not None:
                yield beam.pvalue.TaggedOutput(_CHANGED, (name_hash(document.document_id), None))
            holder = self._ledger.holder_of(document.content_hash)
            yield document if holder is None else beam.pvalue.TaggedOutput(_HELD, (holder, document))

    def _newer_origin(self, document: Document) -> Origin | None:
        """Return the file of the version in the corpus if that version is newer."""
        if self.order is None:
            return None
        origin = self._ledger.origin_of(document.document_id)
        is_older = origin is not None and self.order.is_older(document.version, origin)
        return origin if is_older else None


class _SettleHeld(StepFn):
    """Keep documents whose text the corpus holds if its holder changes in this increment."""

    step = "ledger"

    def process(self, group: tuple[bytes, Mapping[str, Iterable[Any]]]) -> Iterator[Any]:
        _, found = group
        holder_changes = any(True for _ in found[_CHANGED])
        for document in found[_HELD]:
            if holder_changes:
                yield document
            else:
                held = "the corpus holds the same text under another document_id"
                yield self.reject("already_ingested", document, held)


@dataclasses.dataclass(eq=False)
class MarkSuperseded(StepFn):
    """Count documents that are taken in; give the document_id of each changed one as `superseded`, too.

    It is the last step of taking in: a changed document that was refused on the way supersedes nothing.
    """

    step = "ledger"
    tags = (SUPERSEDED,)
    open_ledger: Callable[[], Ledger]

    def setup(self) -> None:
        super().setup()
        self._ledger = self.open_ledger()

    def process(self, document: Document) -> Iterator[Any]:
        if self._ledger.content_of(document.document_id) not in (None, DELETED):
            self.counters.add("changed")
            yield beam.pvalue.TaggedOutput(SUPERSEDED, document.document_id)
        self.counters.add("new")
        yield document
