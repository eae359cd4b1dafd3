"""Contradictions of a training YAML, named before anything heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.config import load_config
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.startup.config_checks import check_config, check_hardware, known_device, run_tokenizer
from trainer.startup.run_length import Duration, parse_duration

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"autoresume": True}, "autoresume is true, but save_folder is null"),
        (
            {"autoresume": True, "save_folder": "x", "save_num_checkpoints_to_keep": 0},
            "save_num_checkpoints_to_keep is 0: no checkpoint is kept to resume from",
        ),
        ({"load_weights_only": True}, "load_weights_only is true, but load_path is null"),
        ({"precision": "bf16"}, "value 'precision' is unknown"),
        (
            {"max_duration": "1000tok", "scheduler": {"name": "cosine_with_warmup", "t_warmup": "2ba"}},
            "scheduler.t_warmup is in ba and max_duration in tok; a warm-up is measured as the run is.",
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
            "model.init_device is 'meta', which would leave buffers empty that no checkpoint holds",
        ),
        ({"global_train_batch_size": 3}, "global_train_batch_size is 3, which 2 ranks cannot share evenly."),
        (
            {"parallelism_config": {"fspd": {}}},
            "key 'parallelism_config.fspd' is unknown. Did you mean 'fsdp'? Available: fsdp, tp.",
        ),
        (
            {"parallelism_config": {"fsdp": {"activation_checkpoint": True}}},
            "key 'parallelism_config.fsdp.activation_checkpoint' is unknown. Did you mean "
            "'activation_checkpointing'?",
        ),
        (
            {"model": {"pretrained_model_name_or_path": "x", "attn_implementation": "flash_attention_2"}},
            "'flash_attention_2', which computes in 16 bits, but precision is 'fp32'.",
        ),
        (
            {"model": {"pretrained_model_name_or_path": "/nowhere/model"}},
            "model.pretrained_model_name_or_path '/nowhere/model': no such directory.",
        ),
    ],
)
def test_a_contradiction_is_named(
    write_config: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    config = load_config(TrainConfig, write_config(**changes))
    with pytest.raises(ConfigError) as raised:
        check_config(config, num_ranks=2)
    assert message in str(raised.value)


def test_a_checkpoint_is_no_model(write_config: Callable[..., str], tmp_path: Path) -> None:
    sharded = tmp_path / "ep0-ba4"
    sharded.mkdir()
    (sharded / ".metadata").write_bytes(b"")
    for path in (sharded, tmp_path / "ep0-ba4-rank0.pt"):
        config = load_config(TrainConfig, write_config(model={"pretrained_model_name_or_path": str(path)}))
        with pytest.raises(ConfigError, match="is a training checkpoint"):
            check_config(config, num_ranks=1)


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


@pytest.mark.parametrize(
    ("changes", "device", "message"),
    [
        (
            {"precision": "amp_bf16"},
            "cpu",
            "precision is 'amp_bf16', but on a CPU Composer trains in fp32 only.",
        ),
        (
            {"model": {"pretrained_model_name_or_path": "x", "attn_implementation": "flex_attention"}},
            "cpu",
            "model.attn_implementation is 'flex_attention', whose compiled form torch has for GPUs only.",
        ),
        (
            {
                "model": {"pretrained_model_name_or_path": "x", "attn_implementation": "flash_attention_2"},
                "precision": "fp32",
            },
            "cpu",
            "model.attn_implementation is 'flash_attention_2', whose kernels are for GPUs only.",
        ),
        (
            {"parallelism_config": {"fsdp": {}}},
            "gpu",
            "device_train_microbatch_size is 'auto', which Composer cannot do together with FSDP2",
        ),
    ],
)
def test_what_a_device_cannot_run_is_named(
    write_config: Callable[..., str], changes: dict[str, Any], device: Any, message: str
) -> None:
    config = load_config(TrainConfig, write_config(**changes))
    with pytest.raises(ConfigError) as raised:
        check_hardware(config, device=device)
    assert message in str(raised.value)
    check_hardware(config, device=None)


def test_a_cpu_may_take_auto_with_fsdp_and_a_gpu_sixteen_bits(write_config: Callable[..., str]) -> None:
    check_hardware(load_config(TrainConfig, write_config(parallelism_config={"fsdp": {}})), device="cpu")
    check_hardware(load_config(TrainConfig, write_config(precision="amp_bf16")), device="gpu")


def test_a_machine_without_a_driver_or_with_gpus_hidden_has_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert known_device() == "cpu"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("trainer.startup.config_checks.ctypes.CDLL", lambda name: None)
    assert known_device() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"name": "adam"}},
            "optimizer.name: optimizer 'adam' is unknown. Did you mean 'adamw'? Available: adamw, "
            "decoupled_adamw.",
        ),
        ({"precision": "amp_bf16"}, "precision is 'amp_bf16', but on a CPU Composer trains in fp32 only."),
        ({"loggers": {"wandb": {}}}, "loggers.wandb needs a package that is not installed: wandb."),
        (
            {
                "precision": "amp_bf16",
                "model": {"pretrained_model_name_or_path": "x", "attn_implementation": "flash_attention_2"},
            },
            "model.attn_implementation is 'flash_attention_2', but the package flash-attn is not installed.",
        ),
    ],
)
def test_what_is_wrong_is_told_without_torch(
    write_config: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if "flash" not in message else {}
    script = (
        "import sys; sys.modules['wandb'] = sys.modules['flash_attn'] = None\n"
        "import trainer.train\n"
        "if 'flash-attn' in sys.argv.pop(): trainer.train.known_device = lambda: None\n"
        "status = trainer.train.main(sys.argv[1:])\n"
        "print('torch' in sys.modules, 'composer' in sys.modules, status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, write_config(**changes), message],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, **hidden},
    )
    assert done.stdout.strip() == "False False 2", done.stderr
    assert message in done.stderr


def test_a_model_that_is_not_there_is_named_by_its_key(
    write_config: Callable[..., str], tmp_path: Path
) -> None:
    gone = str(tmp_path / "nope")
    for changes, key in (
        ({"model": {"pretrained_model_name_or_path": gone}}, "model.pretrained_model_name_or_path"),
        ({"tokenizer": {"name": gone}}, "tokenizer.name"),
    ):
        with pytest.raises(ConfigError, match=f"^{key} is '{gone}', but tokenizer '{gone}' cannot be loaded"):
            run_tokenizer(load_config(TrainConfig, write_config(**changes)))
