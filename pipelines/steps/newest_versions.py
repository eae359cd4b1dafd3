"""Newest row of each document_id: in a build, and among all rows that the corpus has seen.

rows ─► group by id ─► the newest of the build ─► not older than the version noted ─┬─► goes on
             │                                              │                      ├─► deletion of a held text
             └─► older rows: rejects                        └─► older: reject      └─► version to note

Names come before contents, so that an older version keeps out no other document with the same text. The step
runs before texts are cleaned or refused, so an older version does not replace a refused newer one.

The newest row has the highest stamp (plugins/readers/row_versions.py); of equal ones the order of files
and positions decides (pipelines/increments/document_versions.py), and last the hash of the text. Rows before
a deletion without a version, in the order of files, do not count. The order of arrival never decides.

Where no row states a version, the ledger is compared later, by file (`KeepNew`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from pipelines.increments.document_versions import CONFLICT, KEPT, VersionOrder, file_number
from pipelines.steps.base import REJECTS, outputs_of
from pipelines.steps.dedup.exact import DUPLICATES, KeepOne
from pipelines.store.ledger import DELETED, WITHDRAWN, Ledger, ledger_row
from plugins.readers.row_versions import MISSING, UNDATED_DELETION, are_unlike, shown
from schemas.records import Document

VERSIONS = "versions"
GONE = "deleted"
RAISED = "versions_raised"
"""Counter of documents with a higher version than the corpus has seen, whatever becomes of their texts."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """The versions that a corpus has seen of a stream's documents."""

    open_ledger: Callable[[], Ledger]
    open_versions: Callable[[], Ledger]
    order: VersionOrder
    has_stamps: bool  # True if a source of the stream states versions now


@beam.ptransform_fn
def KeepNewestVersions(
    documents: beam.PCollection, is_ordered: Sequence[bool], seen: Seen | None = None
) -> dict[str, beam.PCollection]:
    """Keep the newest document of each document_id.

    Args:
        is_ordered: By number of file, True if its source says which file is the newest.
        seen: None if no row states a version, now or earlier.

    Outputs: `ok`; rejects; and a Duplicate for each older document with the content of the newest. With
    `seen` also rows for the ledger of versions, and `deleted`: deletions of documents that the corpus holds.
    """
    step = _KeepNewest(tuple(is_ordered)) if seen is None else _KeepNewestSeen(tuple(is_ordered), seen)
    by_name = (
        documents
        | "KeyById" >> beam.Map(lambda document: (document.document_id, document))
        | "GroupById" >> beam.GroupByKey()
    )
    return outputs_of(by_name, "KeepNewest", step)


def _place(document: Document) -> tuple[int, str, str]:
    return document.version, document.content_hash, document.source


def _is_undated(document: Document) -> bool:
    return document.is_deleted and document.stamp == UNDATED_DELETION


@dataclasses.dataclass(eq=False)
class _KeepNewest(KeepOne):
    """Keep the newest document of a group with one document_id."""

    is_ordered: tuple[bool, ...]

    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Any]:
        found = sorted(group[1], key=_place)
        last = max((at for at, each in enumerate(found) if _is_undated(each)), default=-1)
        newest = max(
            found[last + 1 :] or found[last:], key=lambda each: (each.stamp or MISSING, *_place(each))
        )
        yield from self._settle(newest, found[last] if last >= 0 else None)
        for other in found:
            if other is newest:
                continue
            if other.content_hash == newest.content_hash and not other.is_deleted:
                yield from self.drop_copy(other, newest)
            elif other.stamp == newest.stamp:
                if self._is_ordered(other) and self._is_ordered(newest):
                    yield self.reject("older_version", other, f"kept the later version at {newest.source}")
                elif other.is_deleted or newest.is_deleted:
                    yield self.reject("older_version", other, f"{KEPT}{newest.source}")
                else:
                    detail = f"no version says which text is newer; {KEPT}{newest.source}"
                    yield self.reject(CONFLICT, other, detail)
            else:
                detail = (
                    f"version {shown(other.stamp)}; kept version {shown(newest.stamp)} at {newest.source}"
                )
                yield self.reject(_reason(other.stamp, newest.stamp), other, detail)

    def _is_ordered(self, document: Document) -> bool:
        return self.is_ordered[file_number(document.version)]

    def _settle(self, newest: Document, deletion: Document | None) -> Iterator[Any]:
        """Yield the newest document; `deletion` is the last deletion without a version in the group."""
        yield newest


@dataclasses.dataclass(eq=False)
class _KeepNewestSeen(_KeepNewest):
    """Compare the newest document of a group with the newest version that the corpus has seen."""

    tags = (REJECTS, DUPLICATES, VERSIONS, GONE)
    seen: Seen

    def setup(self) -> None:
        super().setup()
        self._ledger, self._versions = self.seen.open_ledger(), self.seen.open_versions()

    def _settle(self, newest: Document, deletion: Document | None) -> Iterator[Any]:
        name, order = newest.document_id, self.seen.order
        content, known = self._ledger.content_of(name), self._versions.content_of(name)
        origin = (self._ledger if known is None else self._versions).origin_of(name)
        stamp = newest.stamp or (MISSING if self.seen.has_stamps else "")
        # A deletion without a version ends all versions of earlier files.
        is_over = known == UNDATED_DELETION or (
            deletion is not None and origin is not None and not order.is_older(deletion.version, origin)
        )
        if known is None or is_over or not stamp or stamp in (known, UNDATED_DELETION):
            is_older = origin is not None and order.is_older(newest.version, origin)
        else:
            is_older = stamp < known
        if is_older:
            assert origin is not None
            is_gone = content == DELETED or known == UNDATED_DELETION
            noted = "a deletion" if is_gone else f"version {shown(known or '')}"
            detail = f"version {shown(stamp)}; the corpus has seen {noted} of {origin.uri}"
            yield self.reject(_reason(stamp, known or ""), newest, detail)
            return
        is_raised = bool(stamp) if known is None else stamp != known and (stamp > known or is_over)
        has_moved = known is not None and origin != order.origin_of(newest.version)
        if is_raised or (has_moved and newest.content_hash != content):
            self.counters.add(RAISED, is_raised and stamp not in ("", MISSING))
            noted = known if known and not is_raised else stamp or MISSING
            row = ledger_row(name, noted, file_number(newest.version))
            yield beam.pvalue.TaggedOutput(VERSIONS, row)
        if not newest.is_deleted:
            yield newest
        elif content not in (None, WITHDRAWN, DELETED):
            self.counters.add("deleted")
            yield beam.pvalue.TaggedOutput(GONE, newest)
        else:
            self.counters.add("deletions_of_no_document")


def _reason(older: str, newer: str) -> str:
    return "unlike_versions" if are_unlike(older, newer) else "older_version"
