"""Scores over a run, as lines and as a plot."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from trainer.evaluation.report.trend import add_to_trend, plot_trend


def test_evaluations_add_up_and_later_ones_are_taken_back_when_a_run_goes_back(tmp_path: Path) -> None:
    for batch in (0, 10, 20, 10):
        trend = add_to_trend(
            str(tmp_path), batch=batch, tokens=batch * 100, scores={"MQP/accuracy": batch / 100}
        )

    assert trend == [
        {"batch": 0, "tokens": 0, "scores": {"MQP/accuracy": 0.0}},
        {"batch": 10, "tokens": 1000, "scores": {"MQP/accuracy": 0.1}},
    ]
    assert [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()] == trend


@pytest.mark.parametrize("tokens", [1000, 0])
def test_a_plot_has_a_panel_a_domain_and_stands_gaps(tmp_path: Path, tokens: int) -> None:
    trend = [
        {"batch": 0, "tokens": 0, "scores": {"MQP/accuracy": 0.5, "law/average": 0.25}},
        {"batch": 5, "tokens": tokens, "scores": {"MQP/accuracy": 0.75}},  # law's task failed
    ]

    plot_trend(str(tmp_path), trend, {"biomedicine": ["MQP/accuracy"]})
    one = (tmp_path / "scores.png").read_bytes()
    plot_trend(
        str(tmp_path), trend, {"biomedicine": ["MQP/accuracy"], "law": ["SCOTUS/micro_f1", "law/average"]}
    )
    two = (tmp_path / "scores.png").read_bytes()

    # A PNG's header: width and height.
    (width, height), (same, twice) = (struct.unpack(">II", image[16:24]) for image in (one, two))
    assert (same, twice) == (width, 2 * height)
