"""One copy of each content. Names and hashes decide which document stays, never the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, Protocol

import apache_beam as beam

from pipelines.steps.base import REJECTS, Named, StepFn, outputs_of
from pipelines.store.duplicate_records import Duplicate, shortened
from schemas.records import Document

DUPLICATES = "duplicates"


@beam.ptransform_fn
def DropDuplicates(documents: beam.PCollection) -> dict[str, beam.PCollection]:
    """Keep the document with the first document_id of each content.

    Outputs: `ok`; the others as rejects; and a Duplicate for each of these.
    """
    by_content = (
        documents
        | "KeyByContent" >> beam.Map(lambda document: (document.content_hash, document))
        | "GroupByContent" >> beam.GroupByKey()
    )
    return outputs_of(by_content, "KeepOneOfContent", _KeepOneOfContent())


class Hashed(Named, Protocol):
    """A document, or a record of its names and its content hash."""

    @property
    def content_hash(self) -> str: ...


def duplicate_of(kind: Literal["exact", "near"], copy: Hashed, kept: Hashed, similarity: float) -> Duplicate:
    """Make the Duplicate of a copy and the document of the same increment that is kept."""
    return Duplicate(
        kind=kind,
        document_id=copy.document_id,
        source=copy.source,
        content=shortened(copy.content_hash),
        kept_content=shortened(kept.content_hash),
        kept_id=kept.document_id,
        kept_source=kept.source,
        similarity=similarity,
    )


class KeepOne(StepFn):
    """Base of steps that keep one of several equal documents."""

    step = "dedup"
    tags: ClassVar[tuple[str, ...]] = (REJECTS, DUPLICATES)

    def drop_copy(self, copy: Document, kept: Document) -> Iterator[Any]:
        """Yield the reject and the Duplicate of a copy."""
        yield self.reject("exact_duplicate", copy, f"kept {kept.document_id!r} from {kept.source}")
        yield beam.pvalue.TaggedOutput(DUPLICATES, duplicate_of("exact", copy, kept, 1.0))


class _KeepOneOfContent(KeepOne):
    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Any]:
        first, *others = sorted(group[1], key=lambda document: (document.document_id, document.source))
        yield first
        for other in others:
            yield from self.drop_copy(other, first)
