"""Pages of parts of a text, found by the characters with which each page begins."""

from __future__ import annotations

import pytest

from schemas.page_starts import page_range, page_start, starts_within

FIRST = "The first page tells of nerves and of their names.\n\n"
SECOND = "The second page tells of muscles and of their names.\n\n"
THIRD = "The third page tells of bones and of their names."
TEXT = FIRST + SECOND + THIRD
STARTS = (
    page_start(11, TEXT, 0),
    page_start(12, TEXT, len(FIRST)),
    page_start(13, TEXT, len(FIRST + SECOND)),
)


def ranges(text: str, *parts: str) -> list[str]:
    spans = [(text.index(part), text.index(part) + len(part)) for part in parts]
    return [page_range(each) for each in starts_within(STARTS, text, spans)]


def test_an_entry_has_the_number_and_the_first_characters() -> None:
    assert STARTS[1] == "12 The second page tells of muscles and of "


def test_a_part_lies_on_the_pages_that_it_touches() -> None:
    parts = ("nerves", FIRST.strip(), SECOND.strip(), THIRD, "names.\n\nThe second", TEXT)
    assert ranges(TEXT, *parts) == ["11", "11", "12", "13", "11-12", "11-13"]


@pytest.mark.parametrize(
    ("text", "part", "pages"),
    [
        (
            f"{FIRST}tells of muscles and more.\n\n{THIRD}",
            "muscles",
            "11-12",
        ),  # the beginning of 12 was dropped
        (f"{FIRST}tells of muscles and more.\n\n{THIRD}", "nerves", "11-12"),
        (f"{FIRST}tells of muscles and more.\n\n{THIRD}", "bones", "13"),
        (f"A title\n{TEXT}", "A title", "11"),
        ("second page tells of muscles and of their names.", "muscles", "11-13"),
        (f"{FIRST}{SECOND}{SECOND}{THIRD}", "muscles", "11-12"),  # the text has it twice
    ],
)
def test_an_open_place_gives_the_pages_that_are_possible(text: str, part: str, pages: str) -> None:
    assert ranges(text, part) == [pages]


def test_a_text_without_pages_has_none() -> None:
    assert starts_within((), TEXT, [(0, 5), (5, 9)]) == [(), ()]
    assert page_range(()) == ""


def test_notes_of_a_page_that_stand_behind_the_next_one_widen_the_range() -> None:
    assert page_range(("11 a", "12 b", "11 c")) == "11-12"
