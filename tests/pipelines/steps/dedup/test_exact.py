from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.steps.dedup.exact import DropDuplicates
from pipelines.steps.newest_versions import KeepNewestVersions
from pipelines.store.duplicate_records import Duplicate
from schemas.records import Document

COPIES = [
    Document.of("b", "The same text.", source="one:1"),
    Document.of("a", "the  SAME text.", source="two:1"),
    Document.of("c", "Another text.", source="one:2"),
]
CONFLICT = "no version says which text is newer; kept the version at two:20"
VERSIONS = [
    Document.of("d", "The first text.", source="one:3", version=1),
    Document.of("d", "The last text.", source="two:20", version=(1 << 48) + 20),
    Document.of("d", "The last  text.", source="two:3", version=(1 << 48) + 3),
    Document.of("d", "The text between.", source="two:9", version=(1 << 48) + 9),
    Document.of("e", "The first text.", source="one:4", version=2),
]


def told(rejects: beam.PCollection) -> beam.PCollection:
    return rejects | beam.Map(
        lambda reject: (reject.stage, reject.reason, reject.document_id, reject.source, reject.detail)
    )


def copy_of(kept: Document, name: str, source: str) -> Duplicate:
    return Duplicate(
        kind="exact",
        document_id=name,
        source=source,
        content=kept.content_hash[:16],
        kept_content=kept.content_hash[:16],
        kept_id=kept.document_id,
        kept_source=kept.source,
        similarity=1.0,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_which_copy_stays_is_decided_by_name_and_never_by_arrival(order: int) -> None:
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create(COPIES[::order]) | DropDuplicates()
        assert_that(done["ok"], equal_to(COPIES[1:]), label="kept")
        assert_that(done["duplicates"], equal_to([copy_of(COPIES[1], "b", "one:1")]), label="duplicates")
        assert_that(
            told(done["rejects"]),
            equal_to([("dedup", "exact_duplicate", "b", "one:1", "kept 'a' from two:1")]),
            label="rejected",
        )


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_of_one_name_the_highest_version_stays_and_an_older_one_keeps_out_no_other_document(
    order: int,
) -> None:
    newest, other = VERSIONS[1], VERSIONS[4]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        newest_of_name = pipeline | beam.Create(VERSIONS[::order]) | KeepNewestVersions((False, False))
        assert_that(newest_of_name["ok"], equal_to([newest, other]), label="kept")
        done = newest_of_name["ok"] | DropDuplicates()
        assert_that(done["ok"], equal_to([newest, other]), label="kept of each content")
        assert_that(
            newest_of_name["duplicates"], equal_to([copy_of(newest, "d", "two:3")]), label="duplicates"
        )
        assert_that(
            told(newest_of_name["rejects"]),
            equal_to(
                [
                    ("dedup", "conflict", "d", "one:3", CONFLICT),
                    ("dedup", "conflict", "d", "two:9", CONFLICT),
                    ("dedup", "exact_duplicate", "d", "two:3", "kept 'd' from two:20"),
                ]
            ),
            label="rejected",
        )
