"""Two models on the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.tasks.rows import ChoiceRow, TextRow
from plugins.tasks.task import Task
from trainer.evaluation.evaluator import TaskResult
from trainer.evaluation.report.compare import compare
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.metrics import accuracy, bootstrap_difference, macro_f1
from trainer.evaluation.scoring.perplexity import Windows


def rows_of(count: int) -> list[ChoiceRow]:
    return [
        ChoiceRow(
            row_id=f"f:{at}", position=f"f:{at}", inputs=("q",) * 3, options=("a", "b", "c"), gold=(at % 3,)
        )
        for at in range(count)
    ]


def result(metric: str, rows: list[ChoiceRow], answers: list[int]) -> TaskResult:
    task = Task(name="t", domain="d", kind="choice", metrics=(metric,), source=lambda: [])
    return TaskResult(task=task, rows=[*rows], answers=[Answer(value=answer) for answer in answers])


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "micro_f1"])
def test_gains_and_losses_are_counted_by_row(metric: str) -> None:
    rows = rows_of(6)  # gold 0 1 2 0 1 2

    found = compare(
        result(metric, rows, [0, 1, 0, 1, 2, 2]), result(metric, rows, [0, 0, 2, 0, 0, 2]), seed=1
    )

    assert found is not None
    assert [(row.position, row.gold, row.answers, row.gain) for row in found.rows] == [
        ("f:1", [1], (1, 0), -1.0),
        ("f:2", [2], (0, 2), 1.0),
        ("f:3", [0], (1, 0), 1.0),
        ("f:4", [1], (2, 0), 0.0),
    ]
    assert (found.num_better, found.num_worse, found.num_rows) == (2, 1, 6)
    assert found.difference == pytest.approx(1 / 6)


def test_a_model_that_needs_fewer_bits_is_better() -> None:
    texts = [TextRow(row_id=str(at), position=f"f:{at}", text="x" * size) for at, size in enumerate((10, 30))]
    task = Task(name="t", domain="d", kind="perplexity", metrics=("bits_per_byte",), source=lambda: [])

    def bits(*values: float, windows: Windows) -> TaskResult:
        answers = [Answer(value=value) for value in values]
        return TaskResult(task=task, rows=[*texts], answers=answers, windows=windows)

    found = compare(
        bits(20.0, 60.0, windows=Windows(64, 32)), bits(25.0, 35.0, windows=Windows(32, 16)), seed=1
    )

    assert found is not None and found.difference == pytest.approx(60 / 40 - 80 / 40)
    assert [(row.gold, row.answers, row.gain) for row in found.rows] == [
        ([], (2.0, 2.5), -0.5),
        ([], (2.0, 35 / 30), pytest.approx(2.0 - 35 / 30)),
    ]
    assert (found.num_better, found.num_worse) == (1, 1)
    assert found.summary()["windows"] == [{"window": 64, "stride": 32}, {"window": 32, "stride": 16}]


def test_only_rows_that_both_were_scored_on_count() -> None:
    rows = rows_of(4)

    found = compare(result("accuracy", rows[:3], [0, 1, 2]), result("accuracy", rows[1:], [1, 0, 0]), seed=1)

    assert found is not None and (found.num_rows, found.difference) == (2, -0.5)
    assert compare(result("accuracy", rows[:2], [0, 1]), result("accuracy", rows[2:], [0, 0]), seed=1) is None


@pytest.mark.slow
@pytest.mark.parametrize("metric", [accuracy, macro_f1])
def test_an_interval_of_differences_draws_the_same_rows_for_both(metric: object) -> None:
    generator = np.random.default_rng(3)
    rows = rows_of(60)
    one, other = (generator.integers(3, size=60).tolist() for _ in range(2))

    difference, (low, high) = bootstrap_difference(metric, rows, one, other, seed=7, resamples=200)  # type: ignore[arg-type]

    draws = np.random.default_rng(7)
    expected = []
    for _ in range(200):
        drawn = draws.integers(60, size=60)
        scores = [
            metric([rows[at] for at in drawn], [answers[at] for at in drawn])  # type: ignore[operator]
            for answers in (other, one)
        ]
        expected.append(scores[0] - scores[1])
    assert (low, high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
    assert difference == pytest.approx(metric(rows, other) - metric(rows, one))  # type: ignore[operator]


def test_equal_answers_differ_by_nothing_for_sure() -> None:
    rows = rows_of(5)

    assert bootstrap_difference(accuracy, rows, [0] * 5, [0] * 5, seed=1) == (0.0, (0.0, 0.0))
