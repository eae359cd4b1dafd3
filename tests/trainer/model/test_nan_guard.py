"""Steps whose loss or gradients are not finite, and microbatches without a token that carries loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from composer.core import Callback, State

from plugins.callbacks import CALLBACKS
from trainer import train

pytestmark = pytest.mark.slow


class Poison(Callback):
    """Puts a NaN into the place that `what` names, at some steps, counted from 1."""

    def __init__(self, what: str, steps: list[int]):
        self.what = what
        self.steps = steps

    def _is_due(self, state: State) -> bool:
        return int(state.timestamp.batch) + 1 in self.steps

    def after_backward(self, state: State, logger: Any) -> None:
        if self.what == "gradient" and self._is_due(state):
            next(state.model.parameters()).grad.view(-1)[7] = math.nan

    def batch_end(self, state: State, logger: Any) -> None:
        if self.what == "weight" and int(state.timestamp.batch) in self.steps:
            with torch.no_grad():
                next(state.model.parameters()).view(-1)[7] = math.inf


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        CALLBACKS, "_targets", {**CALLBACKS.targets(), "poison": "tests.trainer.model.test_nan_guard:Poison"}
    )


@pytest.fixture
def run(
    write_config: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Train six steps of four rows, two a microbatch, with a NaN in it; return status and standard error."""

    def go(what: str, steps: list[int], **changes: Any) -> tuple[int, str]:
        config = write_config(
            callbacks={"poison": {"what": what, "steps": steps}},
            save_folder=str(tmp_path / "checkpoints"),
            save_interval="2ba",
            device_train_microbatch_size=2,
            **changes,
        )
        status = train.main([config, "max_duration=6ba"])
        return status, capsys.readouterr().err

    return go


def saved_batches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("ep*-rank0.pt"))


def test_a_nan_gradient_stops_the_run_before_its_step_and_names_the_rows(
    run: Callable[..., tuple[int, str]], tmp_path: Path, corpus: str
) -> None:
    status, err = run("gradient", [3])
    assert status == 1
    (line,) = [line for line in err.splitlines() if line.startswith("TrainingError: ")]
    assert line.startswith("TrainingError: step 3: the gradient norm is not finite, in rows domain:")
    assert line.count(f" of {corpus} (manifest 2)") == 4
    assert line.endswith("lower optimizer.lr, or set on_nan: skip.")
    assert "done:" not in err
    assert saved_batches(tmp_path / "checkpoints") == ["ep0-ba2-rank0.pt"]


def test_skipped_steps_leave_the_weights_and_are_counted(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    status, err = run("gradient", [3, 5], on_nan="skip")
    assert status == 0
    assert "The step is skipped (1 of at most 10)." in err
    assert "The step is skipped (2 of at most 10)." in err
    weights = torch.load(tmp_path / "checkpoints" / "ep0-ba6-rank0.pt", weights_only=False)["state"]["model"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
    lines = [
        json.loads(line) for line in (tmp_path / "checkpoints" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [each["train/skipped_steps"] for each in lines if "train/skipped_steps" in each] == [1, 2]


def test_one_step_more_than_may_be_skipped_stops_the_run(run: Callable[..., tuple[int, str]]) -> None:
    status, err = run("gradient", [2, 3], on_nan="skip", max_skipped_steps=1)
    assert status == 1
    assert "1 steps were skipped before it, the most that max_skipped_steps allows." in err


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    status, err = run("weight", [4], on_nan="skip")
    assert status == 1
    assert "TrainingError: after step 4 the model's weights are not finite. They are not saved" in err
    assert saved_batches(tmp_path / "checkpoints") == ["ep0-ba2-rank0.pt"]


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1e30, -1e30, 3.0], True),
        ([3.0, math.inf], False),
        ([math.inf, -math.inf], False),
        ([math.nan], False),
        ([], True),
    ],
)
def test_each_number_of_each_tensor_counts(values: list[float], finite: bool) -> None:
    from trainer.model.nan_guard import _are_finite

    tensors = [torch.ones(3), torch.tensor(values), torch.tensor([60_000.0] * 4).half()]
    assert _are_finite(tensors, torch.device("cpu")).item() is finite


def test_metrics_that_are_not_finite_are_null(tmp_path: Path) -> None:
    from trainer.reporting.metrics_jsonl import MetricsFile

    metrics = MetricsFile(str(tmp_path / "metrics.jsonl"))
    metrics.log_metrics({"a": math.nan, "b": torch.tensor(math.inf), "c": 1.5}, step=0)
    metrics._write()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0, "a": null, "b": null, "c": 1.5}\n'


def test_a_microbatch_without_a_token_that_carries_loss_has_loss_zero(tiny_model: str) -> None:
    from plugins.tokenizers import load_tokenizer
    from schemas.train_config import ModelConfig
    from trainer.model.packed_model import build_model

    config = ModelConfig(pretrained_model_name_or_path=tiny_model)
    model = build_model(config, load_tokenizer(tiny_model), row_tokens=32, attention_boundaries=True)
    ids_BT = torch.tensor([[5, 6, 7, 8]])
    for labels_BT in (torch.full_like(ids_BT, -100), torch.tensor([[5, -100, -100, -100]])):
        batch = {"input_ids": ids_BT, "labels": labels_BT, "position_ids": torch.arange(4)[None]}
        loss = model.loss(model(batch), batch)
        loss.backward()
        assert float(loss) == 0.0
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())
