"""Reader `pdf`: heads and feet, comments, words outside of the page: what is left out is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfbase.pdfdoc import (
    PDFArray,
    PDFDictionary,
    PDFName,
    PDFObjectReference,
    PDFString,
    xObjectName,
)

from schemas.records import Document
from tests.plugins.readers.pdf_making import LEFT, PROSE, Maker, text_of
from tests.plugins.readers.reading import only_reject, places, read, texts, write


def with_heads(num_pages: int) -> Maker:
    made = Maker()
    for number in range(1, num_pages + 1):
        side = 400 if number % 2 else LEFT
        made.text(side, 800, "Guideline 2024 on nerves", size=9).text(290, 30, f"- {number} -", size=9)
        made.lines([f"Page {'abcdefgh'[number]} tells what no other page of it does.", *PROSE]).page()
    return made


def test_heads_feet_and_page_numbers_are_left_out_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", with_heads(4).save())
    (found,) = read("pdf", path, metadata_fields=["removed", "num_removed", "num_pages"])
    assert isinstance(found, Document)
    assert "Guideline" not in found.text and "- 2 -" not in found.text
    assert found.text.count("tells what no other page") == 4 and found.text.count("stairs") == 4
    removed = "Guideline 2024 on nerves\n- 1 -"
    assert found.metadata == {"removed": removed, "num_removed": "8", "num_pages": "4"}


@pytest.mark.parametrize("num_pages", [2, 4])
@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        ("Dose for group {number}: {dose} mg", True),
        ("P{number}L2 of the body", True),
        ("The dose is {number}.5 mg", True),
        ("Page {number} of 12", False),
        ("{number}/12", False),
        ("Supplement S{label}", False),
        ("12 May 2024 {label}", False),
    ],
)
def test_a_line_whose_numbers_count_no_pages_stays(
    tmp_path: Path, num_pages: int, line: str, is_kept: bool
) -> None:
    made, lines = Maker(), []
    for number in range(1, num_pages + 1):
        lines.append(line.format(number=number, dose=5 * number, label=number + 100))
        made.text(LEFT, 800, lines[-1]).lines(["abcde"[number] + " begins this page."]).page()
    text = text_of(made, tmp_path)
    assert [each in text for each in lines] == [is_kept] * num_pages


def test_a_head_with_the_number_of_its_chapter_is_left_out_where_it_repeats(tmp_path: Path) -> None:
    made = Maker()
    for number in range(1, 8):
        made.text(LEFT, 800, f"Chapter {1 + number // 4} - {number}").lines(["abcdefgh"[number]]).page()
    (found,) = read("pdf", write(tmp_path / "a.pdf", made.save()), metadata_fields=["removed", "num_removed"])
    assert isinstance(found, Document)
    assert found.text == "b c d e f g h"
    assert found.metadata == {"removed": "Chapter 1 - 1\nChapter 2 - 4", "num_removed": "7"}


def test_heads_are_kept_on_request(tmp_path: Path) -> None:
    assert text_of(with_heads(4), tmp_path, keep_heads=True).count("Guideline 2024") == 4


def test_numbers_at_the_end_of_pages_that_count_no_pages_stay(tmp_path: Path) -> None:
    made = Maker()
    for dose in (140, 72, 9, 33):
        made.lines(PROSE).text(LEFT, 40, str(dose)).page()
    assert {"140", "72", "9", "33"} <= {*text_of(made, tmp_path).split()}


def test_roman_page_numbers_are_left_out(tmp_path: Path) -> None:
    made = Maker()
    for number in ("i", "ii", "iii", "iv"):
        made.lines(PROSE).text(290, 40, number).page()
    assert {"i", "ii", "iii", "iv"} & {*text_of(made, tmp_path).split()} == set()


def test_a_page_that_does_not_begin_at_zero_has_its_heads_too(tmp_path: Path) -> None:
    made = Maker()
    for _ in range(3):
        made.canvas.setCropBox((0, 400, 595, 842))
        made.lines(PROSE).text(LEFT, 420, "Guideline 2024", size=9).page()
    assert "Guideline" not in text_of(made, tmp_path)


def annotated(kind: str, contents: str, appearance: str = "") -> bytes:
    """A file of a page with a text, and an annotation that may draw another."""
    made = Maker().lines(PROSE)
    if appearance:
        made.canvas.beginForm("drawn", 0, 0, 200, 20)
        made.text(0, 5, appearance)
        made.canvas.endForm()
        made.canvas.setFont("Helvetica", 11)
    annotation: dict[str, Any] = {
        "Type": PDFName("Annot"),
        "Subtype": PDFName(kind),
        "Contents": PDFString(contents),
        "Rect": PDFArray([LEFT, 300, LEFT + 200, 320]),
        "F": 4,
    }
    if appearance:
        annotation["AP"] = PDFDictionary({"N": PDFObjectReference(xObjectName("drawn"))})
    made.canvas._addAnnotation(PDFDictionary(annotation))
    return made.page().save()


def test_text_that_was_written_over_a_page_is_text_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", annotated("FreeText", "66 mg", "Give 66 mg"))
    assert places(path, read("pdf", path)) == [("", " ".join(PROSE) + "\n\nGive 66 mg")]


@pytest.mark.parametrize(
    ("kind", "contents"), [("Text", "Is it 66 mg?"), ("Highlight", "66"), ("FreeText", "6")]
)
def test_a_comment_is_told(tmp_path: Path, kind: str, contents: str) -> None:
    found = read("pdf", write(tmp_path / "a.pdf", annotated(kind, contents)))
    assert texts(found[:1]) == [" ".join(PROSE)]
    assert (only_reject(found).reason, only_reject(found).detail) == (
        "left_out",
        "what is no text of its pages: 1 comments",
    )


@pytest.mark.parametrize("kind", ["Link", "Popup"])
def test_a_link_and_a_mark_without_words_are_no_comments(tmp_path: Path, kind: str) -> None:
    assert texts(read("pdf", write(tmp_path / "a.pdf", annotated(kind, "somewhere")))) == [" ".join(PROSE)]
    assert texts(read("pdf", write(tmp_path / "a.pdf", annotated("Highlight", "")))) == [" ".join(PROSE)]


@pytest.mark.parametrize(("x", "y"), [(-500, 400), (700, 400), (LEFT, -90), (LEFT, 900)])
def test_text_outside_the_page_is_left_out_and_told(tmp_path: Path, x: float, y: float) -> None:
    found = read(
        "pdf", write(tmp_path / "a.pdf", Maker().lines(PROSE).text(x, y, "OFFPAGE 997").page().save())
    )
    assert texts(found[:1]) == [" ".join(PROSE)]
    assert only_reject(found).detail == "what is no text of its pages: 2 words outside of pages"
