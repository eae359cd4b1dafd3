"""Intervals and tables of the study."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.instruction.measures import MEASURES, PRIMARY
from benchmarks.instruction.report import as_markdown, bootstrap_entries, compare, summarize, t_interval


def test_the_t_interval_is_that_of_the_textbook() -> None:
    # mean 0.2, standard deviation 0.1, t = 4.302653 with 2 degrees of freedom: 0.2 ± 0.1 t / √3
    assert t_interval([0.1, 0.2, 0.3]) == pytest.approx((-0.048414, 0.448414), abs=1e-6)
    assert t_interval([0.1]) is None


def test_the_bootstrap_draws_entries_within_seeds_and_never_seeds() -> None:
    assert bootstrap_entries([[0.0, 0.0], [1.0, 1.0]]) == (0.5, 0.5)
    # two entries: the mean is 0, ½ and 1 with probability ¼, ½, ¼
    assert bootstrap_entries([[0.0, 1.0]]) == (0.0, 1.0)
    # 100 entries, half of them 1: 0.5 ± 1.96 · 0.05
    low, high = bootstrap_entries([[0.0, 1.0] * 50])
    assert (low, high) == (pytest.approx(0.4, abs=0.011), pytest.approx(0.6, abs=0.011))
    # a second such seed: the standard error of the mean is smaller by √2
    low, high = bootstrap_entries([[0.0, 1.0] * 50, [0.0, 1.0] * 50])
    assert (low, high) == (pytest.approx(0.431, abs=0.011), pytest.approx(0.569, abs=0.011))


def result(seed: int, *lasts: float) -> dict[str, Any]:
    """A unit of two drugs whose measures end at `lasts`."""

    def point(share: float, values: tuple[float, ...]) -> dict[str, Any]:
        of_drugs = {f"Drug{number}": value for number, value in enumerate(values)}
        return {"share": share, "tokens": 1000 * share, "measures": dict.fromkeys(MEASURES, of_drugs)}

    points = [point(0.0, (0.1, 0.1)), point(1.0, lasts)]
    training = {"steps": 10, "times_seen": {"domain": 2.0}, "loss": 1.5, "seconds": 120, "build_seconds": 6}
    return {"seed": seed, "points": points, **training}


RESULTS = {
    ("plain", 0): result(0, 0.2, 0.4),
    ("plain", 1): result(1, 0.5, 0.5),
    ("instruction-half", 0): result(0, 0.6, 0.8),
    ("instruction-half", 1): result(1, 0.5, 0.9),
    ("instruction-half", 2): result(2, 1.0, 1.0),
}


def test_arms_are_compared_over_the_seeds_that_both_have() -> None:
    found = compare(RESULTS, "instruction-half", PRIMARY)
    assert found is not None
    assert found["of_seeds"] == {0: pytest.approx(0.4), 1: pytest.approx(0.2)}
    assert found["difference"] == pytest.approx(0.3)
    # standard deviation 0.141421, t = 12.7062 with 1 degree of freedom
    assert found["over_seeds"] == pytest.approx((-0.970620, 1.570620), abs=1e-5)
    assert compare(RESULTS, "mined", PRIMARY) is None


def test_the_report_shows_every_measure_and_judges_the_primary_one() -> None:
    report = summarize(RESULTS)
    assert report["scores"][PRIMARY]["base"] == {0: pytest.approx(0.1), 1: pytest.approx(0.1), 2: 0.1}
    text = as_markdown(report)
    shown = text.splitlines()
    assert shown[0] == (
        "Primary measure, fixed before the runs: asked, 12 options, instruction-half minus plain. "
        "+0.30 [-0.97, +1.57] [+0.20, +0.40]; the interval over seeds holds 0."
    )
    assert shown[2] == "| at the last point | base | plain | instruction-half |"
    assert shown[4] == "| asked, 12 options | 0.10 ± 0.00 | 0.40 ± 0.14 | 0.80 ± 0.17 |"
    assert "| 100% | 0.40 | 0.80 |" in shown
    assert shown[-1] == (
        "| instruction-half: pairs about half of the facts | 0, 1, 2 | 1,000 | domain 2.0 | 1.50 | 2.0 |"
    )
    assert all(f"| {measure} |" in text for measure in MEASURES)
