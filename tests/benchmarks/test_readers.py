"""Made files of the readers' benchmark, its sides, and marks of extracted texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readers import html_files
from benchmarks.readers.html_quality import comparable, defaults
from benchmarks.readers.html_quality import ours as html_main_text
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


def test_pages_are_the_same_each_time_and_of_every_kind_and_language() -> None:
    pages = list(html_files.files())
    assert [each.data for each in pages[:10]] == [each.data for each in html_files.files(0, 10)]
    assert len(pages) >= 30 and len({each.text for each in pages}) > 40
    features = {feature for each in pages for feature in each.features}
    assert {*html_files.KINDS, *(f"language {name}" for name in html_files.TEXTS)} <= features


def test_known_text_of_a_page_has_no_word_of_what_stands_around_it() -> None:
    around = [*html_files.RELATED, *html_files.COMMENTS, html_files.COOKIE, "All rights reserved", "Ana Kolm"]
    for page in html_files.files():
        assert not [each for each in around if each in page.text], page.name
        assert page.text.split()[0] in page.data.decode(_encoding_of(page.data)), page.name


def test_signs_of_lists_and_tables_do_not_count() -> None:
    assert comparable("- a-b\n| c | d |\n|---|---|\ne | f").split() == ["a-b", "c", "d", "e", "f"]
    assert comparable("茶馆 open").split() == ["茶", "馆", "open"]


def test_the_html_reader_keeps_numbers_that_defaults_lose_and_leaves_comments_out() -> None:
    pages = [each for each in html_files.files(0, 20) if {"paper", "blog"} & {*each.features}]
    assert len(pages) == 4
    for page in pages:
        found, known = marks(html_main_text(page.data), comparable(page.text)), comparable(page.text)
        assert found.f1 > 0.99 and found.order > 0.99, page.name
        assert found.f1 > marks(defaults(page.data), known).f1, page.name


def _encoding_of(page: bytes) -> str:
    return page.partition(b'charset="')[2].partition(b'"')[0].decode()
