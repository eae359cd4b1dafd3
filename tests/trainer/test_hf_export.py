"""An export is whole, has the requested dtype, and records its origin."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.config import validate
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig


def config_of(model: str) -> TrainConfig:
    return validate(
        TrainConfig,
        {
            "run_name": "tiny",
            "model": {"pretrained_model_name_or_path": model},
            "train_loader": {
                "dataset": {
                    "streams": {
                        "domain": {"corpus": "runs/corpus", "manifest": 3, "proportion": 0.5},
                        "general": {"corpus": "runs/corpus", "manifest": 3, "proportion": 0.5},
                    }
                }
            },
            "max_duration": "10ba",
            "global_train_batch_size": 4,
            "optimizer": {"name": "adamw"},
            "scheduler": {"name": "cosine_with_warmup"},
        },
        name="test",
    )


@pytest.fixture
def state(tiny_model: str) -> Any:
    """State that a callback sees of a model trained for 10 batches."""
    from composer.models import HuggingFaceModel
    from transformers import AutoModelForCausalLM

    from plugins.tokenizers import load_tokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.config.use_cache = False
    wrapped = HuggingFaceModel(model, tokenizer=load_tokenizer(tiny_model))
    timestamp = SimpleNamespace(batch=10, token=1280)
    return SimpleNamespace(model=wrapped, fsdp_enabled=False, timestamp=timestamp, callbacks=[])


def export_of(tiny_model: str, folder: Path, **arguments: Any) -> Any:
    from plugins.callbacks.export_while_training import HuggingFaceExport
    from plugins.tokenizers import load_tokenizer

    return HuggingFaceExport.from_config(
        {"folder": str(folder), **arguments},
        config=config_of(tiny_model),
        tokenizer=load_tokenizer(tiny_model),
    )


def test_the_export_is_bfloat16_and_uses_its_cache_again(tiny_model: str, state: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    export_of(tiny_model, tmp_path / "export").export(state)
    weights = load_file(tmp_path / "export" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in weights  # tied to the embedding
    written = json.loads((tmp_path / "export" / "config.json").read_text())
    assert written.get("dtype", written.get("torch_dtype")) == "bfloat16"  # transformers 5 and 4
    assert written["use_cache"] is True
    assert written["architectures"] == ["LlamaForCausalLM"]
    assert next(state.model.parameters()).dtype == torch.float32
    assert state.model.config.use_cache is False


def test_the_exported_model_computes_what_the_trained_one_does(
    tiny_model: str, state: Any, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with torch.no_grad():  # as if trained
        for parameter in state.model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    export_of(tiny_model, tmp_path / "export", dtype="float32").export(state)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    batch = tokenizer("the cell protein binds a dose", return_tensors="pt")
    state.model.eval()
    with torch.no_grad():
        assert torch.equal(exported(**batch).logits, state.model.model(**batch).logits)


def test_a_second_export_replaces_the_first_and_leaves_nothing_beside_it(
    tiny_model: str, state: Any, tmp_path: Path
) -> None:
    callback = export_of(tiny_model, tmp_path / "runs" / "{run_name}", dtype="float32")
    callback.export(state)
    first = sorted(os.listdir(tmp_path / "runs" / "tiny"))
    callback.export(state)
    assert os.listdir(tmp_path / "runs") == ["tiny"]
    assert sorted(os.listdir(tmp_path / "runs" / "tiny")) == first
    assert {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    } <= set(first)


def test_a_failed_export_leaves_the_last_one(
    tiny_model: str, state: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = export_of(tiny_model, tmp_path / "export")
    callback.export(state)
    before = (tmp_path / "export" / "README.md").read_text()

    def fail(path: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(state.model.model.generation_config, "to_json_file", fail)
    with pytest.raises(OSError, match="disk full"):
        callback.export(state)
    assert (tmp_path / "export" / "README.md").read_text() == before
    assert [name for name in os.listdir(tmp_path) if "export" in name] == ["export"]


def test_what_the_run_does_not_change_is_the_base_models_byte_by_byte(
    tiny_model: str, tmp_path: Path
) -> None:
    from composer.models import HuggingFaceModel
    from transformers import AutoModelForCausalLM

    from plugins.callbacks.export_while_training import HuggingFaceExport
    from plugins.tokenizers import as_it_came, load_tokenizer

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    change = {
        "tokenizer_config.json": {"split_special_tokens": False, "padding_side": "left"},  # as Qwen2's
        "generation_config.json": {"temperature": 0.6, "top_p": 0.9},  # without do_sample
        "config.json": {"use_cache": False},
    }
    for name, values in change.items():
        said = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps({**said, **values}, indent=1))
    (base / "chat_template.jinja").write_text("{{ messages }}")
    tokenizer = load_tokenizer(str(base))
    wrapped = HuggingFaceModel(AutoModelForCausalLM.from_pretrained(base), tokenizer=as_it_came(tokenizer))
    wrapped.model.config.use_cache = False
    timestamp = SimpleNamespace(batch=10, token=1280)
    state: Any = SimpleNamespace(
        model=wrapped, fsdp_enabled=False, timestamp=timestamp, callbacks=[], run_name="tiny"
    )
    by_config = HuggingFaceExport.from_config(
        {"folder": str(tmp_path / "by-config")}, config=config_of(str(base)), tokenizer=tokenizer
    )
    by_foundry = HuggingFaceExport(str(tmp_path / "by-foundry"))
    for callback in (by_config, by_foundry):
        callback.init(state, None)  # type: ignore[arg-type, unused-ignore]
        callback.export(state)
        for path in base.iterdir():
            if path.name not in ("config.json", "model.safetensors"):
                assert (Path(callback.folder) / path.name).read_bytes() == path.read_bytes(), path.name
        written = json.loads((Path(callback.folder) / "config.json").read_text())
        expected = json.loads((base / "config.json").read_text())
        dtype = "dtype" if "dtype" in written else "torch_dtype"
        assert written == {**expected, dtype: "bfloat16"}
    # Checkpoints hold the tokenizer, too; other converters take it from there.
    saved = wrapped.get_metadata()["tokenizer"]["tokenizer_config.json"]["content"]
    assert saved["split_special_tokens"] is False


def test_a_tokenizer_without_a_directory_is_exported_as_it_is(state: Any, tmp_path: Path) -> None:
    from plugins.hf_folder import read_base

    tokenizer = state.model.tokenizer
    tokenizer.name_or_path = ""
    tokenizer.init_kwargs["split_special_tokens"] = False
    files = read_base("", tokenizer).files
    assert json.loads(files["tokenizer_config.json"])["split_special_tokens"] is False
    assert "tokenizer.json" in files


def test_the_card_names_base_model_streams_tokens_and_scores(
    tiny_model: str, state: Any, tmp_path: Path
) -> None:
    earlier = SimpleNamespace(scored_batch=5, scores={"quiz/accuracy": 0.1})
    now = SimpleNamespace(scored_batch=10, scores={"quiz/accuracy": 0.25, "tasks/average": 1 / 3})
    for callbacks, scores in (([object(), earlier], False), ([object(), earlier, now], True)):
        state.callbacks = callbacks
        export_of(tiny_model, tmp_path / "export").export(state)
        card = (tmp_path / "export" / "README.md").read_text()
        assert "# tiny\n" in card
        assert f"| base model | {tiny_model} |" in card
        assert "| stream domain | runs/corpus, stream domain, manifest 3, proportion 0.5 |" in card
        assert "| steps | 10 |\n| tokens seen | 1,280 |\n" in card
        assert ("\n| quiz/accuracy | 0.2500 |\n| tasks/average | 0.3333 |\n" in card) is scores
        assert ("| domain evaluation | score |" in card) is scores
        assert "base_model:" not in card  # a path on this disk


def test_a_base_model_of_the_hub_is_named_in_the_cards_header() -> None:
    from plugins.model_card import model_card

    card = model_card({"base model": "meta-llama/Meta-Llama-3-8B"}, steps=1, tokens=None, scores={})
    assert "\nbase_model: meta-llama/Meta-Llama-3-8B\n" in card


def test_a_folder_of_something_else_is_not_replaced(tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(ConfigError, match="holds files that are no export"):
        export_of(tiny_model, tmp_path / "thesis")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "fp8"}, "dtype: dtype 'fp8' is unknown.*Available: bfloat16, float16, float32"),
        ({"interval": "often"}, "interval is 'often'; expected a time such as 500ba"),
    ],
)
def test_wrong_arguments_are_refused(tiny_model: str, tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_of(tiny_model, tmp_path / "export", **arguments)


def test_a_folder_on_a_store_is_refused(tiny_model: str) -> None:
    from plugins.callbacks.export_while_training import HuggingFaceExport

    with pytest.raises(ConfigError, match="expected a local directory"):
        HuggingFaceExport("s3://bucket/export")
