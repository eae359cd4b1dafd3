"""Adapters: trained alone, saved alone, and resumed exactly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.adapter_folder import base_of, other_base
from plugins.callbacks import CALLBACKS
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig
from tests.trainer.ranks import RECORDER, recorded, run_ranks, said
from trainer import chat, export, train

LORA = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "up_proj"],
}


def adapted(model: str, **changes: Any) -> dict[str, Any]:
    return {"pretrained_model_name_or_path": model, "peft_config": {**LORA, **changes}}


def build(model: str, **changes: Any) -> Any:
    from trainer.model.packed_model import build_model

    config = ModelConfig(**adapted(model, **changes))
    return build_model(config, load_tokenizer(model), row_tokens=32, attention_boundaries=True).model


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    from trainer.checkpoints.checkpoint_files import read_checkpoint

    return read_checkpoint(str(path)).weights


@pytest.mark.slow
def test_an_interrupted_run_of_an_adapter_goes_on_exactly(
    write_config: Callable[..., str],
    tiny_model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    monkeypatch.setitem(CALLBACKS._targets, "recorder", RECORDER)

    def config(name: str) -> str:
        return write_config(
            model=adapted(tiny_model),
            autoresume=True,
            save_folder=str(tmp_path / name),
            save_interval="2ba",
            callbacks={"recorder": {"path": str(tmp_path / name)}},
        )

    assert train.main([config("unbroken")]) == 0
    said = capsys.readouterr().err
    assert (
        "LlamaForCausalLM: 2,560 of 207,680 parameters are trained (1.23%); adapters in "
        "model.layers.*.self_attn.q_proj (2), model.layers.*.mlp.up_proj (2).\n"
    ) in said
    (tmp_path / "broken").mkdir()
    for name in ("run.json", "manifests.json", "ep0-ba2-rank0.pt"):
        shutil.copy(tmp_path / "unbroken" / name, tmp_path / "broken" / name)
    assert train.main([config("broken")]) == 0
    assert "going on after step 2" in capsys.readouterr().err
    assert recorded(tmp_path / "broken") == recorded(tmp_path / "unbroken")[2:]

    first, last, again = (
        weights_of(tmp_path / name)
        for name in ("broken/ep0-ba2-rank0.pt", "unbroken/ep0-ba6-rank0.pt", "broken/ep0-ba6-rank0.pt")
    )
    assert len(last) == 8 and all(".lora_" in name for name in last)
    assert all(torch.equal(last[name], again[name]) for name in last)
    assert not any(torch.equal(last[name], first[name]) for name in last)


@pytest.fixture(scope="module")
def untied(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model with an output layer of its own."""
    from tests.tiny import save_llama

    folder = tmp_path_factory.mktemp("untied") / "model"
    shutil.copytree(tiny_model, folder)
    return save_llama(folder, vocab_size=2048, seed=6, max_position_embeddings=128, tie_word_embeddings=False)


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits_BTV: torch.Tensor = model.eval()(input_ids=torch.tensor([[5, 3, 8, 2, 7, 1, 9]])).logits
    return logits_BTV


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [{}, {"use_dora": True}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}]
)
def test_an_adapter_is_exported_alone_and_merged_by_callback_and_command(
    write_config: Callable[..., str], untied: str, tmp_path: Path, kind: dict[str, Any]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from plugins.causal_lm import load_causal_lm

    model = adapted(untied, **kind)
    config = write_config(
        model=model,
        save_folder=str(tmp_path / "checkpoints"),
        max_duration="3ba",
        callbacks={"hf_export": {"folder": str(tmp_path / "callback"), "dtype": "float32"}},
    )
    assert train.main([config]) == 0
    for name, options in (("merged", []), ("adapter", ["--adapter"])):
        assert export.main([config, "--output", str(tmp_path / name), "--dtype", "float32", *options]) == 0

    base = load_file(Path(untied, "model.safetensors"))
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert merged.keys() == base.keys()
    by_callback = load_file(tmp_path / "callback" / "model.safetensors")
    assert all(torch.equal(merged[name], by_callback[name]) for name in merged)
    name = "model.layers.1.mlp.up_proj"
    if not kind:
        a, b = (adapter[f"base_model.model.{name}.lora_{each}.weight"] for each in "AB")
        assert torch.equal(merged[f"{name}.weight"], base[f"{name}.weight"] + (b @ a) * (8 / 4))
    moved = {each for each in base if not torch.equal(merged[each], base[each])}
    targets = {
        f"model.layers.{i}.{each}.weight" for i in (0, 1) for each in ("self_attn.q_proj", "mlp.up_proj")
    }
    assert moved == targets | ({"lm_head.weight"} if "modules_to_save" in kind else set())

    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {"config.json", "generation_config.json"} & names
    plain = AutoModelForCausalLM.from_pretrained(untied, torch_dtype=torch.float32)
    by_peft = logits_of(PeftModel.from_pretrained(plain, str(tmp_path / "adapter")))
    ours, whole = (
        logits_of(load_causal_lm("--model", str(tmp_path / each), naming="", torch_dtype=torch.float32))
        for each in ("adapter", "merged")
    )
    assert torch.equal(ours, by_peft)
    torch.testing.assert_close(whole, by_peft, rtol=1e-4, atol=1e-5)
    assert not torch.equal(whole, logits_of(AutoModelForCausalLM.from_pretrained(untied)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rank": 4}, r"key 'model\.peft_config\.rank' is unknown\..* Available: alpha_pattern, bias, "),
        (
            {"peft_type": "IA3"},
            r"model\.peft_config: peft_type 'IA3' is unknown\. Available: LORA\.",
        ),
        ({"task_type": "SEQ_CLS"}, r"Available: CAUSAL_LM\."),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights is 'pissa'; expected true, false or gaussian\."),
        (
            {"target_modules": ["q_proj", "v_prj"]},
            r"model\.peft_config\.target_modules: module 'v_prj' is unknown\. Did you mean 'v_proj'\? "
            r"Available: down_proj, embed_tokens, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, "
            r"v_proj\.",
        ),
        ({"target_modules": ".*nothing"}, r"model\.peft_config: peft cannot put .* \.\*nothing not found"),
        (
            {"modules_to_save": ["head"]},
            r"modules_to_save: module 'head' .* Did you mean 'lm_head'\?",
        ),
        (
            {"modules_to_save": ["lm_head"]},
            r"in LlamaForCausalLM they share their weights \(tie_word_embeddings\)",
        ),
        (
            {"rank_pattern": {"v_proj": 2}},
            r"rank_pattern: 'v_proj' is the name of no module that has",
        ),
        ({"r": 0}, r"model\.peft_config\.r is 0; expected a whole number of at least 1\."),
        ({"r": "four"}, r"model\.peft_config\.r is 'four'; expected a whole number of at least 1\."),
        ({"lora_alpha": 0}, r"lora_alpha is 0; expected a number over 0; with 0 nothing is learned\."),
        ({"alpha_pattern": {"q_proj": 0}}, r"alpha_pattern\.q_proj is 0; expected a number over 0"),
        ({"modules_to_save": ["nrm"]}, r"Available: .*input_layernorm, .*norm, .*post_attention_layernorm"),
    ],
)
def test_a_wrong_key_names_what_would_fit(tiny_model: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(tiny_model, **changes)


def test_what_an_adapter_cannot_do_is_refused_before_torch_is_imported(
    write_config: Callable[..., str], tiny_model: str, tmp_path: Path
) -> None:
    from schemas.config import load_config
    from schemas.train_config import TrainConfig
    from trainer.startup.config_checks import check_config

    def refused(told: str, **changes: Any) -> None:
        with pytest.raises(ConfigError, match=told):
            check_config(load_config(TrainConfig, write_config(**changes)), num_ranks=1)

    model = adapted(tiny_model)
    refused("peft_type' is missing", model={**model, "peft_config": {"r": 4}})
    refused("pretrained is false, so weights", model={**model, "pretrained": False})
    refused("weights_may_differ is set, so weights", model={**model, "weights_may_differ": ["x"]})
    alone = {"hf_export": {"folder": str(tmp_path / "export"), "adapter": True}}
    refused("the run trains the whole model", callbacks=alone)
    overrides = {"config_overrides": {"rope_theta": 2e4}}
    refused("config_overrides changes the model", callbacks=alone, model={**model, **overrides})
    (tmp_path / "adapter_config.json").write_text("{}")
    refused("is an adapter, no model", model={"pretrained_model_name_or_path": str(tmp_path)})


@pytest.mark.slow
def test_a_checkpoint_of_the_other_kind_and_another_adapter_are_refused(
    write_config: Callable[..., str], tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    plain = {"pretrained_model_name_or_path": tiny_model}

    def told(name: str, model: Any, status: int, **changes: Any) -> str:
        folder = str(tmp_path / name)
        config = write_config(
            model=model, save_folder=folder, autoresume=True, **{"max_duration": "1ba", **changes}
        )
        assert train.main([config]) == status
        return capsys.readouterr().err

    told("whole", plain, 0)
    told("adapter", adapted(tiny_model), 0)
    whole, adapter = (str(tmp_path / name / "ep0-ba1-rank0.pt") for name in ("whole", "adapter"))
    start = {"load_weights_only": True}
    assert "holds a whole model, but model.peft_config" in told(
        "a", adapted(tiny_model), 2, load_path=whole, **start
    )
    assert "holds an adapter alone, but model.peft_config is not set." in told(
        "b", plain, 2, load_path=adapter, **start
    )
    told("c", adapted(tiny_model), 0, load_path=adapter, **start, optimizer={"name": "adamw", "lr": 0.0})
    first, again = weights_of(Path(adapter)), weights_of(tmp_path / "c" / "ep0-ba1-rank0.pt")
    assert all(torch.equal(first[name], again[name]) for name in first)

    refusal = told("adapter", adapted(tiny_model, r=8), 2, max_duration="2ba")
    assert "model.peft_config.r was 4 and is 8. Its checkpoints hold an adapter, which fits only" in refusal
    refusal = told("adapter", plain, 2, max_duration="2ba")
    assert "model.peft_config.r was 4 and is not set" in refusal
    assert "hold an adapter alone, but without model.peft_config the whole model is expected" in refusal
    refusal = told("whole", adapted(tiny_model), 2, max_duration="2ba")
    assert "peft_config.r was not set and is 4" in refusal
    assert "Its checkpoints hold the whole model, and model.peft_config trains an adapter" in refusal
    (tmp_path / "whole" / "run.json").unlink()
    refusal = told("whole", adapted(tiny_model), 2, max_duration="2ba")
    assert f"checkpoint {whole!r} holds a whole model, but model.peft_config" in refusal


@pytest.mark.slow
def test_an_adapter_goes_on_and_is_exported_only_as_it_was_trained(
    write_config: Callable[..., str], tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, moved, alone = (str(tmp_path / name) for name in ("base", "moved", "alone"))
    shutil.copytree(tiny_model, base)
    config = write_config(
        model=adapted(base), save_folder=str(tmp_path / "run"), max_duration="1ba", autoresume=True
    )
    assert train.main([config]) == 0
    capsys.readouterr()

    def told(status: int, *more: str) -> str:
        assert export.main([config, "--output", alone, "--adapter", *more]) == status
        return capsys.readouterr().err

    assert "peft_config.lora_alpha was 8 and is 80. Its checkpoints" in told(
        2, "model.peft_config.lora_alpha=80"
    )
    assert "peft_config.use_rslora was not set and is true" in told(2, "model.peft_config.use_rslora=true")
    os.rename(base, moved)
    shutil.copytree(moved, base)
    weights = load_file(Path(base, "model.safetensors"))
    weights["model.norm.weight"] += 1
    save_file(weights, Path(base, "model.safetensors"), metadata={"format": "pt"})
    assert "; another" not in (refusal := told(2)) and "base model's weights was " in refusal
    assert train.main([config, "max_duration=2ba"]) == 2
    assert "base model's weights was " in capsys.readouterr().err
    assert "another run" not in told(0, f"model.pretrained_model_name_or_path={moved}")

    about = json.loads(Path(alone, "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == moved  # absolute
    assert other_base(alone, moved) == ""
    assert "are not those that the adapter was trained on" in other_base(alone, base)

    (tmp_path / "run" / "run.json").unlink()
    line = told(0, "model.peft_config.lora_alpha=80")
    assert (
        "holds no run.json, so the settings of the trained model are unknown. Taken from the configuration: "
        in line
    )
    assert (
        "model.peft_config.r 4, model.peft_config.lora_alpha 80, model.peft_config.lora_dropout 0.1" in line
    )


def test_what_few_can_want_of_an_adapter_is_said(tiny_model: str) -> None:
    from trainer.model.lora import describe_adapters

    line = describe_adapters(build(tiny_model, r=65, target_modules=["up_proj"], init_lora_weights=False))
    assert "r is over the smaller side of model.layers.*.mlp.up_proj (r 65, 128 × 64): a smaller r" in line
    assert line.endswith("false: training begins with random adapters, not with the base model.")


def test_an_adapter_whose_base_is_a_path_that_is_not_there_says_so(
    tmp_path: Path,
) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone/base"}')
    with pytest.raises(ConfigError, match="adapter whose base model '/gone/base' is no directory on"):
        base_of("--model", str(tmp_path))


@pytest.mark.slow
def test_eval_and_chat_take_an_adapter_and_say_if_its_base_is_missing(
    write_config: Callable[..., str], tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.evaluation import command

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "the cell", "options": [" a", " dose"], "gold_index": 0}\n' * 3)
    adapter = tmp_path / "adapter"
    config = write_config(
        model=adapted(tiny_model),
        max_duration="1ba",
        callbacks={
            "hf_export": {"folder": str(adapter), "dtype": "float32", "adapter": True},
            "domain_eval": {"interval": "1ba", "tasks": [str(rows)]},
        },
    )
    assert train.main([config]) == 0
    assert "library_name: peft" in (adapter / "README.md").read_text()
    assert command.main(["--model", str(adapter), "--tasks", str(rows), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1])["models"]) == [str(adapter)]
    asked = ["--model", str(adapter), "--prompt", "the", "--max-new-tokens", "2"]
    (adapter / "tokenizer.json").unlink()  # without it, the base model's is used
    assert chat.main(asked) == 0

    about = adapter / "adapter_config.json"
    about.write_text(about.read_text().replace(tiny_model, str(tmp_path / "gone")))
    capsys.readouterr()
    assert chat.main(asked) == 2
    said = capsys.readouterr().err
    assert "gone" in said and "is no directory on this machine" in said


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "parallelism",
    [
        pytest.param(None, id="ddp"),
        pytest.param({"fsdp": {"state_dict_type": "sharded", "activation_checkpointing": True}}, id="fsdp2"),
    ],
)
def test_two_ranks_train_one_adapter_and_go_on_exactly(
    write_config: Callable[..., str], tiny_model: str, tmp_path: Path, parallelism: Any
) -> None:

    def config(name: str) -> str:
        path = write_config(
            model={**adapted(tiny_model), "init_device": "mixed" if parallelism else "cpu"},
            parallelism_config=parallelism,
            device_train_microbatch_size=2,
            autoresume=True,
            save_folder=str(tmp_path / name),
            save_interval="2ba",
            callbacks={
                "recorder": {"path": str(tmp_path / f"{name}-seen")},
                "hf_export": {"folder": str(tmp_path / f"{name}-export"), "dtype": "float32"},
            },
        )
        return str(Path(path).rename(tmp_path / f"{name}.yaml"))

    assert run_ranks(tmp_path, [("whole", 2, config("whole"))]) == {"whole": 0}, said(tmp_path, "whole")
    assert "2,560 of 207,680 parameters are trained (1.23%)" in said(tmp_path, "whole")
    suffix = "" if parallelism else "-rank0.pt"
    (tmp_path / "again").mkdir()
    for name in ("run.json", "manifests.json"):
        shutil.copy(tmp_path / "whole" / name, tmp_path / "again" / name)
    first = f"ep0-ba2{suffix}"
    copy = shutil.copytree if parallelism else shutil.copy
    copy(tmp_path / "whole" / first, tmp_path / "again" / first)
    assert run_ranks(tmp_path, [("again", 2, config("again"))]) == {"again": 0}, said(tmp_path, "again")
    for rank in (0, 1):
        unbroken = recorded(tmp_path / "whole-seen", rank)
        assert recorded(tmp_path / "again-seen", rank) == unbroken[2:]

    weights, resumed = (weights_of(tmp_path / name / f"ep0-ba6{suffix}") for name in ("whole", "again"))
    assert len(weights) == 8 and all(".lora_" in name for name in weights)
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    command = [str(tmp_path / "whole.yaml"), "--output", str(tmp_path / "by-command"), "--dtype", "float32"]
    assert export.main(command) == 0
    by_command, by_callback = (
        load_file(tmp_path / name / "model.safetensors") for name in ("by-command", "whole-export")
    )
    base = load_file(Path(tiny_model, "model.safetensors"))
    assert by_command.keys() == by_callback.keys() == base.keys()
    assert all(torch.equal(by_command[name], by_callback[name]) for name in base)
    assert sum(not torch.equal(by_command[name], base[name]) for name in base) == 4
