"""A tokenizer with more tokens, from the command to the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.commands.main import main
from plugins.extend_tokenizer import extend_tokenizer
from plugins.plain_token_ids import plain_ids
from plugins.tokenizers import fingerprint, load_tokenizer
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig
from tests.tiny import save_llama
from tests.trainer.conftest import random_rows
from tests.trainer.ranks import run_ranks, said
from trainer.model.architecture import build_on_meta
from trainer.model.new_embeddings import fit_vocabulary


@pytest.fixture
def extended(tiny_model: str, tmp_path: Path) -> str:
    """The tiny model's tokenizer with the added tokens `cytokine` and `femoral triangle`."""
    (tmp_path / "tokens.txt").write_text("cytokine\nfemoral triangle\n")
    extend_tokenizer(tiny_model, str(tmp_path / "tokens.txt"), str(tmp_path / "extended"))
    return str(tmp_path / "extended")


def fitted(model_dir: str, tokenizer: str, how: str | None) -> tuple[Any, str]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32)
    config = ModelConfig(pretrained_model_name_or_path=model_dir, new_embeddings=how)
    return model, fit_vocabulary(model, config, load_tokenizer(tokenizer))


def size_of(folder: str) -> int:
    return len(load_tokenizer(folder))


def test_new_rows_of_a_tied_model_are_the_mean_of_its_own(tiny_model: str, extended: str) -> None:
    before = fitted(tiny_model, tiny_model, None)[0].get_input_embeddings().weight
    model, told = fitted(tiny_model, extended, "mean")
    own, rows = size_of(tiny_model), model.get_input_embeddings().weight
    assert torch.equal(rows[: len(before)][:own], before[:own])
    assert torch.equal(rows[own : own + 2], before[:own].mean(dim=0).expand(2, -1))
    assert told.startswith("model.new_embeddings 'mean': 2 new tokens start so; the embedding has ")
    is_tied = model.config.tie_word_embeddings
    assert (model.get_output_embeddings().weight is rows) == is_tied
    assert model.config.vocab_size == len(rows) == max(own + 2, len(before))


@pytest.fixture
def untied_and_padded(tiny_model: str, tmp_path: Path) -> str:
    """A model with a head of its own and more rows than its tokenizer has ids."""
    tokenizer = load_tokenizer(tiny_model)
    folder = save_llama(tmp_path / "padded", vocab_size=len(tokenizer) + 1, seed=3, tie_word_embeddings=False)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (Path(folder) / name).write_bytes((Path(tiny_model) / name).read_bytes())
    return folder


def test_pieces_give_both_layers_the_mean_of_their_rows_also_where_a_row_was_there(
    untied_and_padded: str, extended: str
) -> None:
    old, _ = fitted(untied_and_padded, untied_and_padded, None)
    model, told = fitted(untied_and_padded, extended, "pieces")
    own = load_tokenizer(untied_and_padded)
    assert told.endswith(f"the embedding has {len(own) + 2:,} rows instead of {len(own) + 1:,}.")
    for layer in ("get_input_embeddings", "get_output_embeddings"):
        rows, before = getattr(model, layer)().weight, getattr(old, layer)().weight
        for number, token in enumerate(("cytokine", "femoral triangle"), start=len(own)):
            ids = plain_ids(own, token).tolist()
            assert len(ids) > 1
            assert torch.equal(rows[number], before[ids].mean(dim=0))
        assert torch.equal(rows[: len(own)], before[: len(own)])


def test_a_file_gives_the_rows_and_one_that_does_not_fit_is_named(
    untied_and_padded: str, extended: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "rows.safetensors")
    rows = {
        f"{layer}.{token}": torch.full((64,), float(number))
        for number, (layer, token) in enumerate(
            (layer, token) for layer in ("input", "output") for token in ("cytokine", "femoral triangle")
        )
    }
    save_file(rows, path)
    model, _ = fitted(untied_and_padded, extended, path)
    own = size_of(untied_and_padded)
    assert model.get_input_embeddings().weight[own:, 0].tolist() == [0.0, 1.0]
    assert model.get_output_embeddings().weight[own:, 0].tolist() == [2.0, 3.0]
    for changes, message in (
        ({"output.cytokine": None}, "lacks 'output.cytokine'."),
        ({"input.fever": torch.zeros(64)}, "has rows of no new token: 'input.fever'."),
        ({"input.cytokine": torch.zeros(1, 64)}, "'input.cytokine' has shape (1, 64), expected (64,)."),
        (
            {"output.cytokine": torch.full((64,), float("nan"))},
            "holds NaN or infinity in 'output.cytokine'.",
        ),
        (
            {"input.cytokine": torch.full((64,), 1e300, dtype=torch.float64)},
            "holds NaN or infinity in 'input.cytokine'.",
        ),
    ):
        changed = {name: values for name, values in {**rows, **changes}.items() if values is not None}
        save_file(changed, path)
        with pytest.raises(ConfigError) as caught:
            fitted(untied_and_padded, extended, path)
        assert str(caught.value).endswith(message)
    with pytest.raises(
        ConfigError, match=r"cannot be read: .* Expected mean, pieces or a safetensors file\."
    ):
        fitted(untied_and_padded, extended, "average")


def test_a_dry_run_refuses_the_tokenizers_and_rows_that_training_refuses(
    tiny_model: str,
    extended: str,
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(
        tokenizer={"name": extended},
        train_loader={"dataset": {"streams": {"domain": {"corpus": "/nowhere"}}}},
    )
    sound = {f"input.{token}": torch.zeros(64) for token in ("cytokine", "femoral triangle")}
    path = str(tmp_path / "rows.safetensors")

    def status(*overrides: str) -> tuple[int, str]:
        code = main(["train", config, "--dry-run", "--seq-len", "32", *overrides])
        return code, capsys.readouterr().err

    key = "model.new_embeddings"
    code, said = status()
    assert code == 2 and " ids, but the embedding of " in said
    code, said = status(f"{key}=piece")
    assert code == 2 and "Expected mean, pieces or a safetensors file." in said
    for rows, message in (
        ({"input.cytokine": torch.zeros(64)}, "lacks 'input.femoral triangle'."),
        ({**sound, "output.cytokine": torch.zeros(64)}, "has rows of no new token: 'output.cytokine'."),
        ({**sound, "input.cytokine": torch.zeros(3)}, "'input.cytokine' has shape (3,), expected (64,)."),
        ({**sound, "input.cytokine": torch.full((64,), float("inf"))}, "in 'input.cytokine'."),
    ):
        save_file(rows, path)
        code, said = status(f"{key}={path}")
        assert (code, said.rstrip().endswith(message)) == (2, True), said
    save_file(sound, path)
    for how in ("mean", "pieces", path):
        assert status(f"{key}={how}")[0] == 0


def test_a_multimodal_model_and_a_bias_of_the_head_get_rows_and_another_rank_has_their_shapes(
    tiny_model: str, extended: str, tmp_path: Path
) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PhiConfig, PhiForCausalLM

    own = size_of(tiny_model)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, **heads}
    images = {"image_size": 28, "patch_size": 14}
    gemma = Gemma3Config(
        text_config={"vocab_size": own, "head_dim": 16, **sizes},
        vision_config={**sizes, **images},
        mm_tokens_per_image=4,
    )
    for kind, config in (
        (Gemma3ForConditionalGeneration, gemma),
        (PhiForCausalLM, PhiConfig(vocab_size=own, **sizes)),
    ):
        folder = tmp_path / kind.__name__
        kind(config).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (folder / name).write_bytes((Path(tiny_model) / name).read_bytes())
        model, _ = fitted(str(folder), extended, "mean")
        assert model.config.get_text_config().vocab_size == own + 2
        rows = model.get_input_embeddings().weight
        assert torch.equal(rows[own], rows[:own].mean(dim=0))
        bias = getattr(model.get_output_embeddings(), "bias", None)
        assert bias is None or torch.equal(bias[own:], bias[:own].mean().expand(2))
        on_meta = build_on_meta(
            ModelConfig(pretrained_model_name_or_path=str(folder), new_embeddings="mean"),
            load_tokenizer(extended),
        )
        shapes = [{name: each.shape for name, each in one.state_dict().items()} for one in (model, on_meta)]
        assert shapes[0] == shapes[1]


def test_without_the_key_new_tokens_are_refused_even_where_there_are_rows(
    untied_and_padded: str, extended: str, tiny_model: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"or set model\.new_embeddings \(mean, pieces or a file\)"):
        fitted(untied_and_padded, extended, None)
    (tmp_path / "one.txt").write_text("cytokine")
    extend_tokenizer(tiny_model, str(tmp_path / "one.txt"), str(tmp_path / "one"))
    with pytest.raises(ConfigError, match="and no trained one for 'cytokine'"):
        fitted(untied_and_padded, str(tmp_path / "one"), None)
    _, told = fitted(untied_and_padded, str(tmp_path / "one"), "mean")
    assert told.endswith(" rows, as before.")
    with pytest.raises(ConfigError, match="but the model has a row for each token of tokenizer"):
        fitted(untied_and_padded, untied_and_padded, "mean")


@pytest.mark.slow
def test_from_extended_tokenizer_to_exported_model(
    untied_and_padded: str,
    extended: str,
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Corpus, training, resumption, export and a score, all with the new tokens."""
    from streaming import StreamingDataset
    from transformers import AutoModelForCausalLM

    from schemas.manifest import read_manifest

    own = size_of(untied_and_padded)
    (tmp_path / "in.jsonl").write_text(
        "\n".join(
            json.dumps({"id": str(number), "text": f"cytokine {number} binds a femoral triangle " * 9})
            for number in range(40)
        )
    )
    (tmp_path / "corpus.yaml").write_text(
        json.dumps(
            {
                "corpus": str(tmp_path / "grown"),
                "streams": {
                    "domain": {
                        "sources": [{"reader": "jsonl", "uri": str(tmp_path / "in.jsonl"), "id_field": "id"}]
                    }
                },
                "tokenizer": {"name": extended},
                "pack": {"seq_len": 32},
            }
        )
    )
    assert main(["corpus", "build", str(tmp_path / "corpus.yaml")]) == 0, capsys.readouterr().err
    (shards,) = read_manifest(str(tmp_path / "grown")).shard_sets("domain")
    dataset = StreamingDataset(local=str(tmp_path / "grown" / shards.path), shuffle=False, batch_size=1)
    tokens = {int(token) for number in range(shards.num_samples) for token in dataset[number]["tokens"]}
    assert {own, own + 1} <= tokens

    def config(**changes: Any) -> str:
        values: dict[str, Any] = {
            "model": {"pretrained_model_name_or_path": untied_and_padded, "new_embeddings": "mean"},
            "tokenizer": {"name": extended},
            "train_loader": {"dataset": {"streams": {"domain": {"corpus": str(tmp_path / "grown")}}}},
            "callbacks": {"hf_export": {"folder": str(tmp_path / "exported"), "dtype": "float32"}},
            "save_folder": str(tmp_path / "checkpoints"),
            "save_interval": "1ba",
            "autoresume": True,
            "scheduler": {"name": "cosine_with_warmup", "t_warmup": "1ba"},
            "max_duration": "2ba",
        }
        return write_config(**{**values, **changes})

    assert main(["train", config()]) == 0
    assert "model.new_embeddings 'mean': 2 new tokens start so" in capsys.readouterr().err
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    assert exported.config.vocab_size == len(exported.get_input_embeddings().weight) == own + 2
    assert load_tokenizer(str(tmp_path / "exported"))("cytokine", add_special_tokens=False).input_ids == [own]

    assert main(["export", config(), "--output", str(tmp_path / "again"), "--dtype", "float32"]) == 0
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        tmp_path / "exported/model.safetensors"
    ).read_bytes()
    assert main(["train", config(), "--dry-run", "--json"]) == 0
    parameters = json.loads(capsys.readouterr().out.splitlines()[-1])["parameters"]
    assert parameters == exported.num_parameters()

    # The run keeps the checkpoint's rows. Another `new_embeddings` changes nothing, and the run says so.
    model = {"pretrained_model_name_or_path": untied_and_padded, "new_embeddings": "pieces"}
    assert main(["train", config(model=model, max_duration="3ba")]) == 0
    said = capsys.readouterr().err
    assert 'model.new_embeddings was "mean" and is "pieces": this changes nothing' in said
    assert "new tokens start" not in said
    assert main(["chat", "--model", str(tmp_path / "exported"), "--prompt", "cytokine", "--raw"]) == 0

    # With an adapter the new rows keep their initial values, and only the merged model has them.
    model = {**model, "peft_config": {"peft_type": "LORA", "r": 2, "target_modules": ["up_proj"]}}
    adapted = config(model=model, save_folder=str(tmp_path / "of-adapter"))
    assert main(["train", adapted]) == 0
    assert "the new rows are not trained, since modules_to_save names no embedding" in capsys.readouterr().err
    by_callback = (tmp_path / "exported/model.safetensors").read_bytes()
    merge = ["export", adapted, "--dtype", "float32", "--output"]
    assert main([*merge, str(tmp_path / "merged")]) == 0
    assert (tmp_path / "merged/model.safetensors").read_bytes() == by_callback
    rows = load_file(tmp_path / "merged/model.safetensors")["model.embed_tokens.weight"]
    begun, _ = fitted(untied_and_padded, extended, "pieces")
    assert torch.equal(rows, begun.get_input_embeddings().weight)
    capsys.readouterr()
    assert main([*merge, str(tmp_path / "alone"), "--adapter"]) == 2
    assert "model.new_embeddings changes the model that it was trained with" in capsys.readouterr().err
    model["new_embeddings"] = "mean"
    assert main(["train", config(model=model, save_folder=str(tmp_path / "of-adapter"))]) == 2
    assert "Its checkpoints hold an adapter, which fits only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(260)
def test_two_ranks_of_which_one_has_no_weights_begin_with_the_same_rows(
    untied_and_padded: str,
    extended: str,
    make_corpus: Callable[..., str],
    write_config: Callable[..., str],
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file

    corpus = make_corpus(
        {"domain": [random_rows(12, first=100)]},
        name="grown",
        fingerprint=fingerprint(load_tokenizer(extended)),
    )
    config = write_config(
        model={
            "pretrained_model_name_or_path": untied_and_padded,
            "new_embeddings": "mean",
            "init_device": "mixed",
        },
        tokenizer={"name": extended},
        train_loader={"dataset": {"streams": {"domain": {"corpus": corpus}}}},
        parallelism_config={"fsdp": {}},
        optimizer={"name": "decoupled_adamw", "lr": "1e-30", "weight_decay": 0.0},
        callbacks={"hf_export": {"folder": str(tmp_path / "exported"), "dtype": "float32"}},
        max_duration="1ba",
    )
    assert run_ranks(tmp_path, [("run", 2, config)]) == {"run": 0}, said(tmp_path, "run")[-4000:]
    expected, _ = fitted(untied_and_padded, extended, "mean")
    exported = load_file(tmp_path / "exported/model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(exported[name], expected.state_dict()[name])
