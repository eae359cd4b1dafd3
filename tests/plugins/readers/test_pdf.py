"""Reader `pdf`: text, order, heads and feet, numbers, pages, metadata."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

from plugins.readers import pdf
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.pdf_making import LEFT, PROSE, STEP, TOP, Maker, pdf_of, text_of
from tests.plugins.readers.reading import places, read, write


def test_lines_become_paragraphs(tmp_path: Path) -> None:
    made = Maker().lines(PROSE).lines(PROSE[::-1], y=TOP - 3 * STEP - 10).page()
    assert text_of(made, tmp_path) == " ".join(PROSE) + "\n\n" + " ".join(PROSE[::-1])


def test_an_indented_line_begins_a_paragraph(tmp_path: Path) -> None:
    made = Maker().lines(PROSE).text(LEFT + 20, TOP - 3 * STEP, "Indented text begins here and goes on over")
    made.lines(PROSE[:1], y=TOP - 4 * STEP).page()
    first, second = text_of(made, tmp_path).split("\n\n")
    assert (first, second.split()[0]) == (" ".join(PROSE), "Indented")


def test_a_larger_line_is_a_heading(tmp_path: Path) -> None:
    made = Maker().text(LEFT, TOP + STEP, "1 Methods", size=14).lines(PROSE).page()
    assert text_of(made, tmp_path) == "1 Methods\n\n" + " ".join(PROSE)


def test_list_items_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    made = Maker().lines(["Give one of these:", "• aspirin, 100 mg", "• heparin"]).page()
    assert text_of(made, tmp_path) == "Give one of these:\n• aspirin, 100 mg\n• heparin"


@pytest.mark.parametrize("is_drawn_by_row", [False, True])
def test_columns_are_read_one_after_the_other(tmp_path: Path, is_drawn_by_row: bool) -> None:
    left = [f"left line {number} with words enough to fill" for number in range(8)]
    right = [f"right line {number} with words enough too" for number in range(8)]
    made = Maker().text(
        LEFT, TOP + 20, "A heading that is as wide as the page, above both of the columns", size=14
    )
    if is_drawn_by_row:
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            made.text(LEFT, TOP - at * STEP, one).text(310, TOP - at * STEP, other)
    else:
        made.lines(right, x=310).lines(left)
    heading, body = text_of(made.page(), tmp_path).split("\n\n")
    assert heading.startswith("A heading that")
    assert body == " ".join([*left, *right])


def test_a_table_is_read_by_row_with_its_cells_apart(tmp_path: Path) -> None:
    rows = [("Drug", "Dose", "Route"), ("aspirin", "100 mg", "oral"), ("heparin", "5000 IU", "s.c.")] * 3
    made = Maker()
    for at, row in enumerate(rows):
        for place, cell in zip((LEFT, 200, 330), row, strict=True):
            made.text(place, TOP - at * STEP, cell)
    assert text_of(made.page(), tmp_path) == "\n".join("\t".join(row) for row in rows)


def test_a_table_below_both_columns_follows_them(tmp_path: Path) -> None:
    left = [f"left line {number} with words enough to fill" for number in range(8)]
    made = Maker().lines([*left, "and the end of it is mod-"])
    made.lines(
        [
            "erate on the right side, as here",
            *(f"right line {number} with words enough too" for number in range(9)),
        ],
        x=310,
    )
    for at, cells in enumerate((("Drug", "Dose"), ("Alpha", "5"), ("Delta", "10"))):
        made.text(LEFT, TOP - (14 + at) * STEP, cells[0]).text(130, TOP - (14 + at) * STEP, cells[1])
    body, table = text_of(made.page(), tmp_path).split("\n\n")
    assert "and the end of it is moderate on the right side" in body
    assert table == "Drug\tDose\nAlpha\t5\nDelta\t10"


def test_a_paragraph_below_the_end_of_the_right_column_belongs_to_the_left(tmp_path: Path) -> None:
    left = [f"left line {number} with words enough to fill" for number in range(12)]
    made = Maker().lines(left[:6]).lines(left[6:], y=TOP - 8 * STEP)
    made.lines((f"right line {number} with words enough too" for number in range(6)), x=310)
    assert re.findall("left|right", text_of(made.page(), tmp_path)) == ["left"] * 12 + ["right"] * 6


def table_of(rows: Sequence[str], path: Path, *, rights: Sequence[float] = ()) -> str:
    """Read rows whose cells `|` separates; columns whose right side is given are set flush right."""
    made = Maker()
    for at, row in enumerate(rows):
        for number, cell in enumerate(row.split("|")):
            x = (LEFT, 200, 330)[number]
            if number and rights:
                x = rights[number - 1] - made.canvas.stringWidth(cell, "Helvetica", 11)
            if cell:
                made.text(x, TOP - at * STEP, cell)
    return text_of(made.page(), path)


@pytest.mark.parametrize("rights", [(), (250, 380)])
def test_a_cell_keeps_its_column_beside_empty_ones(tmp_path: Path, rights: Sequence[float]) -> None:
    rows = ["Drug|Adults|Children", "Alpha|5|2", "Beta||3", "Gamma|10|", "||(4)", "Delta|1,200|0.5"]
    lines = [
        "Drug\tAdults\tChildren",
        "Alpha\t5\t2",
        "Beta\t\t3",
        "Gamma\t10",
        "\t\t(4)",
        "Delta\t1,200\t0.5",
    ]
    assert table_of(rows, tmp_path, rights=rights) == "\n".join(lines)


def test_cells_with_a_narrow_gap_are_apart_as_in_other_rows(tmp_path: Path) -> None:
    made = Maker().text(LEFT, TOP, "Drug").text(120, TOP, "Dose (mg)").text(186, TOP, "Range")
    for at, (drug, dose, span) in enumerate((("Alpha", "5", "1-10"), ("Beta", "", "20-30")), start=1):
        made.text(LEFT, TOP - at * STEP, drug).text(186, TOP - at * STEP, span)
        made.text(120, TOP - at * STEP, dose)
    assert text_of(made.page(), tmp_path) == "Drug\tDose (mg)\tRange\nAlpha\t5\t1-10\nBeta\t\t20-30"


def test_a_cell_over_two_columns_is_in_neither(tmp_path: Path) -> None:
    made = Maker().text(220, TOP, "Dose in mg of the drug by age").text(420, TOP, "N")
    for at, cells in enumerate((("Alpha", "5", "2", "31"), ("Beta", "7", "3", "33")), start=1):
        for x, cell in zip((LEFT, 200, 330, 420), cells, strict=True):
            made.text(x, TOP - at * STEP, cell)
    text = "Dose in mg of the drug by age\tN\nAlpha\t5\t2\t31\nBeta\t7\t3\t33"
    assert text_of(made.page(), tmp_path) == text


@pytest.mark.parametrize(
    ("above", "below", "joined"),
    [
        ("it causes hyper-", "tension in most", "it causes hypertension in most"),
        ("a dose of 10-", "20 mg a day", "a dose of 10-20 mg a day"),
        ("cases of COVID-", "19 were seen", "cases of COVID-19 were seen"),
        ("a well-known, well-", "known name", "a well-known, well-known name"),
        ("the range - ", "wide as it is", "the range - wide as it is"),
        ("pre-", "and post-operative care", "pre- and post-operative care"),
        ("thousand of thous-", "and more", "thousand of thousand more"),
        ("see https://example.org/a-", "b/c", "see https://example.org/a-b/c"),
        ("a well-", "known name is known to do well", "a well-known name is known to do well"),
        ("wellknown, known, well, well-", "known too", "wellknown, known, well, wellknown too"),
    ],
)
def test_hyphenation_is_undone_and_no_number_is_joined(
    tmp_path: Path, above: str, below: str, joined: str
) -> None:
    assert text_of(Maker().lines([above, below]).page(), tmp_path) == joined


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((("count 10", 0), ("6", 0.4), (" per ml", 0)), "count 10^6 per ml"),
        ((("10", 0), ("-6", 0.4), (" mol", 0)), "10^-6 mol"),
        ((("H", 0), ("2", -0.2), ("O and more", 0)), "H2O and more"),
        ((("x", 0), ("1", -0.2), ("2 mg", 0)), "x_(1)2 mg"),
        ((("18", 0.4), ("F labelled", 0)), "18F labelled"),
        ((("of 140", 0), ("a", 0.4), (" mg", 0)), "of 140^a mg"),
        ((("of 106 mg", 0),), "of 106 mg"),
    ],
)
def test_a_raised_or_lowered_number_joins_no_other(
    tmp_path: Path, pieces: tuple[tuple[str, float], ...], text: str
) -> None:
    assert text_of(Maker().scripts(LEFT, TOP, *pieces).page(), tmp_path) == text


def test_a_raised_number_that_is_drawn_first_stays_with_its_base(tmp_path: Path) -> None:
    made = Maker().text(LEFT + 12.24, TOP + 4.4, "6", size=7).text(LEFT, TOP, "10").lines(PROSE, y=TOP - STEP)
    assert text_of(made.page(), tmp_path).startswith("10^6\n")


def test_a_raised_number_as_large_as_its_base_joins_it_not(tmp_path: Path) -> None:
    made = Maker().text(LEFT, TOP, "10").text(LEFT + 12.3, TOP + 5, "6").text(LEFT + 21, TOP, "cells")
    assert text_of(made.lines(PROSE, y=TOP - 2 * STEP).page(), tmp_path).startswith("10^6 cells")


def test_a_line_beside_a_large_first_letter_is_no_exponent(tmp_path: Path) -> None:
    made = Maker().text(LEFT, TOP - 40, "T", size=48)
    made.lines(
        ["he femoral nerve arises from the plexus", "and supplies a muscle of the thigh."], x=95, y=TOP - 10
    )
    text = "The femoral nerve arises from the plexus and supplies a muscle of the thigh."
    assert text_of(made.page(), tmp_path) == text


@pytest.mark.parametrize("following", ["aspirin", "item 1 of 5 mg", "count 10^6 cells", "aspirin, 10 mg"])
@pytest.mark.parametrize("bullet", ["1", "•"])
def test_text_beside_a_larger_bullet_is_no_exponent(tmp_path: Path, bullet: str, following: str) -> None:
    made = Maker().text(LEFT, TOP, bullet, size=18)
    before, _, raised = following.partition("^")
    made.scripts(LEFT + 20, TOP + 4, (before, 0), *([(raised[0], 0.4), (raised[1:], 0)] if raised else []))
    assert text_of(made.page(), tmp_path) == f"{bullet} {following}"


@pytest.mark.parametrize("raised", ["6 cells", "6"])
def test_an_exponent_beside_a_large_first_letter_stays_one(tmp_path: Path, raised: str) -> None:
    made = Maker().text(LEFT, TOP - 40, "T", size=48)
    made.scripts(95, TOP - 10, ("he count of 10", 0), (raised[0], 0.4), (raised[1:], 0))
    assert text_of(made.page(), tmp_path) == f"The count of 10^{raised}"


@pytest.mark.parametrize("share", [0.6, 0.8, 0.89, 1.0])
@pytest.mark.parametrize(("rise", "text"), [(5, "10^12 mg"), (-3, "10_12 mg")])
def test_the_height_tells_an_exponent_of_any_size(
    tmp_path: Path, share: float, rise: float, text: str
) -> None:
    made = Maker().text(LEFT, TOP, "10").text(LEFT + 12.3, TOP + rise, "12", size=11 * share)
    made.text(LEFT + 28, TOP, "mg")
    assert text_of(made.lines(PROSE, y=TOP - 3 * STEP).page(), tmp_path).startswith(f"{text}\n\n")


def test_items_that_count_up_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    made = Maker().lines(f"{number}. an item of about the same length" for number in (1, 2, 3))
    item = "an item of about the same length"
    assert text_of(made.page(), tmp_path) == f"1. {item}\n2. {item}\n3. {item}"


def test_a_watermark_that_stands_aslant_is_no_part_of_a_line(tmp_path: Path) -> None:
    made = turned(Maker().lines(PROSE), 150, 300, 45, "CONFIDENTIAL")
    assert text_of(made.page(), tmp_path) == " ".join(PROSE) + "\n\nCONFIDENTIAL"


def turned(made: Maker, x: float, y: float, angle: float, *lines: str) -> Maker:
    made.canvas.saveState()
    made.canvas.translate(x, y)
    made.canvas.rotate(angle)
    made.lines(lines, x=0, y=0)
    made.canvas.restoreState()
    return made


@pytest.mark.parametrize("angle", [90, 270])
def test_a_line_that_stands_sideways_comes_whole_at_the_end(tmp_path: Path, angle: int) -> None:
    made = turned(Maker().lines(PROSE[:2]), 30, 300, angle, "arXiv:2101.01 a stamp of 2 words")
    made.lines(PROSE[2:], y=TOP - 2 * STEP)
    text = " ".join(PROSE) + "\n\narXiv:2101.01 a stamp of 2 words"
    assert text_of(made.page(), tmp_path) == text


@pytest.mark.parametrize(("x", "angle"), [(100, 90), (400, 270)])
def test_a_table_that_stands_sideways_is_read_by_row(tmp_path: Path, x: int, angle: int) -> None:
    made = Maker()
    for column, cells in enumerate((("Drug", "aspirin", "heparin"), ("Dose", "100 mg", "5000 IU"))):
        turned(made, x, 300 + (100 if angle == 90 else -100) * column, angle, *cells)
    assert text_of(made.page(), tmp_path) == "Drug\tDose\naspirin\t100 mg\nheparin\t5000 IU"


def test_lines_from_top_to_bottom_come_from_right_to_left(tmp_path: Path) -> None:
    font = UnicodeCIDFont("HeiseiMin-W3", isVertical=True)
    pdfmetrics.registerFont(font)
    made = Maker()
    for x, line in ((500, "日本語の縦書きの文章です。これは"), (480, "二行目の文章で、数字は三です。")):
        made.text(x, 780, line, font=font.fontName)
    assert text_of(made.page(), tmp_path) == "日本語の縦書きの文章です。これは二行目の文章で、数字は三です。"


def test_what_was_filled_into_a_form_is_text(tmp_path: Path) -> None:
    made = Maker().text(LEFT, 605, "Drug:")
    made.canvas.acroForm.textfield(name="drug", value="aspirin 100 mg", x=100, y=600, width=200, height=20)
    assert text_of(made.page(), tmp_path) == "Drug: aspirin 100 mg"


def test_an_exponent_of_an_exponent_is_not_lost(tmp_path: Path) -> None:
    made = Maker().text(LEFT + 5.5, TOP + 4.4, "2", size=7).text(LEFT + 9.4, TOP + 8.2, "3", size=4)
    made.text(LEFT, TOP, "x").text(LEFT + 20, TOP, "and more").lines(PROSE, y=TOP - 3 * STEP)
    assert {*"23"} <= {*text_of(made.page(), tmp_path)}


def test_lines_of_scripts_without_spaces_are_joined_without_one(tmp_path: Path) -> None:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    made = Maker()
    for at, line in enumerate(("患者接受了五天的抗生素", "治疗并且康复。")):
        made.text(LEFT, TOP - at * STEP, line, font="STSong-Light")
    assert text_of(made.page(), tmp_path) == "患者接受了五天的抗生素治疗并且康复。"


def test_scripts_from_right_to_left_come_as_they_are_read(tmp_path: Path) -> None:
    fonts = Path(pytest.importorskip("matplotlib").get_data_path(), "fonts", "ttf")
    pdfmetrics.registerFont(TTFont("DejaVu", str(fonts / "DejaVuSans.ttf")))
    made = Maker()
    for at, line in enumerate(("שלום עולם זה טקסט", "אבגד הוז")):
        made.text(
            LEFT, TOP - at * STEP, line[::-1], font="DejaVu"
        )  # glyphs stand in a file from left to right
    assert text_of(made.page(), tmp_path) == "שלום עולם זה טקסט אבגד הוז"


def test_a_paragraph_goes_on_over_the_page_and_its_notes(tmp_path: Path) -> None:
    made = Maker().lines([*PROSE, "The nerve is often"]).text(LEFT, 100, "1 See the atlas.", size=8).page()
    made.lines(["damaged in surgery.", *PROSE]).page()
    prose = " ".join(PROSE)
    whole = f"{prose} The nerve is often damaged in surgery."
    assert text_of(made, tmp_path).split("\n\n") == [whole, "1 See the atlas.", prose]
    (found,) = read("pdf", str(tmp_path / "a.pdf"))
    assert isinstance(found, Document)
    assert [each[:19] for each in found.pages] == [
        "1 The femoral nerve",
        "2 damaged in surger",
        "1 1 See the atlas.\n",
        "2 The femoral nerve",
    ]


def test_a_turned_page_is_read_as_it_is_seen(tmp_path: Path) -> None:
    made = Maker()
    made.canvas.setPageRotation(90)
    made.canvas.translate(595, 0)
    made.canvas.rotate(90)
    assert text_of(made.lines(PROSE, y=400).page(), tmp_path) == " ".join(PROSE)


def test_title_and_author_come_from_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", pdf_of("Some words.", title="On nerves", author="A. Writer"))
    (found,) = read("pdf", path, metadata_fields=["title", "author"], format="{title}\n{text}")
    assert isinstance(found, Document)
    assert found.metadata == {"title": "On nerves", "author": "A. Writer"}
    assert found.text == "On nerves\nSome words."


def three_pages() -> bytes:
    return Maker().lines(["One."]).page().lines(["Two."]).page().lines(["Three."]).page().save()


def test_a_document_is_a_file_or_some_pages_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", three_pages())
    assert places(path, read("pdf", path)) == [("", "One.\n\nTwo.\n\nThree.")]
    assert places(path, read("pdf", path, options={"pages_per_document": 1})) == [
        ("page 1", "One."),
        ("page 2", "Two."),
        ("page 3", "Three."),
    ]
    found = places(path, read("pdf", path, options={"pages_per_document": 2}))
    assert found == [("pages 1-2", "One.\n\nTwo."), ("pages 3-4", "Three.")]


def test_a_page_without_text_layer_is_a_reject_and_the_others_are_read(tmp_path: Path) -> None:
    made = Maker().lines(["One."]).page().picture().page().page().lines(["Four."]).page()
    path = write(tmp_path / "a.pdf", made.save())
    found = read("pdf", path)
    assert places(path, found) == [("", "One.\n\nFour."), ("page 2", "no_text_layer")]  # page 3 is blank
    assert isinstance(found[1], Reject)
    assert found[1].detail.startswith("it shows something, but has no text; an engine may read it")


class Recogniser:
    def text_of(self, pdf: bytes, index: int) -> str:
        if index == 2:
            raise ValueError("too dark")
        return f"Seen on {len(pdf) > 100} page\nindex {index}.\n\nMore." if index == 1 else ""


def test_an_engine_reads_pages_without_text_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf.PAGE_ENGINES, "_targets", {"seen": f"{__name__}:Recogniser"})
    made = Maker().picture().page().picture().page().picture().page().lines(["Four."]).page()
    path = write(tmp_path / "a.pdf", made.save())
    found = read("pdf", path, options={"engine": "seen"})
    assert places(path, found) == [
        ("", "Seen on True page index 1.\n\nMore.\n\nFour."),
        ("page 1", "no_text_layer"),
        ("page 3", "no_text_layer"),
    ]
    assert isinstance(found[2], Reject) and found[2].detail.endswith("engine 'seen': too dark")


def test_an_unknown_engine_or_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"page engine 'tesseract' is unknown"):
        read("pdf", "a.pdf", options={"engine": "tesseract"})
    with pytest.raises(ConfigError, match=r"options of reader 'pdf': key 'page' is unknown"):
        read("pdf", "a.pdf", options={"page": 1})
