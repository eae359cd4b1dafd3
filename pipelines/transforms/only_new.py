"""What the corpus holds already goes no further."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelines.ledger import WITHDRAWN, Ledger
from pipelines.transforms.base import StepFn
from pipelines.versions import Origin, VersionOrder
from schemas import storage
from schemas.records import Document


class OnlyNew(StepFn):
    """Keep documents that the ledger does not know.

    An unchanged document is counted and dropped, without a reject: it is in the corpus. A changed one
    goes on, unless the corpus holds a newer version of it. So does one whose name stands in the file
    `asked_again`, if there is one.

    Args:
        corpus: The corpus.
        stream: Stream of the documents.
        numbers: The increments that they are compared with.
        order: Which version is newer.
        progress_dir: See Counters.
        asked_again: URI of a file of document_ids.
    """

    def __init__(
        self,
        corpus: str,
        stream: str,
        numbers: tuple[int, ...],
        order: VersionOrder,
        progress_dir: str | None,
        asked_again: str,
    ):
        super().__init__("ledger", progress_dir)
        self.asked_again = asked_again
        self.corpus = corpus
        self.stream = stream
        self.numbers = numbers
        self.order = order

    def setup(self) -> None:
        super().setup()
        self._ledger = Ledger.open(self.corpus, self.stream, self.numbers)
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
        elif self._ledger.has_content(document.content_hash):
            yield self.reject(
                "already_ingested",
                document_id=document.document_id,
                source=document.source,
                detail="the corpus holds the same text under another document_id",
            )
        else:
            yield document

    def _newer_origin(self, document: Document) -> Origin | None:
        """The file of the version that the corpus holds, if that is newer."""
        origin = self._ledger.origin_of(document.document_id)
        is_older = origin is not None and self.order.is_older(document.version, origin)
        return origin if is_older else None
