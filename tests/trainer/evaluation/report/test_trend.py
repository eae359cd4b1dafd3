"""Scores over a run, as lines."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.evaluation.report.trend import add_to_trend


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
