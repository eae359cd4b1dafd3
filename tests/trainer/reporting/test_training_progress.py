"""The speed of a run, on the console and in the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from composer.core import Time

from trainer.reporting.metrics_jsonl import MetricsFile
from trainer.reporting.training_progress import ConsoleProgress


class Log:
    def __init__(self) -> None:
        self.metrics: dict[str, Any] = {}

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        self.metrics |= metrics


def state_at(batch: int, token: int) -> Any:
    return SimpleNamespace(
        timestamp=SimpleNamespace(batch=batch, token=token),
        total_loss_dict={"loss/train/total": 2.5},
        max_duration=Time.from_timestring("10ba"),
        run_name="run",
        get_elapsed_duration=lambda: batch / 10,
    )


@pytest.mark.parametrize(
    ("peak_flops", "shown"), [(1e6, "1,000 tok/s  MFU 40.0%  "), (None, "1,000 tok/s  0:")]
)
def test_mfu_is_shown_and_logged_where_the_peak_is_known(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    peak_flops: float | None,
    shown: str,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("trainer.reporting.training_progress.time.monotonic", lambda: clock[0])
    progress = ConsoleProgress(bar=False, flops_per_token=400.0, peak_flops=peak_flops)
    log: Any = Log()
    progress.fit_start(state_at(0, 0), log)
    clock[0] += 2.0
    progress.batch_end(state_at(1, 2000), log)
    assert shown in capsys.readouterr().err
    expected = {"train/tokens_per_sec": 1000.0} | ({"train/mfu": 0.4} if peak_flops else {})
    assert log.metrics == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epoch", "batch_in_epoch", "shown"),
    [(0, 1, "step 1/20 "), (0, 10, "step 10/20 "), (1, 5, "step 15/20 ")],
)
def test_steps_of_a_run_of_epochs_are_counted_within_an_epoch(
    capsys: pytest.CaptureFixture[str], epoch: int, batch_in_epoch: int, shown: str
) -> None:
    """Composer's share of a run counts whole epochs only."""
    step = 10 * epoch + batch_in_epoch
    state = state_at(step, 0)
    state.timestamp = SimpleNamespace(batch=step, token=0, epoch=epoch, batch_in_epoch=batch_in_epoch)
    state.max_duration, state.dataloader_len = Time.from_timestring("2ep"), Time.from_timestring("10ba")
    progress = ConsoleProgress(bar=False)
    log: Any = Log()
    progress.first_step = step - 1
    progress.batch_end(state, log)
    assert shown in capsys.readouterr().err


def test_metrics_of_steps_that_are_done_again_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "{run_name}" / "metrics.jsonl"
    none: Any = None
    for first_step in (0, 2):
        file = MetricsFile(str(path))
        file.init(state_at(first_step, 0), none)
        file.fit_start(state_at(first_step, 0), none)
        for step in range(first_step, first_step + 3):
            file.log_metrics({"loss": step + first_step / 10}, step)
            file.log_metrics({"lr": 1.0}, step)
        file.close(state_at(first_step, 0), none)
        with open(tmp_path / "run" / "metrics.jsonl", "a") as cut:
            cut.write('{"step": 1, "lo')  # as a crash leaves it
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[:-1]
    assert [json.loads(line) for line in lines] == [
        {"step": 0, "loss": 0.0, "lr": 1.0},
        {"step": 1, "loss": 1.0, "lr": 1.0},
        *({"step": step, "loss": step + 0.2, "lr": 1.0} for step in (2, 3, 4)),
    ]
