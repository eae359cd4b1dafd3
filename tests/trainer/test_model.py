"""A model under training is the model that its configuration names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig


def build(model: str, **changes: Any) -> Any:
    from trainer.model import build_model

    config = ModelConfig(pretrained_model_name_or_path=model, **changes)
    return build_model(config, load_tokenizer(model), attention_boundaries=True).model


@pytest.fixture
def wrapped(tiny_model: str, tmp_path: Path) -> str:
    """The tiny model as a program saves it that forgot its wrapper."""
    folder = tmp_path / "wrapped"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({f"module.{name}": each for name, each in weights.items()}, folder / "model.safetensors")
    return str(folder)


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"num_hidden_layers": 3}, "9 missing from its files, thus random (model.layers.2."),
        ({"num_hidden_layers": 1}, "9 in its files alone (model.layers.1."),
        ({"tie_word_embeddings": False}, "1 missing from its files, thus random (lm_head.weight)"),
        ({"intermediate_size": 64}, "6 of another shape in its files (model.layers.0.mlp.down_proj.weight,"),
    ],
)
def test_overrides_that_the_files_do_not_follow_are_refused(
    tiny_model: str, overrides: dict[str, Any], found: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(tiny_model, config_overrides=overrides)
    assert found in str(caught.value)
    assert "name these weights in model.weights_may_differ." in str(caught.value)


def test_weights_that_are_named_may_start_at_random(
    tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(
        tiny_model, config_overrides={"num_hidden_layers": 3}, weights_may_differ=[r"^model\.layers\.2\."]
    )
    assert model.model.layers[2].mlp.up_proj.weight.std() > 0.01
    saved = load_file(Path(tiny_model, "model.safetensors"))
    assert torch.equal(model.model.layers[1].mlp.up_proj.weight, saved["model.layers.1.mlp.up_proj.weight"])
    assert "as model.weights_may_differ allows, 9 missing from its files" in capsys.readouterr().err


@pytest.mark.parametrize("init_device", ["cpu", "mixed"])
def test_a_wrappers_prefix_is_refused_on_whichever_device_weights_begin(
    wrapped: str, init_device: str
) -> None:
    with pytest.raises(ConfigError, match=r"The names in the files begin with 'module\.'"):
        build(wrapped, init_device=init_device)


def test_eval_and_chat_refuse_it(wrapped: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from trainer import chat
    from trainer.evaluation import evaluate

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "the cell", "options": ["a", "b"], "gold_index": 0}\n')
    assert evaluate.main(["--model", wrapped, "--tasks", str(rows)]) == 2
    assert "--model" in (told := capsys.readouterr().err) and "begin with 'module.'" in told
    assert chat.main(["--model", wrapped, "--prompt", "the"]) == 2
    assert "begin with 'module.'" in capsys.readouterr().err
    named = ["--weights-may-differ", "."]
    assert evaluate.main(["--model", wrapped, "--tasks", str(rows), *named]) == 0
    assert chat.main(["--model", wrapped, "--prompt", "the", "--max-new-tokens", "1", *named]) == 0
