"""Contradictions of a training YAML, named before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.config import load_config
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.checks import check_config
from trainer.duration import Duration, parse_duration

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autoresume": True}, "autoresume is true, but save_folder is null"),
        (
            {"autoresume": True, "save_folder": "x", "save_num_checkpoints_to_keep": 0},
            "save_num_checkpoints_to_keep is 0: no checkpoint stays to go on from",
        ),
        ({"load_weights_only": True}, "load_weights_only is true, but load_path is null"),
        ({"precision": "bf16"}, "value 'precision' is unknown"),
        (
            {"max_duration": "1000tok", "scheduler": {"name": "cosine_with_warmup", "t_warmup": "2ba"}},
            "scheduler.t_warmup is in ba and max_duration in tok; a warm-up is measured as the run is.",
        ),
        (
            {"scheduler": {"name": "cosine_with_warmup", "t_warmup": "2ba", "t_max": "5ba"}},
            "scheduler.t_max ends the schedule at 5ba, before max_duration, 6ba.",
        ),
        ({"max_duration": "0.5dur"}, "max_duration is '0.5dur', a share of itself."),
        ({"save_interval": "1.5ba"}, "save_interval is '1.5ba'; expected a number and a unit"),
        (
            {"callbacks": {"domain_eval": {"tasks": "x", "interval": "often"}}},
            "callbacks.domain_eval.interval is 'often'; expected a number and a unit",
        ),
        (
            {"model": {"pretrained_model_name_or_path": "x", "init_device": "mixed"}},
            "Add `parallelism_config: {fsdp: {}}`, or set model.init_device: cpu.",
        ),
        (
            {"model": {"pretrained_model_name_or_path": "x", "init_device": "meta"}},
            "model.init_device is 'meta', with which buffers that no checkpoint holds",
        ),
        ({"global_train_batch_size": 3}, "global_train_batch_size is 3, which 2 ranks cannot share evenly."),
    ],
)
def test_a_contradiction_is_named(
    write_config: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    config = load_config(TrainConfig, write_config(**changes))
    with pytest.raises(ConfigError) as raised:
        check_config(config, num_ranks=2)
    assert message in str(raised.value)


def test_the_cure_for_a_mixed_start_is_accepted(write_config: Callable[..., str]) -> None:
    changes = {
        "model": {"pretrained_model_name_or_path": "x", "init_device": "mixed"},
        "parallelism_config": {"fsdp": {}},
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "0.1dur", "t_max": "1ep"},
    }
    check_config(load_config(TrainConfig, write_config(**changes)), num_ranks=2)


@pytest.mark.parametrize("text", ["100ba", "1ep", "1e9tok", "0.1dur", "64sp"])
def test_times_are_read_as_composer_reads_them(text: str) -> None:
    from composer.core import Time

    theirs = Time.from_timestring(text)
    assert parse_duration("key", text) == Duration(float(theirs.value), theirs.unit.value)


def test_names_times_and_contradictions_are_told_without_torch(write_config: Callable[..., str]) -> None:
    script = (
        "import sys; from trainer.train import main; status = main(sys.argv[1:]); "
        "print('torch' in sys.modules, 'composer' in sys.modules, status)"
    )
    config = write_config(optimizer={"name": "adam"})
    done = subprocess.run(
        [sys.executable, "-c", script, config], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "False False 2", done.stderr
    assert "optimizer.name: optimizer 'adam' is unknown. Did you mean 'adamw'?" in done.stderr
