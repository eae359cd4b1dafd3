"""Parameters without weight decay: by kind, by name, in each optimizer, on two ranks, and when resumed."""

from __future__ import annotations

import contextlib
import io
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import ConfigError
from schemas.train_config import OptimizerConfig
from tests.trainer.ranks import run_ranks, said
from trainer.model.weight_decay import parameter_groups
from trainer.startup.config_checks import check_arguments
from trainer.startup.registries import OPTIMIZERS


def tiny(kind: str = "Llama", **options: Any) -> Any:
    import transformers

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "GPT2":
        sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=16, **sizes, **options)
    return transformers.AutoModelForCausalLM.from_config(config)


def not_decayed(model: Any, *no_decay: str) -> tuple[set[str], str]:
    """Names of the parameters without weight decay, and the line that is printed."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        groups = parameter_groups(model, no_decay)
    ids = {id(each) for group in groups if group.get("weight_decay") == 0.0 for each in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    return {name for name, each in model.named_parameters() if id(each) in ids}, said.getvalue().rstrip("\n")


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "GPT2", "GPTNeoX", "Gemma2", "Phi3"])
def test_by_default_the_same_is_decayed_as_by_the_trainer_of_transformers(kind: str) -> None:
    from transformers.trainer import Trainer

    options = {"pad_token_id": 0} if kind == "Phi3" else {}
    model = tiny(kind, **options)
    decayed = set(Trainer.get_decay_parameter_names(None, model))  # type: ignore[arg-type]
    names = {name for name, _ in model.named_parameters()}
    assert not_decayed(model, "norms", "biases")[0] == names - decayed
    assert len(decayed) < len(names)


def test_kinds_and_names_are_told_with_their_number_and_tied_embeddings_count_once() -> None:
    model = tiny(num_key_value_heads=2, tie_word_embeddings=True)
    names, line = not_decayed(model, "norms", "biases", "embeddings", "^lm_head")
    assert names == {
        *("model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight"),
        *("model.norm.weight", "model.embed_tokens.weight"),
    }
    assert line == (
        "optimizer.no_decay: not decayed are 4 tensors (152 parameters): norms 3, biases 0, embeddings 1, "
        "^lm_head 1; decayed 7 tensors (640 parameters)."
    )
    assert not_decayed(model) == (set(), "")


def test_names_are_those_of_the_model_also_within_peft_and_what_is_frozen_does_not_count() -> None:
    class Peft(torch.nn.Module):  # as peft wraps: base_model is a tuner that has the model
        def __init__(self) -> None:
            super().__init__()
            self.base_model = torch.nn.Module()
            self.base_model.model = tiny()

    wrapped = Peft()
    assert not_decayed(wrapped, "^model.norm")[0] == {"base_model.model.model.norm.weight"}
    wrapped.base_model.model.model.norm.weight.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"'\^model.norm' matches no parameter that is trained"):
        parameter_groups(wrapped, ["^model.norm"])


def test_a_name_that_matches_nothing_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError) as caught:
        parameter_groups(tiny(), ["norms", "lm_haed"])
    assert str(caught.value) == (
        "optimizer.no_decay: 'lm_haed' matches no parameter that is trained. Near: lm_head.weight. Kinds: "
        "norms, biases, embeddings; any other entry is a regular expression that may match anywhere in a "
        "name."
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("norms", "'norms' is not a list; expected one such as [norms], or [] to decay all"),
        (None, "None is not a list"),
        ([""], "'' matches every name"),
        (["norm"], "'norm' is not a kind. Did you mean 'norms'? For a regular expression write 'norm.*'"),
        (["Norms"], "Did you mean 'norms'?"),
        (["bias"], "Did you mean 'biases'?"),
        (["embedding"], "Did you mean 'embeddings'?"),
    ],
)
def test_what_is_nearly_a_kind_or_no_list_is_refused(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        OptimizerConfig(name="adamw", no_decay=value)
    assert OptimizerConfig(name="adamw", no_decay=["norms", r"^lm_head", "norm$"]).no_decay[2] == "norm$"


def test_a_misspelt_no_decay_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"'optimizer.nodecay' is unknown. Did you mean 'no_decay'\?"):
        check_arguments("optimizer", torch.optim.AdamW, {"nodecay": []}, num_positional=1)


@pytest.mark.parametrize(("name", "factor"), [("adamw", 1 - 0.01 * 0.1), ("decoupled_adamw", 1 - 0.1)])
def test_a_step_without_gradients_shrinks_matrices_by_the_exact_factor_and_nothing_else(
    name: str, factor: float
) -> None:
    model = tiny("Qwen2", num_key_value_heads=2)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    kept, _ = not_decayed(model, "norms", "biases", "embeddings")
    groups = parameter_groups(model, ["norms", "biases", "embeddings"])
    OPTIMIZERS.load(name)(groups, lr=0.01, weight_decay=0.1).step()
    assert {"model.layers.0.self_attn.q_proj.bias", "model.embed_tokens.weight"} < kept
    for parameter_name, parameter in model.named_parameters():
        expected = torch.tensor(1.0 if parameter_name in kept else factor).expand_as(parameter)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_ranks_of_fsdp2_decay_the_same_and_go_on_so(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str
) -> None:
    from safetensors.torch import load_file

    def write(run: str, folder: str, **changes: Any) -> str:
        optimizer = {"no_decay": changes.pop("no_decay")} if "no_decay" in changes else {}
        config = write_config(
            callbacks={"hf_export": {"folder": str(tmp_path / run), "dtype": "float32"}},
            # A step leaves of a decayed weight only Adam's own step of lr: 1 - lr·weight_decay is 0.
            optimizer={"name": "adamw", "lr": 1e-3, "weight_decay": 1000.0, **optimizer},
            scheduler={"name": "constant_with_warmup", "t_warmup": "0ba"},
            parallelism_config={"fsdp": {"state_dict_type": "sharded"}},
            model={"pretrained_model_name_or_path": tiny_model, "init_device": "mixed"},
            save_folder=str(tmp_path / folder),
            save_interval="1ba",
            **changes,
        )
        return str(Path(config).rename(tmp_path / f"{run}.yaml"))

    of_before = str(tmp_path / "old" / "ep0-ba1")
    runs = [
        ("first", 2, write("first", "run", max_duration="1ba", autoresume=True)),
        ("second", 2, write("second", "run", max_duration="2ba", autoresume=True)),
        ("before", 2, write("before", "old", max_duration="1ba", no_decay=[])),
        ("after", 2, write("after", "after", max_duration="2ba", load_path=of_before)),
    ]
    ended = run_ranks(tmp_path, runs)
    # Both ranks refuse the last one; gloo aborts a rank whose peer has left before it.
    assert ended.pop("after") in (2, -signal.SIGABRT)
    assert ended == {"first": 0, "second": 0, "before": 0}, said(tmp_path, "second")[-4000:]
    assert "not decayed are 5 tensors" in said(tmp_path, "first")
    for steps, run in ((1, "first"), (2, "second")):
        for name, weight in load_file(tmp_path / run / "model.safetensors").items():
            around = 1.0 if "norm" in name else 0.0
            assert (weight - around).abs().max() <= 1.1e-3 * steps, (run, name)
    assert load_file(tmp_path / "before" / "model.safetensors")["model.norm.weight"].abs().max() <= 1.1e-3
    assert "was written with another optimizer.no_decay; of its parameters 5 that" in said(tmp_path, "after")
