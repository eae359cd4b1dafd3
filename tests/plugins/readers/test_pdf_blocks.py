"""Tables, lists and lines of code of PDF files as word processors and reportlab set them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.platypus import (
    ListFlowable,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from tests.plugins.readers.reading import read, texts

STYLES = getSampleStyleSheet()
LONG = (
    "The usual treatment of asthma is an inhaler with a steroid, which the patient uses every day at the "
    "same hour and with clean hands."
)
RULED = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)])


def paragraph(text: str) -> Paragraph:
    return Paragraph(text, STYLES["Normal"])


def text_of(path: Path, story: list[Any]) -> str:
    SimpleDocTemplate(str(path / "a.pdf")).build(story)
    (text,) = texts(read("pdf", path / "a.pdf"))
    return text


@pytest.mark.parametrize("style", [RULED, TableStyle([])], ids=["ruled", "plain"])
def test_narrow_tables_keep_their_cells_apart_and_one_from_the_next(
    tmp_path: Path, style: TableStyle
) -> None:
    tables: list[Sequence[Sequence[str]]] = [
        [["Drug", "Dose"], ["aspirin", "100 mg"], ["ibuprofen", "400 mg"]],
        [["A", "B", "C", "D"], ["1", "2", "3", "4"], ["5", "6", "7", "8"]],
    ]
    first, second = (Table(table, style=style) for table in tables)
    assert text_of(tmp_path, [first, Spacer(1, 12), second]) == (
        "Drug\tDose\naspirin\t100 mg\nibuprofen\t400 mg\n\nA\tB\tC\tD\n1\t2\t3\t4\n5\t6\t7\t8"
    )


def test_empty_cells_of_a_narrow_table_keep_their_columns(tmp_path: Path) -> None:
    rows = [["A", "B", "C", "D"], ["1", "", "3", "4"], ["5", "6", "", "8"], ["", "6", "", ""]]
    story = [paragraph(LONG), Table(rows, style=RULED), paragraph(LONG)]
    assert text_of(tmp_path, story) == f"{LONG}\nA\tB\tC\tD\n1\t\t3\t4\n5\t6\t\t8\n\t6\n{LONG}"


def test_a_column_is_one_though_no_row_has_all(tmp_path: Path) -> None:
    rows = [["" if (at + row) % 3 == 0 else f"{row}{at}" for at in range(6)] for row in range(1, 5)]
    assert text_of(tmp_path, [paragraph(LONG), Table(rows, style=RULED)]) == f"{LONG}\n" + "\n".join(
        "\t".join(row).rstrip("\t") for row in rows
    )


def test_numbers_in_two_narrow_columns_stay_apart(tmp_path: Path) -> None:
    rows = [["A", "B"], ["1", "2"], ["13", "14"], ["250", "300"]]
    assert text_of(tmp_path, [Table(rows, style=RULED)]) == "A\tB\n1\t2\n13\t14\n250\t300"


@pytest.mark.parametrize(("kind", "marks"), [("1", "123"), ("bullet", "•••")])
def test_items_of_a_list_have_a_line_each(tmp_path: Path, kind: str, marks: str) -> None:
    items = ["Take 5 mg", "Take 10 mg daily and wait for the doctor", "Stop"]
    story = [
        paragraph(LONG),
        ListFlowable([paragraph(each) for each in items], bulletType=kind),
        paragraph(LONG),
    ]
    listed = "\n".join(f"{mark} {item}" for mark, item in zip(marks, items, strict=True))
    assert text_of(tmp_path, story) == f"{LONG}\n\n{listed}\n\n{LONG}"


def test_lines_of_code_stay_lines(tmp_path: Path) -> None:
    code = "dose = 5\nroute = oral\n  indented = 7\n\nlast = 9"
    story = [paragraph(LONG), Preformatted(code, STYLES["Code"]), paragraph(LONG)]
    assert text_of(tmp_path, story) == (
        f"{LONG}\n\ndose = 5\nroute = oral\nindented = 7\n\nlast = 9\n\n{LONG}"
    )


@pytest.mark.parametrize("indent", [8, 12, 24])
def test_an_indent_alone_begins_a_paragraph(tmp_path: Path, indent: int) -> None:
    style = ParagraphStyle("indented", parent=STYLES["Normal"], firstLineIndent=indent)
    story = [Paragraph(f"{LONG} {LONG} The end is {number}.", style) for number in (1, 2, 3)]
    assert text_of(tmp_path, story) == "\n\n".join(
        f"{LONG} {LONG} The end is {number}." for number in (1, 2, 3)
    )


def test_a_narrow_block_of_prose_is_one_paragraph(tmp_path: Path) -> None:
    narrow = ParagraphStyle("quote", parent=STYLES["Normal"], leftIndent=60, rightIndent=160)
    story = [
        paragraph(LONG),
        Spacer(1, 12),
        Paragraph(f"{LONG} {LONG}", narrow),
        Spacer(1, 12),
        paragraph(LONG),
    ]
    assert text_of(tmp_path, story) == f"{LONG}\n\n{LONG} {LONG}\n\n{LONG}"
