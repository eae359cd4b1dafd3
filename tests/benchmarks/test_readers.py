"""Marks of extracted texts, and the made PDF files."""

from __future__ import annotations

import pytest

from benchmarks.readers.pdf_files import files
from benchmarks.readers.pdf_quality import ours
from benchmarks.readers.quality import Marks, common_subsequence, marks


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
    found = [marks(ours(each.data), each.text) for each in files(300, 6)]
    assert min(each.f1 for each in found) > 0.98
    assert sum(each.order for each in found) / len(found) > 0.98
