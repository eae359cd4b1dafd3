from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.near.duplicates import Duplicate
from pipelines.transforms.dedup import DropDuplicates
from schemas.records import Document

DOCUMENTS = [
    Document.of("b", "The same text.", source="one:1"),
    Document.of("a", "the  SAME text.", source="two:1"),
    Document.of("c", "Another text.", source="one:2"),
    Document.of("d", "First text of d.", source="one:3"),
    Document.of("d", "Second text of d.", source="two:2"),
]


@pytest.mark.parametrize("order", [1, -1])
def test_which_copy_stays_is_decided_by_name_and_never_by_arrival(order: int) -> None:
    first_d, second_d = sorted(DOCUMENTS[3:], key=lambda document: document.content_hash)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create(DOCUMENTS[::order]) | DropDuplicates(None)
        assert_that(done.kept, equal_to([DOCUMENTS[1], DOCUMENTS[2], first_d]), label="kept")
        content = DOCUMENTS[0].content_hash[:16]
        duplicate = Duplicate(
            kind="exact",
            document_id="b",
            source="one:1",
            content=content,
            kept_content=content,
            kept_id="a",
            kept_source="two:1",
            similarity=1.0,
        )
        assert_that(done.duplicates, equal_to([duplicate]), label="duplicates")
        assert_that(
            done.rejects
            | beam.Map(
                lambda reject: (reject.stage, reject.reason, reject.document_id, reject.source, reject.detail)
            ),
            equal_to(
                [
                    ("dedup", "exact_duplicate", "b", "one:1", "kept 'a' from two:1"),
                    ("dedup", "duplicate_id", "d", second_d.source, f"kept 'd' from {first_d.source}"),
                ]
            ),
            label="rejected",
        )
