"""Shipped training configurations: whole models built without weights, batch sizes as in the paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.config import load_config
from schemas.train_config import TrainConfig
from trainer.startup.config_checks import check_config

ROOT = Path(__file__).resolve().parents[2]
YAMLS = sorted((ROOT / "trainer" / "yamls").glob("*.yaml"))

LLAMA3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
MISTRAL_7B = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "sliding_window": 4096,
}
SMOLLM2_135M = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}

# Shape (None: the one that is shipped), parameters, blocks, ranks, tokens a row, tokens a step, tokens of the
# run: METHOD of the paper's tables.
RUNS: dict[str, tuple[dict[str, Any] | None, int, int, int, int, int, float]] = {
    "finetune-synthesizer": (MISTRAL_7B, 7_241_732_096, 32, 4, 4096, 16_384, 0.2e9),
    "instruct-500m-scratch": (None, 502_187_520, 16, 8, 2048, 524_288, 100e9),
    "llama3-8b-biomedicine": (LLAMA3_8B, 8_030_261_248, 32, 8, 4096, 262_144, 1.049e9),
    "llama3-8b-finance": (LLAMA3_8B, 8_030_261_248, 32, 8, 4096, 262_144, 1.049e9),
    "llama3-8b-lora-biomedicine": (LLAMA3_8B, 8_030_261_248, 32, 1, 4096, 262_144, 1.049e9),
    "llama3-8b-vanilla": (LLAMA3_8B, 8_030_261_248, 32, 8, 4096, 262_144, 1.049e9),
    "smollm2-135m-cpu": (SMOLLM2_135M, 134_515_008, 30, 1, 256, 2_048, 204_800),
    "smollm2-135m-handbook": (SMOLLM2_135M, 134_515_008, 30, 1, 192, 192, 26_880),
}


def test_every_shipped_configuration_is_exercised_here() -> None:
    assert [path.stem for path in YAMLS] == list(RUNS)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_a_shipped_model_is_built_whole_and_its_batches_are_the_papers(path: Path, tmp_path: Path) -> None:
    from trainer.model.architecture import build_on_meta, describe, is_block
    from trainer.startup.run_length import num_steps, pace_of

    shape, parameters, blocks, num_ranks, seq_len, tokens_per_step, tokens = RUNS[path.stem]
    config = load_config(TrainConfig, path)
    check_config(config, num_ranks=num_ranks)
    model_config = config.model
    if shape is None:
        folder = str(ROOT / model_config.pretrained_model_name_or_path)
    else:
        folder = str(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(shape))
    model = build_on_meta(model_config.model_copy(update={"pretrained_model_name_or_path": folder}))
    architecture = describe(model)
    assert architecture.parameters.total == parameters
    assert all(parameter.is_meta for parameter in model.parameters())
    wrapped = [name for name, module in model.named_modules() if is_block(model)(module)]
    assert wrapped == [f"model.layers.{i}" for i in range(blocks)]
    assert config.global_train_batch_size * seq_len == tokens_per_step
    steps = num_steps(config, pace_of(config, (), seq_len))
    assert steps * tokens_per_step == pytest.approx(tokens, rel=1e-3)
    microbatch = config.device_train_microbatch_size
    assert microbatch == "auto" or (config.global_train_batch_size // num_ranks) % microbatch == 0


@pytest.mark.parametrize("name", ["llama3-8b-biomedicine", "llama3-8b-finance", "llama3-8b-vanilla"])
def test_domain_runs_follow_the_papers_table(name: str) -> None:
    config = load_config(TrainConfig, ROOT / "trainer" / "yamls" / f"{name}.yaml")
    assert (config.max_duration, config.optimizer.name) == ("4000ba", "adamw")
    assert config.optimizer.arguments == {"lr": 1e-5, "betas": [0.9, 0.95], "weight_decay": 0.1}
    assert config.scheduler.arguments == {"t_warmup": "1000ba", "alpha_f": 0.0}
    assert config.algorithms == {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}}
    streams = config.train_loader.dataset.streams
    shares = {key: stream.proportion for key, stream in streams.items()}
    assert shares == ({"domain": None} if name == "llama3-8b-vanilla" else {"domain": 1, "general": 1})


@pytest.mark.slow
def test_an_adapter_of_8b_fits_one_gpu_of_80_gb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from trainer import train

    (tmp_path / "config.json").write_text(json.dumps(LLAMA3_8B))
    yaml = str(ROOT / "trainer" / "yamls" / "llama3-8b-lora-biomedicine.yaml")
    model = f"model.pretrained_model_name_or_path={tmp_path}"
    command = [yaml, model, "--dry-run", "--json", "--gpus", "1", "--gpu", "h100", "--seq-len", "4096"]
    assert train.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["parameters"], found["trained_parameters"]) == (8_198_033_408, 167_772_160)
    assert found["memory"]["weights"] == 4 * 8_198_033_408
    assert found["memory"]["gradients"] == 4 * 167_772_160
    assert 40 < found["memory"]["total"] / 2**30 < 50


def test_the_run_from_scratch_needs_no_hub_for_its_model() -> None:
    config = load_config(TrainConfig, ROOT / "trainer" / "yamls" / "instruct-500m-scratch.yaml")
    assert (config.model.pretrained, config.optimizer.arguments["lr"]) == (False, 3e-4)
    assert {name: stream.repeat for name, stream in config.train_loader.dataset.streams.items()} == {
        "raw": 1,
        "augmented": 1,
        "tuning": 4,
    }
