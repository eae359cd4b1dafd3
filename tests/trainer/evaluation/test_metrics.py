"""Metrics, with values worked out by hand."""

from __future__ import annotations

import pytest

from schemas.errors import ConfigError
from trainer.evaluation import METRICS
from trainer.evaluation.metrics import bootstrap_interval, normalize
from trainer.evaluation.rows import ChoiceRow, GenerateRow


def choice(*gold: int) -> ChoiceRow:
    return ChoiceRow(row_id="r", position="f:1", inputs=("q",) * 3, options=("a", "b", "c"), gold=gold)


def text(*labels: str) -> GenerateRow:
    return GenerateRow(row_id="r", position="f:1", input="q", labels=labels)


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
    with pytest.raises(ConfigError, match="f:1: gold_index holds 2 indices, but macro_f1 needs one a row"):
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


def test_every_registered_metric_is_a_function_to_a_share() -> None:
    for name in METRICS.names():
        kind_rows = [text("a"), text("b")] if name in ("exact_match", "token_f1") else [choice(0), choice(1)]
        answers = ["a", "c"] if isinstance(kind_rows[0], GenerateRow) else [0, 2]
        assert 0 <= METRICS.load(name)(kind_rows, answers) <= 1, name
