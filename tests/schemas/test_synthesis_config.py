"""The section `synthesis`: values that do not fit together, and keys that leave old hashes alone."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from schemas.config import unset_additions
from schemas.corpus_config import CorpusConfig
from schemas.synthesis_config import SynthesisConfig


def config(**synthesis: Any) -> CorpusConfig:
    sources = [{"reader": "text", "uri": "x"}]
    return CorpusConfig.model_validate(
        {
            "corpus": "c",
            "streams": {"s": {"sources": sources}},
            "tokenizer": {"name": "t"},
            "synthesis": synthesis,
        }
    )


def test_samples_without_a_temperature_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="samples 2 at temperature 0 would all be the same"):
        SynthesisConfig(samples=2)
    assert SynthesisConfig(samples=2, temperature=0.7).samples == 2


def test_thoughts_and_answer_leave_room_for_a_prompt() -> None:
    with pytest.raises(pydantic.ValidationError, match="with thinking_tokens 3000 leaves no room"):
        SynthesisConfig(max_new_tokens=1_096, thinking_tokens=3_000)
    assert SynthesisConfig(max_new_tokens=400, thinking_tokens=3_000).answer_tokens == 3_400


def test_keys_of_later_versions_are_hashed_only_where_they_are_set() -> None:
    unset = {"tokenizer": True, "thinking_tokens": True, "chat_template_kwargs": True, "samples": True}
    later = "encoding extract options version_field deleted_field newest text_fallbacks"
    source = dict.fromkeys(later.split(), True)
    streams = {"streams": {"s": {"sources": {0: source}}}}
    assert unset_additions(config()) == {**streams, "holdout": True, "verify": True, "synthesis": unset}
    kept = config().model_dump(exclude=unset_additions(config()))
    assert not source.keys() & kept["streams"]["s"]["sources"][0].keys()
    found = unset_additions(config(samples=2, temperature=1.0))
    assert "samples" not in found["synthesis"] and "tokenizer" in found["synthesis"]


def test_an_argument_of_ours_is_no_variable_of_the_template() -> None:
    with pytest.raises(pydantic.ValidationError, match="'tokenize' is set by the protocol"):
        SynthesisConfig(chat_template_kwargs={"tokenize": True})
