"""Allowed and refused values of a training YAML, above all the mix of streams."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.config import validate
from schemas.errors import ConfigError
from schemas.train_config import DatasetConfig, NamedConfig, TrainConfig

MINIMAL: dict[str, Any] = {
    "run_name": "r",
    "model": {"pretrained_model_name_or_path": "m"},
    "train_loader": {"dataset": {"streams": {"domain": {"corpus": "c"}}}},
    "max_duration": "10ba",
    "global_train_batch_size": 4,
    "optimizer": {"name": "adamw", "lr": 1e-5, "betas": [0.9, 0.95]},
    "scheduler": {"name": "cosine_with_warmup", "t_warmup": "2ba"},
}


def dataset(**streams: dict[str, Any]) -> DatasetConfig:
    values = {name: {"corpus": "c", **stream} for name, stream in streams.items()}
    return validate(DatasetConfig, {"streams": values}, name="d")


def refusal(**streams: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        dataset(**streams)
    return str(caught.value)


def test_defaults_are_safe() -> None:
    config = validate(TrainConfig, MINIMAL, name="t.yaml")
    assert config.model.trust_remote_code is False
    assert config.device_train_microbatch_size == "auto"
    assert config.train_loader.dataset.attention_boundaries is True
    assert (config.autoresume, config.save_folder, config.load_path) == (False, None, None)


@pytest.mark.parametrize(
    "streams",
    [
        {"a": {"proportion": 0.5}, "b": {"proportion": 1}},
        {"a": {}, "b": {}},
        {"a": {"repeat": 2}, "b": {"choose": 100}},
        {"a": {"repeat": 0.5}, "b": {}},
    ],
)
def test_streams_are_mixed_by_proportion_or_by_repeat_and_choose(streams: dict[str, Any]) -> None:
    assert sorted(dataset(**streams).streams) == ["a", "b"]


def test_proportion_for_some_streams_only_is_refused() -> None:
    assert refusal(a={"proportion": 0.5}, b={}, c={}) == (
        "d: proportion is given for a but missing for b, c; "
        "give every stream a proportion, or none (then repeat and choose may be used)"
    )


@pytest.mark.parametrize("other", [{"repeat": 2}, {"choose": 10}])
def test_proportion_beside_repeat_or_choose_is_refused(other: dict[str, Any]) -> None:
    assert refusal(a={"proportion": 0.5}, b={"proportion": 0.5, **other}) == (
        "d: proportion is given for a, b but b also has repeat or choose; "
        "give every stream a proportion, or none (then repeat and choose may be used)"
    )


def test_repeat_and_choose_on_one_stream_are_refused() -> None:
    assert refusal(a={}, b={"repeat": 2, "choose": 3}) == (
        "d: stream b has both repeat and choose; keep one key"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("proportion", 0), ("proportion", -1), ("repeat", 0), ("choose", 0), ("manifest", 0)],
)
def test_a_share_must_be_above_zero(key: str, value: int) -> None:
    assert refusal(a={key: value}).startswith(f"d: streams.a.{key} is {value}: ")


def test_a_named_thing_keeps_its_arguments_beside_its_name() -> None:
    config = validate(TrainConfig, MINIMAL, name="t.yaml")
    assert config.optimizer.name == "adamw"
    assert config.optimizer.arguments == {"lr": 1e-5, "betas": [0.9, 0.95]}
    assert NamedConfig(name="x").arguments == {}


def test_a_misspelt_key_of_a_stream_named_like_a_key_gets_its_suggestion() -> None:
    values = {"streams": {"stream": {"corpus": "c", "propotion": 1}}}
    with pytest.raises(ConfigError) as caught:
        validate(DatasetConfig, values, name="d")
    assert str(caught.value) == (
        "d: key 'streams.stream.propotion' is unknown. Did you mean 'proportion'? "
        "Available: choose, corpus, later, manifest, proportion, repeat, stream."
    )


def test_an_unknown_model_kind_is_refused() -> None:
    values = {**MINIMAL, "model": {"name": "mpt", "pretrained_model_name_or_path": "m"}}
    with pytest.raises(ConfigError, match=r"^t: model.name is 'mpt': input should be 'hf_causal_lm'\.$"):
        validate(TrainConfig, values, name="t")
