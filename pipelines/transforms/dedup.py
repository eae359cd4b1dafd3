"""One copy of each text, one text of each name.

Which copy stays is decided by order of names and hashes, never by arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.near.duplicates import Duplicate, shortened
from pipelines.transforms.base import REJECTS, StepFn
from schemas.records import Document

DUPLICATES = "duplicates"


class Deduplicated(NamedTuple):
    """What DropDuplicates gives.

    Attributes:
        kept: One document of each content and name.
        rejects: The others.
        duplicates: Those of them that are copies, with what each was dropped for.
    """

    kept: beam.PCollection
    rejects: beam.PCollection
    duplicates: beam.PCollection


class DropDuplicates(beam.PTransform):
    """Exact dedup within a run: by content hash, then by document_id."""

    def __init__(self, progress_dir: str | None):
        super().__init__()
        self.progress_dir = progress_dir

    def expand(self, documents: beam.PCollection) -> Deduplicated:
        by_content = (
            documents
            | "KeyByContent" >> beam.Map(lambda document: (document.content_hash, document))
            | "GroupByContent" >> beam.GroupByKey()
            | "KeepOneOfContent"
            >> beam.ParDo(_KeepFirst("exact_duplicate", self.progress_dir)).with_outputs(
                REJECTS, DUPLICATES, main="kept"
            )
        )
        by_id = (
            by_content.kept
            | "KeyById" >> beam.Map(lambda document: (document.document_id, document))
            | "GroupById" >> beam.GroupByKey()
            | "KeepOneOfId"
            >> beam.ParDo(_KeepFirst("duplicate_id", self.progress_dir)).with_outputs(REJECTS, main="kept")
        )
        rejects = (by_content[REJECTS], by_id[REJECTS]) | "MergeDuplicates" >> beam.Flatten()
        return Deduplicated(kept=by_id.kept, rejects=rejects, duplicates=by_content[DUPLICATES])


class _KeepFirst(StepFn):
    def __init__(self, reason: str, progress_dir: str | None):
        super().__init__("dedup", progress_dir)
        self.reason = reason

    def process(self, group: tuple[str, Iterable[Document]]) -> Iterator[Any]:
        first, *others = sorted(
            group[1], key=lambda document: (document.document_id, document.content_hash, document.source)
        )
        yield first
        for other in others:
            yield self.reject(
                self.reason,
                document_id=other.document_id,
                source=other.source,
                detail=f"kept {first.document_id!r} from {first.source}",
            )
            if other.content_hash == first.content_hash:
                duplicate = Duplicate(
                    kind="exact",
                    document_id=other.document_id,
                    source=other.source,
                    content=shortened(other.content_hash),
                    kept_content=shortened(first.content_hash),
                    kept_id=first.document_id,
                    kept_source=first.source,
                    similarity=1.0,
                )
                yield beam.pvalue.TaggedOutput(DUPLICATES, duplicate)
