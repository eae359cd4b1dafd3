"""A model under training is the model that its configuration names."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig


def transformers_is_5() -> bool:
    return metadata.version("transformers") >= "5"


def build(model: str, **changes: Any) -> Any:
    return build_with(17, model, **changes)


def build_with(seed: int, model: str, **changes: Any) -> Any:
    from trainer.model.packed_model import build_model

    config, tokenizer = ModelConfig(pretrained_model_name_or_path=model, **changes), load_tokenizer(model)
    return build_model(config, tokenizer, row_tokens=32, attention_boundaries=True, seed=seed).model


@pytest.fixture
def wrapped(tiny_model: str, tmp_path: Path) -> str:
    """The tiny model, saved by a program that did not remove its wrapper."""
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
    from trainer.evaluation import command

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "the cell", "options": ["a", "b"], "gold_index": 0}\n')
    assert command.main(["--model", wrapped, "--tasks", str(rows)]) == 2
    assert "--model" in (told := capsys.readouterr().err) and "begin with 'module.'" in told
    assert chat.main(["--model", wrapped, "--prompt", "the"]) == 2
    assert "begin with 'module.'" in capsys.readouterr().err
    named = ["--weights-may-differ", "."]
    assert command.main(["--model", wrapped, "--tasks", str(rows), *named]) == 0
    assert chat.main(["--model", wrapped, "--prompt", "the", "--max-new-tokens", "1", *named]) == 0


@pytest.fixture(scope="module")
def gemma(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Gemma 2, whose attention scores have a soft cap."""
    import transformers

    if transformers_is_5():
        pytest.skip("newer versions do not leave the soft cap out")
    folder = str(tmp_path_factory.mktemp("gemma") / "model")
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.Gemma2Config(vocab_size=2048, max_position_embeddings=128, **sizes, **heads)
    transformers.Gemma2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pretrained", [True, False])
def test_attention_that_computes_another_model_is_refused_in_training(gemma: str, pretrained: bool) -> None:
    with pytest.raises(
        ConfigError,
        match=r"attn_implementation: attention 'sdpa' computes another Gemma2ForCausalLM than eager \(logits "
        r"[\d.]+% off\)\. Set model\.attn_implementation: eager\.",
    ):
        build(gemma, pretrained=pretrained)
    model = build(gemma, pretrained=pretrained, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"


def test_evaluation_takes_eager_where_another_attention_computes_another_model(
    gemma: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from plugins.causal_lm import load_causal_lm

    model = load_causal_lm("--model", gemma, naming="--weights-may-differ", torch_dtype=torch.float32)
    assert model.config._attn_implementation == "eager"
    said = capsys.readouterr().err
    assert said.startswith(
        f"{gemma}: attention 'sdpa' computes another Gemma2ForCausalLM than eager (logits "
    )
    assert said.endswith("% off); eager is used.\n")


def test_warnings_of_transformers_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.startup.library_warnings import quiet_libraries

    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    quiet_libraries("info")
    assert "TRANSFORMERS_VERBOSITY" not in os.environ


@pytest.fixture(scope="module")
def multimodal(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Gemma 3 for images and text, whose sizes are in `text_config`."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    folder = str(tmp_path_factory.mktemp("multimodal") / "model")
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    heads = {"head_dim": 16, "num_key_value_heads": 2, "sliding_window": 16}
    images = {"image_size": 28, "patch_size": 14, "num_channels": 3}
    config = Gemma3Config(
        text_config={"vocab_size": 2048, "max_position_embeddings": 4096, **sizes, **heads},
        vision_config={**sizes, **images},
        mm_tokens_per_image=4,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_multimodal_model_trains_on_its_text_alone(
    multimodal: str, write_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from plugins.causal_lm import load_causal_lm
    from trainer import train

    config = write_config(
        model={"pretrained_model_name_or_path": multimodal},
        max_duration="3ba",
        callbacks={"hf_export": {"folder": str(tmp_path / "export"), "dtype": "float32"}},
    )
    assert train.main([config]) == 0
    assert "parameters outside its text model are not trained." in capsys.readouterr().err
    trained, base = (
        load_causal_lm("--model", each, naming="", torch_dtype=torch.float32).eval()
        for each in (str(tmp_path / "export"), multimodal)
    )
    moved = {
        name.split(".")[1]
        for name, weight in trained.state_dict().items()
        if not torch.equal(weight, base.state_dict()[name])
    }
    assert moved == {"language_model", "weight"}  # the latter is the head, which is tied
    assert trained.config.to_dict()["text_config"]["use_cache"] is True


def test_overrides_reach_the_sizes_of_a_multimodal_models_text(multimodal: str) -> None:
    from trainer.model.architecture import load_hf_config

    def loaded(**overrides: Any) -> Any:
        return load_hf_config(
            ModelConfig(pretrained_model_name_or_path=multimodal, config_overrides=overrides)
        )

    assert loaded(num_hidden_layers=1).text_config.num_hidden_layers == 1
    with pytest.raises(ConfigError, match=r"config_overrides\.num_layrs: Gemma3TextConfig has no such key\."):
        loaded(num_layrs=1)


@pytest.mark.slow
def test_a_run_from_scratch_begins_with_the_weights_of_its_seed(tiny_model: str) -> None:
    first, again, other = (
        build_with(seed, tiny_model, pretrained=False).lm_head.weight.detach() for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
