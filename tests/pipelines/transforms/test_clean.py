from __future__ import annotations

import random

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.transforms.base import REJECTS
from pipelines.transforms.clean import CleanDocuments, clean_text
from schemas.corpus_config import CleanConfig
from schemas.records import Document, Reject


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a b \n", "a b"),
        ("a\r\nb\rc\u2028d\u2029e", "a\nb\nc\nd\ne"),
        ("page one\x0cpage two\x0bline\x85line", "page one\npage two\nline\nline"),
        ("a \t\nb", "a\nb"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\n \n\t\n\nb", "a\n\nb"),
        ("e\u0301", "\u00e9"),
        ("a\x00b\x07c\ufeffd\x9fe", "abcde"),
        ("a \x00\nb", "a\nb"),
        ("\n\x00\n\nb", "b"),
        ("tab\tinside  and spaces stay", "tab\tinside  and spaces stay"),
        ("<|endoftext|> </END> {braces} %s", "<|endoftext|> </END> {braces} %s"),
    ],
)
def test_text_is_made_regular(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize("seed", range(200))
def test_cleaning_twice_changes_nothing_more(seed: int) -> None:
    rng = random.Random(seed)
    raw = "".join(rng.choices("ae\u0301 \t\r\n\x00\x0b\x0c\x85\u2028\ufeff\u00a0", k=30))
    once = clean_text(raw)
    assert clean_text(once) == once


def test_documents_outside_the_lengths_are_rejected_with_what_was_found() -> None:
    documents = [
        Document.of("short", "two words", source="a.txt:1"),
        Document.of("good", "these\r\nare four words", source="a.txt:2", metadata={"title": "T"}),
        Document.of("long", "one two three " * 4, source="a.txt:3"),
    ]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = (
            pipeline
            | beam.Create(documents)
            | beam.ParDo(CleanDocuments(CleanConfig(min_words=3, max_characters=40), None)).with_outputs(
                REJECTS, main="ok"
            )
        )
        assert_that(
            done.ok,
            equal_to(
                [Document.of("good", "these\nare four words", source="a.txt:2", metadata={"title": "T"})]
            ),
            label="kept",
        )
        assert_that(
            done[REJECTS],
            equal_to(
                [
                    Reject(
                        stage="clean",
                        reason="too_short",
                        document_id="short",
                        source="a.txt:1",
                        detail="2 words, at least 3",
                    ),
                    Reject(
                        stage="clean",
                        reason="too_long",
                        document_id="long",
                        source="a.txt:3",
                        detail="55 characters, at most 40",
                    ),
                ]
            ),
            label="rejected",
        )
