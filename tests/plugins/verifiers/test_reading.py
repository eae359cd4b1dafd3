"""How the verifiers read numbers, units, sentences, stems and negations."""

from __future__ import annotations

import pytest

from plugins.english import stem
from plugins.verifiers.reading import Quantity, read


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("three", 3, ""),
        ("twenty-five cows", 25, ""),
        ("two hundred and fifty", 250, ""),
        ("1,400 commuters", 1400, ""),
        ("1.234.567", 1234567, ""),
        ("2.3 million", 2_300_000, ""),
        ("$2.3 million", 2_300_000, "$"),
        ("€418", 418, "€"),
        ("20mg", 20, "mg"),
        ("20 mg", 20, "mg"),
        ("7 percent", 7, "%"),
        ("7%", 7, "%"),
        ("½ teaspoon", 0.5, ""),
        ("the 9th of May", 9, ""),
        ("10 to 20 cm", 10, "cm"),
    ],
)
def test_numbers_and_units(text: str, value: float, unit: str) -> None:
    assert read(text).quantities[0] == Quantity(value, unit)


@pytest.mark.parametrize(
    ("one", "two", "agree"),
    [
        ("90 minutes", "1.5 hours", True),
        ("2 kg", "2000 grams", True),
        ("20 g", "20 mg", False),
        ("20 dollars", "20 euros", False),
        ("20", "20 mg", True),
        ("5%", "5 cows", False),
        ("7:40", "7:40", True),
        ("7:40", "4:40", False),
    ],
)
def test_quantities_agree_after_conversion(one: str, two: str, agree: bool) -> None:
    assert read(one).quantities[0].agrees(read(two).quantities[0]) is agree


@pytest.mark.parametrize(
    "words",
    [
        ("decide", "decided", "decides", "deciding"),
        ("carry", "carries", "carried"),
        ("store", "storage", "stored"),
        ("take", "took", "taken"),
        ("kidney", "kidneys"),
        ("severe", "severely"),
    ],
)
def test_inflections_share_a_stem(words: tuple[str, ...]) -> None:
    assert len(set(map(stem, words))) == 1


def test_sentences_end_neither_in_times_nor_in_decimals() -> None:
    found = read("He left at 6 a.m. on foot. It cost 2.5 pounds.\nA title\n- an item").sentences
    assert [each.start for each in found] == [0, 27, 47, 57]


def test_negation_reaches_the_next_words_of_its_clause() -> None:
    (sentence,) = read("Do not sell the honey, buy bread without butter in town").sentences
    assert sentence.negated == {stem("sell"), stem("honey"), stem("butter")}


def test_chinese_characters_are_words() -> None:
    assert {"茶", "馆"} <= read("茶馆开业于1936年。").stems
    assert read("茶馆开业于1936年。").quantities == (Quantity(1936.0),)
