"""Versions and deletions of rows: which values are read, in which order, and what is refused."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pytest

from plugins.readers import open_reader
from plugins.readers.row_versions import (
    MISSING,
    UNDATED_DELETION,
    are_unlike,
    means_deleted,
    shown,
    stamp_of,
    time_stamp,
)
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document
from tests.plugins.readers.reading import jsonl, only_reject, read, write

NUMBERS: list[Any] = [-3, "-2.5", 0, "0.1", 0.2, decimal.Decimal("1.000000000001"), "2", 9, "10", 10**20]
TIMES: list[Any] = [
    "1969-12-31",
    datetime.date(2019, 3, 1),
    "2019-03-01T00:00:00.000000001Z",
    {"Year": "2019", "Month": "3", "Day": "2"},
    "2025-03",
    "2025-03-01 11:30+02:00",
    "2025-03-01T10:00",
    datetime.datetime(2025, 3, 1, 10, 0, 1, 5),
    b"9999-12-31",
]


@pytest.mark.parametrize("values", [NUMBERS, TIMES])
def test_stamps_are_in_the_order_of_the_versions(values: list[Any]) -> None:
    stamps = [stamp_of(value) for value in values]
    assert stamps == sorted(set(stamps)) and {len(stamp) for stamp in stamps} == {32}
    assert stamps[0] > MISSING and stamps[-1] < UNDATED_DELETION


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10"),
        ("1.50", "1.5"),
        (-3, "-3"),
        ("2025-03-01", "2025-03-01"),
        ({"Year": 2019, "Month": 3, "Day": 1}, "2019-03-01"),
        ("2025-03-01T11:30:00.5+02:00", "2025-03-01T09:30:00.5"),
        (None, "none"),
        (" ", "none"),
    ],
)
def test_a_stamp_shows_its_version(value: Any, text: str) -> None:
    assert shown(stamp_of(value)) == text


def test_equal_versions_have_equal_stamps_and_numbers_and_times_are_unlike() -> None:
    assert stamp_of("1.0") == stamp_of(1) == stamp_of(b"1")
    assert stamp_of("2025-03-01") == stamp_of("2025-03-01T00:00Z") == time_stamp(1740787200 * 10**9)
    assert are_unlike(stamp_of(1), stamp_of("2025-03-01"))
    assert not are_unlike(stamp_of(1), MISSING) and not are_unlike(UNDATED_DELETION, stamp_of(1))


@pytest.mark.parametrize(
    "value",
    [
        *(True, "v2", "1.2.3", "2025-13-01", "March 2025", "2025-03-01T25:00", "0001-01-01T00:00+14:00"),
        *(float("nan"), "inf", 10**30, "1e-13", "1e999999", [1], {"Year": "2025"}),
    ],
)
def test_what_is_no_version_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a number, or an ISO date"):
        stamp_of(value)


def test_what_marks_a_deletion() -> None:
    marks = [True, 1, "yes", "TRUE", b"1", "2025-03-01", datetime.date(2025, 3, 1)]
    assert [value for value in marks if not means_deleted(value)] == []
    none = [False, 0, "no", "False", "", None, b"0", 0.0]
    assert [value for value in none if means_deleted(value)] == []
    for unclear in ("maybe", 2, [True]):
        with pytest.raises(ValueError, match="expected true or false, or the date of a deletion"):
            means_deleted(unclear)


def test_a_row_has_the_stamp_of_its_field_and_a_bad_one_costs_the_row(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "One.", "at": {"rev": 3}},
        {"id": "b", "text": "Two."},
        {"id": "c", "text": "Three.", "at": {"rev": "third"}},
        {"id": "d", "gone": True, "at": {"rev": 4}},
        {"id": 5, "gone": "yes"},
        {"id": "f", "text": "Six.", "gone": "maybe"},
        {"gone": True},
    ]
    path = write(tmp_path / "a.jsonl", jsonl(*rows))
    found = read("jsonl", path, id_field="id", version_field="at.rev", deleted_field="gone")
    documents = [each for each in found if isinstance(each, Document)]
    assert [(each.document_id, each.text, shown(each.stamp), each.is_deleted) for each in documents] == [
        ("a", "One.", "3", False),
        ("b", "Two.", "none", False),
        ("d", "", "4", True),
        ("5", "", "deletion", True),
    ]
    rejects = [each for each in found if not isinstance(each, Document)]
    expected = "expected a number, or an ISO date such as 2025-03-01 or 2025-03-01T12:30:00Z"
    assert [(each.reason, each.detail) for each in rejects] == [
        ("bad_version", f"field 'at.rev' holds 'third', {expected}"),
        ("bad_version", "field 'gone' holds 'maybe', expected true or false, or the date of a deletion"),
        ("missing_id", "a deletion without an id in field 'id'"),
    ]


def test_without_the_keys_rows_have_no_stamp(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl({"id": "a", "text": "One.", "version": "?", "deleted": "?"}))
    (found,) = read("jsonl", path, id_field="id")
    assert isinstance(found, Document) and (found.stamp, found.is_deleted) == ("", False)


ARTICLE = """<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version="2">8</PMID>{}
<Article><ArticleTitle>A title.</ArticleTitle></Article></MedlineCitation></PubmedArticle>
<DeleteCitation><PMID Version="1">9</PMID></DeleteCitation></PubmedArticleSet>"""
REVISED = "<DateRevised><Year>2025</Year><Month>{}</Month><Day>1</Day></DateRevised>"


def test_the_preset_of_pubmed_reads_revisions_and_deletions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", ARTICLE.format(REVISED.format("03")).encode())
    article, deletion = read(None, path, preset="pubmed")
    assert isinstance(article, Document) and isinstance(deletion, Document)
    assert (article.document_id, shown(article.stamp), article.is_deleted) == ("8", "2025-03-01", False)
    assert (deletion.document_id, deletion.stamp, deletion.is_deleted) == ("9", UNDATED_DELETION, True)
    article, deletion = read(None, path, preset="pubmed", version_field="version")
    assert isinstance(article, Document) and isinstance(deletion, Document)
    assert (shown(article.stamp), shown(deletion.stamp), deletion.is_deleted) == ("2", "1", True)


def test_a_revision_date_that_cannot_be_read_costs_the_article(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", ARTICLE.format(REVISED.format("Mar")).encode())
    reject = only_reject(read(None, path, preset="pubmed"))
    assert reject.reason == "bad_version" and "'2025-Mar-01'" in reject.detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version_field": "v"}, r"sets version_field, .* It needs id_field"),
        ({"deleted_field": "v"}, r"sets deleted_field, .* It needs id_field"),
        ({"newest": "by_time"}, r"sets newest, .* It needs id_field"),
        ({"id_field": "i", "version_field": "v", "newest": "by_time"}, "both say which row is the newest"),
        (
            {"id_field": "i", "deleted_field": "v", "pairs_field": "."},
            "and excludes pairs_field",
        ),
        ({"id_field": "i", "newest": "by_time", "reader": "huggingface"}, "knows no times of change"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_reader(SourceConfig.model_validate({"uri": "a", "reader": "jsonl", **changes}))
