"""Of what is taken in, what takes the place of an older text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from pipelines.steps.base import StepFn
from pipelines.store.ledger import Ledger
from schemas.records import Document

SUPERSEDED = "superseded"


class MarkSuperseded(StepFn):
    """Count documents that are taken in; the document_id of each changed one goes to `superseded` as well.

    The last step of taking in: a changed document that was refused on the way supersedes nothing.
    """

    def __init__(self, corpus: str, stream: str, names: tuple[str, ...], progress_dir: str | None):
        super().__init__("ledger", progress_dir)
        self.corpus = corpus
        self.stream = stream
        self.names = names

    def setup(self) -> None:
        super().setup()
        self._ledger = Ledger.open(self.corpus, self.stream, self.names)

    def process(self, document: Document) -> Iterator[Any]:
        if self._ledger.content_of(document.document_id) is not None:
            self.counters.add("changed")
            yield beam.pvalue.TaggedOutput(SUPERSEDED, document.document_id)
        self.counters.add("new")
        yield document
