"""A run resumed with a changed YAML: changes to its rows are refused, others are applied and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import train

pytestmark = pytest.mark.slow

CONSTANT = {"name": "constant_with_warmup", "t_warmup": "0ba"}


@pytest.fixture
def start(write_config: Callable[..., str], tmp_path: Path) -> Callable[..., tuple[int, str, list[float]]]:
    """Train a few steps, or resume; return the status, standard error and the learning rate of each step."""

    def start(
        capsys: pytest.CaptureFixture[str], *overrides: str, **changes: Any
    ) -> tuple[int, str, list[float]]:
        config = write_config(
            **{
                "autoresume": True,
                "save_folder": str(tmp_path / "run"),
                "save_interval": "2ba",
                "max_duration": "4ba",
                "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1, "betas": [0.9, 0.95]},
                "scheduler": CONSTANT,
                "callbacks": {"lr_monitor": {}},
                **changes,
            }
        )
        metrics = tmp_path / "run" / "metrics.jsonl"
        num_before = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        status = train.main([config, *overrides])
        new = map(json.loads, metrics.read_text().splitlines()[num_before:])
        rates = [value for line in new for key, value in line.items() if key.endswith("/group0")]
        return status, capsys.readouterr().err, rates

    return start


def test_the_optimizers_values_in_the_yaml_hold_when_a_run_goes_on(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    assert start(capsys)[2] == [1e-3] * 4
    changed = {"name": "adamw", "lr": "5e-4", "weight_decay": 0.2, "betas": [0.9, 0.99], "eps": 1e-7}
    status, err, rates = start(capsys, max_duration="6ba", optimizer=changed)
    assert (status, rates) == (0, [5e-4] * 2)
    for line in (
        "optimizer.lr is 0.001 in the checkpoint and 0.0005 in the configuration: the latter applies",
        "optimizer.weight_decay is 0.1 in the checkpoint and 0.2 in the configuration",
        "optimizer.betas is [0.9, 0.95] in the checkpoint and [0.9, 0.99] in the configuration",
        "optimizer.eps is 1e-08 in the checkpoint and 1e-07 in the configuration",
        'max_duration was "4ba" and is "6ba": this applies from here on; what the scheduler counts from',
    ):
        assert err.count(line) == 1, err
    saved = torch.load(tmp_path / "run" / "ep0-ba6-rank0.pt", weights_only=False)["state"]
    groups = next(iter(saved["optimizers"].values()))["param_groups"]
    assert [(each["initial_lr"], each["weight_decay"], list(each["betas"])) for each in groups] == [
        (5e-4, 0.2, [0.9, 0.99]),
        (5e-4, 0.0, [0.9, 0.99]),  # norms
    ]
    assert "in the checkpoint" not in start(capsys, max_duration="8ba", optimizer=changed)[1]


def test_a_schedule_that_was_changed_holds_from_the_first_step_on(
    start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    start(capsys)
    linear = {"name": "linear_decay_with_warmup", "t_warmup": "0ba", "alpha_f": 0.0}
    status, err, rates = start(capsys, max_duration="8ba", scheduler=linear)
    assert status == 0
    assert rates == pytest.approx([5e-4, 3.75e-4, 2.5e-4, 1.25e-4])  # half of the run is done
    assert 'scheduler.name was "constant_with_warmup" and is "linear_decay_with_warmup": this applies' in err
    assert "scheduler.alpha_f was not set and is 0.0: this applies from here on." in err


FIXED = {
    "global_train_batch_size=8": "global_train_batch_size was 4 and is 8",
    "train_loader.dataset.shuffle=false": "train_loader.dataset.shuffle was true and is false",
    "train_loader.dataset.shuffle_seed=1": "train_loader.dataset.shuffle_seed was 9176 and is 1",
    "train_loader.dataset.epoch_size=64": "train_loader.dataset.epoch_size was not set and is 64",
    "seed=18": "seed was 17 and is 18",
    "max_duration=1024tok": 'max_duration (unit) was "ba" and is "tok"',
    "train_loader.dataset.streams.domain.proportion=0.75": (
        "train_loader.dataset.streams.domain.proportion was 0.5 and is 0.75"
    ),
    "optimizer.name=decoupled_adamw": 'optimizer.name was "adamw" and is "decoupled_adamw"',
    "optimizer.amsgrad=true": "optimizer.amsgrad was not set and is true",
}


def test_what_fixes_rows_and_schedule_stays_as_it_was(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    start(capsys, "max_duration=1ba")
    for override, message in FIXED.items():
        scheduler = {"name": "constant_with_warmup", "t_warmup": "0tok" if "tok" in override else "0ba"}
        status, err, rates = start(capsys, override, scheduler=scheduler)
        assert (status, rates) == (2, []), override
        assert f"has other settings than it was started with: {message}. Rows would be repeated" in err
        assert f"load_path: {tmp_path / 'run' / 'ep0-ba1-rank0.pt'} and load_weights_only: true" in err
    status, err, _ = start(capsys, "train_loader.dataset.streams.domain.manifest=1")
    assert status == 2
    assert "streams.domain.manifest is 1, but the run in" in err
    assert "take the other with `later: [{at: 1ep, manifest: 1}]`" in err


def test_what_does_not_fix_rows_may_change_and_a_run_of_before_goes_on(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    start(capsys, "max_duration=1ba")
    (tmp_path / "run" / "run.json").unlink()
    allowed = ["train_loader.num_workers=1", "device_train_microbatch_size=2", "save_interval=3ba"]
    status, err, _ = start(capsys, "max_duration=2ba", "global_train_batch_size=4", *allowed)
    assert status == 0
    assert "holds no run.json, as in earlier versions" in err
    status, err, _ = start(capsys, "max_duration=3ba", *allowed)
    assert status == 0
    assert "run.json" not in err


def test_what_is_decayed_stays_as_it_was_by_what_is_selected_and_without_run_json(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    adamw = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1, "betas": [0.9, 0.95]}
    assert start(capsys, "max_duration=1ba", optimizer=adamw)[0] == 0
    settings = tmp_path / "run" / "run.json"
    assert "optimizer.no_decay" not in json.loads(settings.read_text())
    settings.unlink()
    status, err, _ = start(capsys, optimizer={**adamw, "no_decay": []})
    assert status == 2
    assert (
        f"checkpoint {tmp_path / 'run' / 'ep0-ba1-rank0.pt'} was written with another optimizer.no_decay; "
        "of its parameters 5 that it did not decay are decayed now (model.layers.0.input_layernorm.weight, "
        "model.layers.0.post_attention_layernorm.weight, model.layers.1.input_layernorm.weight, …). The run"
    ) in err
    assert "Set it to the value of that run, or" in err and "Rows would be repeated" not in err
    status, err, _ = start(
        capsys, optimizer={**adamw, "no_decay": ["biases", "norm.weight"]}
    )  # as the default
    assert (status, "another optimizer.no_decay" in err) == (0, False)


def test_a_checkpoint_that_decayed_all_is_not_gone_on_with_where_norms_are_left_alone(tmp_path: Path) -> None:
    import torch

    from schemas.errors import ConfigError
    from trainer.model.weight_decay import check_same_groups

    model = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 3)})
    groups = [{"params": [model["model"].weight]}, {"params": [model["model"].bias]}]
    saved = {"AdamW": {"param_groups": [{"params": ["model.weight", "model.bias"]}]}}
    torch.save({"state": {"optimizers": saved}}, tmp_path / "ep0-ba1-rank0.pt")
    with pytest.raises(ConfigError, match=r"parameters 1 that it decayed are not decayed now \(bias\)\."):
        check_same_groups(str(tmp_path / "ep0-ba1-rank0.pt"), model, groups)
    saved["AdamW"]["param_groups"] = [{"params": ["model.weight"]}, {"params": ["model.bias"]}]
    torch.save({"state": {"optimizers": saved}}, tmp_path / "ep0-ba1-rank0.pt")
    check_same_groups(str(tmp_path / "ep0-ba1-rank0.pt"), model, groups)
