"""Metrics, with values worked out by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.tasks import METRICS
from plugins.tasks.rows import ChoiceRow, GenerateRow, TextRow
from schemas.errors import ConfigError
from trainer.evaluation.scoring.metrics import (
    bootstrap_interval,
    entities,
    lower_is_better,
    normalize,
    numbers,
)


def choice(*gold: int, **fields: Any) -> ChoiceRow:
    return ChoiceRow(
        row_id="r", position="f:1", inputs=("q",) * 3, options=("a", "b", "c"), gold=gold, fields=fields
    )


def text(*labels: str) -> GenerateRow:
    return GenerateRow(row_id="r", position="f:1", input="q", labels=labels)


def held_out(words: str) -> TextRow:
    return TextRow(row_id="r", position="f:1", text=words)


ROWS = [choice(0), choice(0), choice(1), choice(2)]
ANSWERS = [0, 1, 1, 1]
# F1 of option 0: 2*1*0.5/1.5 = 2/3; of 1: 2*(1/3)*1/(4/3) = 1/2; of 2: 0.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 2 / 4),
        ("micro_f1", 2 / 4),
        ("macro_f1", (2 / 3 + 1 / 2 + 0) / 3),
        ("weighted_f1", (2 * 2 / 3 + 1 / 2 + 0) / 4),
    ],
)
def test_choice_metrics(name: str, value: float) -> None:
    assert METRICS.load(name)(ROWS, ANSWERS) == pytest.approx(value)


def test_accuracy_accepts_any_of_several_right_options() -> None:
    assert METRICS.load("accuracy")([choice(0, 2), choice(0, 2)], [2, 1]) == 0.5


def test_f1_refuses_rows_with_several_right_options() -> None:
    with pytest.raises(ConfigError, match="f:1: gold_index holds 2 indices, but macro_f1 needs one per row"):
        METRICS.load("macro_f1")([choice(0, 2)], [2])


@pytest.mark.parametrize(
    ("answer", "labels", "exact", "f1"),
    [
        ("The  Radial Nerve.", ("radial nerve",), 1.0, 1.0),
        ("radial", ("radial nerve",), 0.0, 2 / 3),
        ("ulnar", ("radial nerve",), 0.0, 0.0),
        ("her", ("him", "her"), 1.0, 1.0),
        ("", ("x",), 0.0, 0.0),
        ("no no no", ("no",), 0.0, 0.5),
        ("the", ("a",), 1.0, 1.0),
    ],
)
def test_generation_metrics(answer: str, labels: tuple[str, ...], exact: float, f1: float) -> None:
    assert METRICS.load("exact_match")([text(*labels)], [answer]) == exact
    assert METRICS.load("token_f1")([text(*labels)], [answer]) == pytest.approx(f1)


def test_normalisation_takes_off_case_punctuation_articles_and_spaces() -> None:
    assert normalize(" An  apple, the pear; A-1 ") == "apple pear a1"


def test_intervals_hold_the_score_and_repeat_by_seed() -> None:
    rows, answers = [choice(0)] * 40, [0] * 30 + [1] * 10
    accuracy, macro_f1 = METRICS.load("accuracy"), METRICS.load("macro_f1")

    low, high = bootstrap_interval(accuracy, rows, answers, seed=1)

    assert (low, high) == bootstrap_interval(accuracy, rows, answers, seed=1)
    # The normal approximation gives 0.75 ± 1.96 * sqrt(0.75 * 0.25 / 40) = 0.616 to 0.884.
    assert low == pytest.approx(0.616, abs=0.04) and high == pytest.approx(0.884, abs=0.04)
    low, high = bootstrap_interval(macro_f1, rows, answers, seed=1, resamples=50)
    assert low < macro_f1(rows, answers) < high


def test_bits_a_byte_are_those_of_all_texts_together() -> None:
    metric: Any = METRICS.load("bits_per_byte")
    rows, bits = [held_out("abcd"), held_out("ü"), held_out("x" * 94)], [8.0, 4.0, 38.0]
    assert metric(rows, bits) == 50 / 100
    assert metric.each(rows, bits).tolist() == [2.0, 2.0, 38 / 94]
    found = bootstrap_interval(metric, rows, bits, seed=2, resamples=60)
    as_function = bootstrap_interval(lambda *drawn: metric(*drawn), rows, bits, seed=2, resamples=60)
    assert found == pytest.approx(as_function) and found[0] < 0.5 < found[1]
    lower = [name for name in METRICS.names() if lower_is_better(name)]
    assert lower == ["bits_per_byte"]


@pytest.mark.parametrize("name", METRICS.names())
def test_every_registered_metric_is_a_function_to_a_share(name: str) -> None:
    rows: list[Any] = [choice(0, class_id=0), choice(1, class_id=4)]
    answers: list[Any] = [0, 2]
    if name in ("entity_f1", "exact_match", "number_match", "token_f1"):
        rows, answers = [text("1 (A)"), text("2 (B)")], ["1 (A)", "5 (C)"]
    if name == "bits_per_byte":
        rows, answers = [held_out("abc"), held_out("ü")], [1.5, 1.0]

    assert METRICS.load(name)(rows, answers) == pytest.approx(1 / 3 if name == "macro_f1" else 1 / 2)


def plain_f1(gold: Sequence[int], answers: Sequence[int], weights: str) -> float:
    """F1 by its definition, class by class."""
    total = 0.0
    classes = sorted({*gold, *answers})
    for one in classes:
        hits = sum(g == a == one for g, a in zip(gold, answers, strict=True))
        precision = hits / answers.count(one) if one in answers else 0.0
        recall = hits / gold.count(one) if one in gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        total += f1 * (gold.count(one) / len(gold) if weights == "weighted" else 1 / len(classes))
    return total


decisions = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 8)), min_size=1)


@settings(deadline=None, max_examples=60)
@pytest.mark.slow
@given(decisions)
def test_f1_metrics_equal_their_definition(found: list[tuple[int, int, int]]) -> None:
    gold, answers, class_ids = (list(column) for column in zip(*found, strict=True))
    rows = [choice(right, class_id=asked) for right, asked in zip(gold, class_ids, strict=True)]

    assert METRICS.load("macro_f1")(rows, answers) == pytest.approx(plain_f1(gold, answers, "macro"))
    assert METRICS.load("weighted_f1")(rows, answers) == pytest.approx(plain_f1(gold, answers, "weighted"))
    right = sum(g == a for g, a in zip(gold, answers, strict=True))
    assert METRICS.load("micro_f1")(rows, answers) == pytest.approx(right / len(gold))
    of_class = []
    for asked in sorted(set(class_ids)):
        places = [at for at, one in enumerate(class_ids) if one == asked]
        of_class.append(plain_f1([gold[at] for at in places], [answers[at] for at in places], "weighted"))
    assert METRICS.load("headline_f1")(rows, answers) == pytest.approx(sum(of_class) / len(of_class))


def test_headline_is_the_plain_mean_over_what_is_asked() -> None:
    rows = [choice(0, class_id=0), choice(1, class_id=0), choice(0, class_id=8)]

    # Class 0: option 0 has F1 2/3, option 1 has none; weighted 1/3. Class 8: 1.
    assert METRICS.load("headline_f1")(rows, [0, 0, 0]) == pytest.approx((1 / 3 + 1) / 2)
    with pytest.raises(ConfigError, match="f:1: has no class_id, which headline_f1 needs"):
        METRICS.load("headline_f1")([choice(0)], [0])


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Bank (ORG), Kim (PER)", [("Bank", "ORG"), ("Kim", "PER")]),
        ("Bank of Utah (ORG)", [("Utah", "ORG")]),  # a text is one word
        ("Bank (ORG), Bank (ORG), Bank (LOC)", [("Bank", "ORG"), ("Bank", "LOC")]),
        ("Bank(ORG) and (PER) ()", [("and", "PER")]),
        ("none", []),
    ],
)
def test_entities_are_words_with_their_types(written: str, found: list[tuple[str, str]]) -> None:
    assert entities(written) == found


@pytest.mark.parametrize(
    ("label", "answer", "f1"),
    [
        ("Bank (ORG), Kim (PER)", "Bank (ORG), Kim (PER)", 1.0),
        ("Bank (ORG), Kim (PER)", "Bank (ORG)", 2 / 3),  # precision 2/2, recall 2/4
        ("Bank (ORG)", "Bank (LOC)", 0.5),  # the text is right, the type is wrong
        ("Bank (ORG)", "Fund (ORG)", 0.5),  # the type is right, the text is wrong
        # Fund comes first with Bank's type, so Bank itself is not compared; 1 of 2 and of 4.
        ("Bank (ORG)", "Fund (ORG), Bank (ORG)", 1 / 3),
        ("Bank (ORG)", "nobody", 0.0),
        ("nobody", "Bank (ORG)", 0.0),
        ("nobody", "nobody", 0.0),
    ],
)
def test_entity_f1_credits_type_and_text_apart(label: str, answer: str, f1: float) -> None:
    assert METRICS.load("entity_f1")([text(label)], [answer]) == pytest.approx(f1)


def test_entity_f1_is_a_mean_over_rows_by_their_first_label() -> None:
    rows = [text("Bank (ORG)", "Kim (PER)"), text("Kim (PER)")]

    assert METRICS.load("entity_f1")(rows, ["Kim (PER)", "Kim (PER)"]) == 0.5


def plain_entity_f1(true: list[tuple[str, str]], found: list[tuple[str, str]]) -> float:
    """Precision and recall of the two slots of each entity, counted one by one."""
    right = 0
    for entity in true:
        partners = [other for other in found if other[0] == entity[0] or other[1] == entity[1]]
        if partners:
            right += partners[0][0] == entity[0]
            right += partners[0][1] == entity[1]
    precision = right / (2 * len(found)) if found else 0
    recall = right / (2 * len(true)) if true else 0
    return 2 * precision * recall / (precision + recall) if right else 0.0


some_entities = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("XYZ")), unique=True, max_size=5)


@settings(deadline=None, max_examples=60)
@given(some_entities, some_entities)
def test_entity_f1_equals_its_definition(true: list[tuple[str, str]], found: list[tuple[str, str]]) -> None:
    label, answer = (", ".join(f"{name} ({kind})" for name, kind in each) or "none" for each in (true, found))

    assert METRICS.load("entity_f1")([text(label)], [answer]) == pytest.approx(plain_entity_f1(true, found))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("3%", [0.03]),
        ("-1.5 % of 20", [-1.5, 20.0]),
        ("$1,234,567.89 in 2016", [1234567.89, 2016.0]),
        ("12,34", [12.0, 34.0]),  # no thousands
        (".5 and 5.", [0.5, 5.0]),
        ("1e3 +2E-1%", [1000.0, 0.002]),
        ("(3.5)", [3.5]),
        ("007", [7.0]),
        ("12 - 5", [12.0, 5.0]),
        ("12-5", [12.0, -5.0]),
        ("none\n5", []),
        ("__import__('os')", []),
    ],
)
def test_numbers_are_read_without_running_anything(written: str, found: list[float]) -> None:
    assert numbers(written) == pytest.approx(found)


@pytest.mark.parametrize(
    ("label", "answer", "hit"),
    [
        ("25.5%", "0.255", 1.0),
        ("25.5%", "0.26", 1.0),  # within 0.01
        ("25.5%", "0.2451", 1.0),
        ("25.5%", "0.2449", 0.0),
        ("25.5%", "the change is 10 of 39, or 25.5%", 1.0),  # any number of the answer
        ("10 of 39", "39", 0.0),  # but only the first number of the label
        ("-3", "3", 0.0),
        ("12", "nothing", 0.0),
        ("nothing", "12", 0.0),
        ("1e999", "1e999", 0.0),  # too large to be compared
    ],
)
def test_number_match(label: str, answer: str, hit: float) -> None:
    assert METRICS.load("number_match")([text(label)], [answer]) == hit


@settings(deadline=None, max_examples=60)
@given(st.floats(-1e6, 1e6), st.floats(-0.05, 0.05), st.booleans())
def test_number_match_equals_its_definition(value: float, off: float, is_percent: bool) -> None:
    label, answer = f"{value:.4f}{'%' * is_percent}", f"so it is {value + off:.4f}{'%' * is_percent}"
    read = [
        float(re.sub("[^0-9.-]", "", written)) / (100 if is_percent else 1) for written in (label, answer)
    ]

    hit = METRICS.load("number_match")([text(label)], [answer])

    assert hit == float(math.isclose(*read, abs_tol=1e-2))
