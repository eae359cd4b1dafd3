"""Detection of keys and passwords in a configuration, under all names and without false positives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.secrets import find_secrets, masked, public_uri
from schemas.synthesis_config import ServerConfig
from schemas.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"synthesis": {"options": {"api_key": "CANARY"}}}, "synthesis.options.api_key"),
        (
            {"synthesis": {"server": {"args": {"admin-api-key": "CANARY"}}}},
            "synthesis.server.args.admin-api-key",
        ),
        ({"env": {"HF_TOKEN": "CANARY"}}, "env.HF_TOKEN"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": "CANARY"}}, "env.AWS_SECRET_ACCESS_KEY"),
        ({"loggers": {"x": {"password": 1234}}}, "loggers.x.password"),
        ({"sources": [{"uri": "ok"}, {"uri": "https://me:CANARY@host/a"}]}, "sources.1.uri"),
        ({"uri": "https://CANARY@host/a"}, "uri"),
        ({"uri": "s3://AKIA:CANARY@bucket/a"}, "uri"),
        ({"uri": "simplecache::ftp://me:CANARY@host/a"}, "uri"),
        ({"uri": "https://host/a.jsonl?sv=1&sig=CANARY&x=2"}, "uri"),
        ({"uri": "https://host/a?X-Amz-Signature=CANARY"}, "uri"),
        ({"endpoints": ["http://host:1/?api_key=CANARY"]}, "endpoints.0"),
    ],
)
def test_a_secret_is_found_and_masked(values: dict[str, Any], key: str) -> None:
    ((found, cure),) = find_secrets(values)
    assert found == key
    assert "CANARY" not in cure


@pytest.mark.parametrize(
    "values",
    [
        {"synthesis": {"options": {"api_key_env": "MY_KEY"}, "max_new_tokens": 400}},
        {"tokenizer": {"name": "x"}, "pad_token_id": 0, "eos_token": "</s>"},
        {"uri": "https://host/a?id=5&tokenizer=x"},
        {"uri": "hf://datasets/me/data@main/a.parquet"},
        {"uri": "gs://bucket/a@b:c"},
        {"password": ""},
        {"password": None},
    ],
)
def test_what_is_none_is_left_alone(values: dict[str, Any]) -> None:
    assert list(find_secrets(values)) == []


def test_a_message_shows_a_url_without_its_secrets() -> None:
    text = "cannot open 'https://me:pw@host/a?sig=abc&x=1': no route"
    assert masked(text) == "cannot open 'https://***@host/a?sig=***&x=1': no route"


@pytest.mark.parametrize("kind", [CorpusConfig, TrainConfig])
def test_no_message_about_a_configuration_shows_a_secret(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "corpus: https://me:CANARY@host/a\nsave_folder: s3://k:CANARY@b/a\nloggers: {a: {api_key: CANARY}}\n"
    )
    for override in ("seed=1", "synthesis.endpoints=htp://me:CANARY@host", "seed=https://me:CANARY@host/x"):
        with pytest.raises(ConfigError) as caught:
            load_config(kind, path, [override])
        assert "CANARY" not in str(caught.value)
        assert "loggers.a.api_key holds a key or a password; put it into" in str(caught.value)


def test_our_own_configurations_hold_none() -> None:
    paths = sorted(ROOT.glob("*/yamls/*.yaml"))
    assert len(paths) > 5
    for path in paths:
        load_config(CorpusConfig if path.parts[-3] == "pipelines" else TrainConfig, path)


def test_the_environment_of_servers_is_stored_nowhere() -> None:
    config = ServerConfig(python="python", env={"ANYTHING": "CANARY"})  # type: ignore[dict-item]
    assert "CANARY" not in config.model_dump_json() + repr(config) + str(config.model_dump())


def test_an_override_that_cannot_be_read_is_shown_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("corpus: a")
    with pytest.raises(ConfigError, match=r"synthesis\.server\.args\.api-key=… cannot be applied") as caught:
        load_config(CorpusConfig, tmp_path / "a.yaml", ["synthesis.server.args.api-key=[sk-CANARY"])
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://user:secret@host/a.jsonl?sig=secret", "https://host/a.jsonl"),
        ("gs://bucket/part-?.jsonl", "gs://bucket/part-?.jsonl"),
        ("/data/a@b.jsonl", "/data/a@b.jsonl"),
    ],
)
def test_what_one_logs_in_by_is_not_shown(uri: str, expected: str) -> None:
    assert public_uri(uri) == expected
