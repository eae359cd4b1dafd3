"""Allowed and refused values of a corpus YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.config import load_config, validate
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.errors import ConfigError
from schemas.synthesis_config import SynthesisConfig

ROOT = Path(__file__).resolve().parents[2]

MINIMAL: dict[str, Any] = {
    "corpus": "runs/corpus",
    "streams": {"domain": {"sources": [{"reader": "text", "uri": "a.txt"}]}},
    "tokenizer": {"name": "models/smollm2-135m"},
}


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(CorpusConfig, {**MINIMAL, **changes}, name="c.yaml")
    return str(caught.value)


def source_refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(SourceConfig, {"reader": "jsonl", "uri": "a.jsonl", **changes}, name="source")
    return str(caught.value)


def test_defaults_are_those_of_domain_adaptive_training() -> None:
    config = validate(CorpusConfig, MINIMAL, name="c.yaml")
    assert config.chains.max_documents == 3
    assert (config.synthesis.backend, config.synthesis.protocol) == ("mined", "chat")
    assert (config.synthesis.max_new_tokens, config.synthesis.context_tokens) == (400, 4096)
    assert config.synthesis.temperature == 0.0
    assert (config.pack.method, config.pack.seq_len) == ("best_fit", 4096)
    assert config.streams["domain"].synthesize is False


def test_one_endpoint_is_a_list_of_one() -> None:
    assert validate(SynthesisConfig, {"endpoints": "http://a:1"}, name="s").endpoints == ("http://a:1",)
    assert validate(SynthesisConfig, {"endpoints": ["http://a:1"]}, name="s").endpoints == ("http://a:1",)


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "yamls").glob("*.yaml")), ids=lambda p: p.name)
def test_every_corpus_yaml_that_we_ship_is_valid(path: Path) -> None:
    assert load_config(CorpusConfig, path).streams


def test_a_corpus_needs_a_stream_and_a_stream_a_source() -> None:
    assert refusal(streams={}) == (
        "c.yaml: streams is {}: dictionary should have at least 1 item after validation, not 0."
    )
    assert refusal(streams={"domain": {"sources": []}}) == (
        "c.yaml: streams.domain.sources is []: tuple should have at least 1 item after validation, not 0."
    )


@pytest.mark.parametrize("name", ["a/b", "..", "", "-", "a b", "größe", "a.b"])
def test_a_stream_name_must_be_a_folder_name(name: str) -> None:
    assert refusal(streams={name: MINIMAL["streams"]["domain"]}) == (
        f"c.yaml: streams: stream name {name!r} may hold letters, digits, - and _ only"
    )


@pytest.mark.parametrize("name", ["domain", "general-2", "Open_Orca", "7"])
def test_a_stream_name_may_hold_letters_digits_dashes(name: str) -> None:
    assert list(
        validate(CorpusConfig, {**MINIMAL, "streams": {name: MINIMAL["streams"]["domain"]}}, name="c").streams
    ) == [name]


def test_a_prompt_must_fit_beside_the_generation() -> None:
    assert refusal(synthesis={"max_new_tokens": 512, "context_tokens": 512}) == (
        "c.yaml: synthesis: max_new_tokens 512 leaves no room for a prompt in context_tokens 512; "
        "lower the first or raise the second"
    )


@pytest.mark.parametrize("value", ["{a}", "{question} {response}", "{a.b}\n{c}", "{{literal}} {a}"])
def test_a_format_names_fields(value: str) -> None:
    assert SourceConfig(reader="jsonl", uri="a", format=value).format == value


@pytest.mark.parametrize("value", ["", "no field", "{}", "{a!r}", "{a:>10}", "{{a}}"])
def test_a_format_that_names_no_plain_field_is_refused(value: str) -> None:
    assert source_refusal(format=value) == (
        f"source: format: {value!r} is not a format: expected {{field}} names and nothing more inside braces"
    )


@pytest.mark.parametrize("value", ["{a", "a}"])
def test_a_format_with_an_open_brace_is_refused(value: str) -> None:
    assert source_refusal(format=value).startswith(f"source: format: {value!r} is not a format: ")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("synthesis", "temperature", -0.1),
        ("synthesis", "max_failure_share", 1.1),
        ("synthesis", "max_in_flight", 0),
        ("synthesis", "max_new_tokens", 0),
        ("chains", "max_documents", 0),
        ("chains", "bucket_documents", 0),
        ("clean", "min_words", -1),
        ("clean", "max_characters", 0),
        ("clean", "repair_unicode", "maybe"),
        ("pack", "seq_len", 7),
        ("pack", "method", "best-fit"),
        ("shards", "size_limit_bytes", 1),
        ("shards", "group_tokens", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(section: str, key: str, value: Any) -> None:
    extra = {"name": "t"} if section == "tokenizer" else {}
    assert refusal(**{section: {**extra, key: value}}).startswith(f"c.yaml: {section}.{key} is {value!r}: ")


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("1%", 0.01),
        ("0.5 %", 0.005),
        (0.01, 0.01),
        ("0.01", 0.01),
        (0, 0),
        ("0", 0),
        ("50%", 0.5),
        (0.5, 0.5),
    ],
)
def test_a_holdout_is_a_share_or_a_percentage(value: Any, share: float) -> None:
    assert validate(CorpusConfig, {**MINIMAL, "holdout": value}, name="c.yaml").holdout == share


@pytest.mark.parametrize("value", ["51%", 0.51, 1, -0.01, "1 %%", "a tenth", True, None, float("nan"), [0.1]])
def test_a_holdout_of_more_than_half_or_of_nonsense_is_refused(value: Any) -> None:
    said = refusal(holdout=value)
    assert said == (
        f"c.yaml: holdout: {value!r} is no share of documents from 0 to 50%; write 1% or 0.01, or 0 to hold "
        "none out"
    )


def test_remote_code_is_not_trusted_unless_told() -> None:
    assert SynthesisConfig().trust_remote_code is False


def test_rules_of_verify_keep_their_order_and_hide_the_environment_of_servers() -> None:
    server = {"python": "p", "env": {"HOME": "private"}}
    values = {**MINIMAL, "verify": {"judge": {"server": server}, "even": None}}
    made = validate(CorpusConfig, values, name="c.yaml")
    assert made.verify == {"judge": {"server": server}, "even": None}
    assert made.model_dump(mode="json")["verify"] == {
        "judge": {"server": {"python": "p", "env": {"HOME": "**********"}}},
        "even": None,
    }
    assert validate(CorpusConfig, MINIMAL, name="c.yaml").verify is None
