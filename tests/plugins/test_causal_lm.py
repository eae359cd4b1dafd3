"""Loading of a model: weights from its files, or an error."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plugins.causal_lm import load_causal_lm
from schemas.errors import ConfigError
from tests.tiny import save_llama

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
    return save_llama(folder, vocab_size=32, seed=1, tie_word_embeddings=request.param, **sizes)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("untied")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
    return save_llama(folder, vocab_size=32, seed=1, **sizes)


def changed(model: str, folder: Path, change: Callable[[Weights], Weights]) -> str:
    """Copy a model and change the weights in its file."""
    shutil.copytree(model, folder)
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def load(model: str, **options: Any) -> Any:
    return load_causal_lm("--model", model, naming="--weights-may-differ", **options)


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {each: tensor for each, tensor in weights.items() if each != name}


def test_whole_models_are_loaded_without_a_word(whole: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(whole)
    saved = load_file(Path(whole, "model.safetensors"))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in saved.items())
    assert capsys.readouterr().err == ""


def test_frequencies_that_older_files_hold_are_no_weights(untied: str, tmp_path: Path) -> None:
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    load(changed(untied, tmp_path / "old", lambda weights: weights | frequencies))


@pytest.mark.parametrize("prefix", ["module.", "base_model.model.", "model.", "_orig_mod."])
def test_the_prefix_of_a_wrapper_is_told(prefix: str, untied: str, tmp_path: Path) -> None:
    wrapped = changed(untied, tmp_path / "w", lambda weights: {prefix + n: t for n, t in weights.items()})
    with pytest.raises(ConfigError) as caught:
        load(wrapped)
    message = str(caught.value)
    assert f"The names in the files begin with {prefix!r}, which a wrapper such as" in message
    assert re.search(r"2[01] missing from its files, thus random \(\S+, \S+, \S+ and 1\d more\); ", message)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            without("lm_head.weight"),
            "1 missing from its files, thus random (lm_head.weight).",
        ),
        (
            lambda weights: weights | {"v_head.weight": torch.ones(2)},
            "1 in its files alone (v_head.weight).",
        ),
        (
            lambda weights: weights | {"model.norm.weight": torch.ones(8)},
            "1 of another shape in its files (model.norm.weight).",
        ),
    ],
    ids=["missing", "unexpected", "mismatched"],
)
def test_weights_that_are_not_the_models_are_refused_unless_they_are_named(
    change: Callable[[Weights], Weights],
    found: str,
    untied: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = changed(untied, tmp_path / "model", change)
    with pytest.raises(ConfigError) as caught:
        load(model, may_differ=["layers.7"])
    assert str(caught.value) == (
        f"--model {model!r}: the weights in its files are not those of LlamaForCausalLM: {found} Give files "
        "and a configuration that belong together, or, if this is intended, name these weights in "
        "--weights-may-differ."
    )
    weights = load(model, may_differ=["head", "^model.norm"]).state_dict()
    assert capsys.readouterr().err == f"{model}: as --weights-may-differ allows, {found}\n"
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert torch.equal(weights["model.norm.weight"], torch.ones(16))


def test_a_name_that_is_no_regular_expression_is_told(untied: str) -> None:
    with pytest.raises(ConfigError, match=r"--weights-may-differ: '\(' is no regular expression: missing \)"):
        load(untied, may_differ=["("])
