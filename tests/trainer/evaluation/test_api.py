"""Training and evaluation from Python, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from schemas.errors import ConfigError
from tutelage import evaluate, train


@pytest.fixture
def questions(tmp_path: Path) -> str:
    rows = [
        {"input": "the cell binds", "options": ["a dose", "the trial"], "gold_index": 0},
        {"input": "a patient in", "options": ["a gene", "the trial"], "gold_index": 1},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.slow
def test_a_mapping_trains_twice_and_its_export_is_evaluated(
    write_config: Callable[..., str], questions: str, tmp_path: Path
) -> None:
    config = yaml.safe_load(
        Path(write_config(callbacks={"hf_export": {"folder": str(tmp_path / "out")}})).read_text()
    )
    first = train(config, ["max_duration=2ba"])
    second = train(config, ["max_duration=3ba", f"callbacks.hf_export.folder={tmp_path / 'again'}"])

    assert (first["steps"], second["steps"]) == (2, 3)
    [result] = evaluate(first["export"], questions, device="cpu")
    assert result.task.name == "questions"
    assert result.summary()["rows"] == 2
    assert len(result.predictions()) == 2


def test_a_loaded_model_is_scored_like_the_same_model_by_name(tiny_model: str, questions: str) -> None:
    from plugins.causal_lm import load_causal_lm
    from plugins.tokenizers import load_tokenizer

    model = load_causal_lm("model", tiny_model, naming="weights_may_differ")
    [loaded] = evaluate(model, [questions], tokenizer=load_tokenizer(tiny_model))
    [named] = evaluate(tiny_model, questions, device="cpu")

    assert loaded.predictions() == named.predictions()


def test_what_a_loaded_model_needs_and_refuses(tiny_model: str, questions: str) -> None:
    with pytest.raises(ConfigError, match="a loaded model needs tokenizer"):
        evaluate(object(), questions)
    with pytest.raises(ConfigError, match="dtype and device are for a model to load"):
        evaluate(object(), questions, tokenizer=object(), device="cpu")
    with pytest.raises(ConfigError, match="max_rows is 0, expected at least 1"):
        evaluate(tiny_model, questions, max_rows=0, device="cpu")
    with pytest.raises(ConfigError, match="nowhere"):
        evaluate("nowhere/at/all", questions)
