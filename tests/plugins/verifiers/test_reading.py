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
        ("14 per cent", 14, "%"),
        ("2022 to 3.4%", 2022, ""),
        ("2019 and six percent", 2019, ""),
        ("1500 metres", 1500, "metres"),
        ("the 1990s", 1990, ""),
        ("nineteen fifty-four", 1954, ""),
        ("twenty twenty", 2020, ""),
        ("eighteen people", 18, ""),
        ("the twenty-first century", 21, "century"),
        ("the eighteenth century", 18, "century"),
        ("fünfundzwanzig", 25, ""),
        ("四十二公里", 42, ""),
        ("二〇一九年", 2019, ""),
        ("三万五千人", 35_000, ""),
        ("3万人", 30_000, ""),
    ],
)
def test_numbers_and_units(text: str, value: float, unit: str) -> None:
    assert read(text).quantities[0][:2] == (value, unit)


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
    assert read("茶馆开业于1936年。").quantities == (Quantity(1936.0, "", "1936"),)
    assert read("四十二公里").stems == {"公", "里"}


@pytest.mark.parametrize(
    "written",
    ["4 million euros", "2022", "1610", "1,200", "$3.50", "20mg", "7 %", "twenty-five cows", "5 to"],
)
def test_a_number_keeps_its_wording(written: str) -> None:
    expected = written.removesuffix(" cows").removesuffix(" to")
    assert read(f"It was {written} then.").quantities[0].text == expected
