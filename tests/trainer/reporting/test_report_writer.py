"""A run writes its report: before the first step, at each evaluation, at the end; also a failing one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import train
from trainer.reporting import report_writer

pytestmark = pytest.mark.slow


@pytest.fixture
def evaluated(write_config: Callable[..., str], tmp_path: Path) -> str:
    """A run of four steps with evaluations at 0, 2 and 4."""
    task = tmp_path / "tasks" / "cells.jsonl"
    task.parent.mkdir()
    rows = [
        {"input": "the cell", "options": [" binds", f" dose {at}"], "gold_index": at % 2} for at in range(6)
    ]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_config(
        max_duration="4ba",
        save_folder=str(tmp_path / "runs/{run_name}"),
        save_interval="2ba",
        autoresume=True,
        callbacks={
            "domain_eval": {
                "tasks": [str(task)],
                "interval": "2ba",
                "output": str(tmp_path / "runs/{run_name}/eval"),
            }
        },
    )


def test_a_run_describes_and_reports_itself(
    evaluated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/tiny"
    seen: list[int] = []
    write = report_writer.ReportWriter._write

    def counted(self: Any) -> None:
        write(self)
        assert (folder / "report.html").is_file()
        seen.append(len((folder / "eval/scores.jsonl").read_text().splitlines()))

    monkeypatch.setattr(report_writer.ReportWriter, "_write", counted)
    assert train.main([evaluated]) == 0
    assert seen == [1, 2, 3, 3]  # before the first step, at each later evaluation, at the end

    description = json.loads((folder / "description.json").read_text())
    assert description["run_name"] == "tiny"
    assert description["evaluations"] == "eval"
    assert [(each["name"], each["manifest"]) for each in description["streams"]] == [
        ("domain", 2),
        ("general", 2),
    ]
    assert {"training steps", "evaluations", "checkpoints", "waiting for rows"} <= description[
        "seconds"
    ].keys()
    assert all(seconds >= 0 for seconds in description["seconds"].values())
    assert description["config"]["optimizer"]["lr"] == 0.001
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Composer computes the rate of a step from the time before the step ahead of it.
    rates = [step["train/learning_rate"] for step in steps if "train/learning_rate" in step]
    assert rates == pytest.approx([0.0, 0.0, 0.0005, 0.001])
    html = (folder / "report.html").read_text("utf-8")
    assert html.count("cells/accuracy") >= 2
    assert "no evaluation yet" not in html


def test_a_resumed_run_goes_on_counting_its_time(evaluated: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs/tiny"
    assert train.main([evaluated]) == 0
    path = folder / "description.json"
    description = json.loads(path.read_text())
    description["seconds"]["training steps"] = 1000.0
    path.write_text(json.dumps(description))
    assert train.main([evaluated, "max_duration=6ba"]) == 0
    again = json.loads(path.read_text())
    assert again["seconds"]["training steps"] > 1000.0


def test_a_report_that_cannot_be_written_ends_no_run(
    evaluated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no room")

    monkeypatch.setattr(report_writer, "render", fail)
    assert train.main([evaluated]) == 0
    assert (
        f"{tmp_path}/runs/tiny/report.html is not written: RuntimeError: no room" in capsys.readouterr().err
    )
    assert not (tmp_path / "runs/tiny/report.html").exists()
