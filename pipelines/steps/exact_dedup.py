"""One text of each name, the newest; one copy of each text.

Names come first, so that an older version keeps out no other document that has the same text. They are
settled before a text is cleaned or refused: an older version does not take the place of a refused one.

Which one stays is decided by versions, names and hashes, never by arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.steps.base import REJECTS, StepFn
from pipelines.store.duplicate_records import Duplicate, shortened
from schemas.records import Document

DUPLICATES = "duplicates"


class Deduplicated(NamedTuple):
    """What is left of documents.

    Attributes:
        kept: One document of each name, or of each content.
        rejects: The others.
        duplicates: Those of them that have the content of the one that was kept, and which that is.
    """

    kept: beam.PCollection
    rejects: beam.PCollection
    duplicates: beam.PCollection


class KeepNewestVersions(beam.PTransform):
    """Keep of all documents with one document_id the one with the highest version."""

    def __init__(self, progress_dir: str | None):
        super().__init__()
        self.progress_dir = progress_dir

    def expand(self, documents: beam.PCollection) -> Deduplicated:
        found = (
            documents
            | "KeyById" >> beam.Map(lambda document: (document.document_id, document))
            | "GroupById" >> beam.GroupByKey()
            | "KeepNewest"
            >> beam.ParDo(_KeepNewest(self.progress_dir)).with_outputs(REJECTS, DUPLICATES, main="kept")
        )
        return Deduplicated(kept=found.kept, rejects=found[REJECTS], duplicates=found[DUPLICATES])


class DropDuplicates(beam.PTransform):
    """Keep of all documents with one content the one whose document_id comes first."""

    def __init__(self, progress_dir: str | None):
        super().__init__()
        self.progress_dir = progress_dir

    def expand(self, documents: beam.PCollection) -> Deduplicated:
        found = (
            documents
            | "KeyByContent" >> beam.Map(lambda document: (document.content_hash, document))
            | "GroupByContent" >> beam.GroupByKey()
            | "KeepOneOfContent"
            >> beam.ParDo(_KeepOneOfContent(self.progress_dir)).with_outputs(REJECTS, DUPLICATES, main="kept")
        )
        return Deduplicated(kept=found.kept, rejects=found[REJECTS], duplicates=found[DUPLICATES])


class _KeepOne(StepFn):
    def __init__(self, progress_dir: str | None):
        super().__init__("dedup", progress_dir)

    def _drop_copy(self, copy: Document, kept: Document) -> Iterator[Any]:
        yield self.reject(
            "exact_duplicate",
            document_id=copy.document_id,
            source=copy.source,
            detail=f"kept {kept.document_id!r} from {kept.source}",
        )
        duplicate = Duplicate(
            kind="exact",
            document_id=copy.document_id,
            source=copy.source,
            content=shortened(copy.content_hash),
            kept_content=shortened(kept.content_hash),
            kept_id=kept.document_id,
            kept_source=kept.source,
            similarity=1.0,
        )
        yield beam.pvalue.TaggedOutput(DUPLICATES, duplicate)


class _KeepNewest(_KeepOne):
    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Any]:
        newest, *others = sorted(
            group[1],
            key=lambda document: (document.version, document.content_hash, document.source),
            reverse=True,
        )
        yield newest
        for other in others:
            if other.content_hash == newest.content_hash:
                yield from self._drop_copy(other, newest)
            else:
                yield self.reject(
                    "older_version",
                    document_id=other.document_id,
                    source=other.source,
                    detail=f"kept the version at {newest.source}",
                )


class _KeepOneOfContent(_KeepOne):
    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Any]:
        first, *others = sorted(group[1], key=lambda document: (document.document_id, document.source))
        yield first
        for other in others:
            yield from self._drop_copy(other, first)
