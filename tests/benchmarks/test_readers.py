"""Made files of the readers' benchmark, its sides, and marks of extracted texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readers.made_files import ENDINGS, make
from benchmarks.readers.pdf_files import files
from benchmarks.readers.pdf_quality import ours as pdf_text
from benchmarks.readers.quality import Marks, common_subsequence, marks
from benchmarks.readers.sides import PLAIN, ours, report, rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDINGS)
def test_our_reader_and_the_plain_library_read_every_kind(kind: str, tmp_path: Path) -> None:
    path = str(make(kind, tmp_path, 20_000))
    documents, plain = list(ours(kind, path)), list(PLAIN[kind](path))
    assert documents == list(rows(kind, path))
    if kind in ("csv", "jsonl", "parquet", "wet"):
        assert documents == plain and len(plain) > 1
    elif kind != "edgar":  # one document of the plain library, 15 items
        assert len(documents) == len(plain)


def test_a_report_has_the_same_digest_for_the_same_texts_in_any_order() -> None:
    first = report(lambda _: iter(["a", "b"]), "")
    second = report(lambda _: iter(["b ", "a"]), "")
    assert first["digest"] == second["digest"] != report(lambda _: iter(["a", "c"]), "")["digest"]
    assert first["num_documents"] == 2


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("a b c d", Marks(1.0, 1.0)),
        ("c d a b", Marks(1.0, 0.5)),
        ("a b", Marks(2 / 3, 0.5)),
        ("", Marks(0.0, 0.0)),
        ("a b c d Page 1", Marks(0.8, 1.0)),
    ],
)
def test_marks_count_words_and_their_order(found: str, expected: Marks) -> None:
    assert marks(found, "a b c d") == expected


def test_repeated_words_are_matched_in_order() -> None:
    assert common_subsequence(["a", "b", "a", "c", "a"], ["a", "a", "b", "c"]) == 3


def test_files_are_the_same_each_time_and_differ() -> None:
    first, second = files(0, 2), files(0, 2)
    assert [each.text for each in first] == [each.text for each in second]
    assert len({each.text for each in files(0, 3)}) == 3


@pytest.mark.slow
def test_the_reader_gives_the_text_of_made_files() -> None:
    found = [marks(pdf_text(each.data), each.text) for each in files(300, 6)]
    assert min(each.f1 for each in found) > 0.98
    assert sum(each.order for each in found) / len(found) > 0.98
