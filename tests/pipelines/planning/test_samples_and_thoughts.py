"""Plans of several samples a document, and of models that think."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.planning.assumptions import expected_answers
from pipelines.planning.plan import IncrementPlan, plan_increment
from pipelines.planning.plan_table import plan_lines
from schemas.corpus_config import CorpusConfig
from schemas.synthesis_config import SynthesisConfig


def answers_with(corpus_config: Any, tmp_path: Path, **synthesis: Any) -> Any:
    config: CorpusConfig = corpus_config(tmp_path / "corpus", "none.jsonl")
    return expected_answers(config.model_copy(update={"synthesis": SynthesisConfig(**synthesis)}), ())


def test_without_a_journal_a_model_is_assumed_to_use_all_tokens_of_its_thoughts(
    corpus_config: Any, tmp_path: Path
) -> None:
    found = answers_with(corpus_config, tmp_path, thinking_tokens=1_000)
    assert (found.mean_completion_tokens, found.mean_pair_tokens) == (1_260.0, 260.0)
    assert found.detail == "the paper's 5 pairs of 52 tokens, and all of synthesis.thinking_tokens 1,000"


@pytest.mark.slow
def test_each_sample_is_a_request_and_thoughts_are_no_training_tokens(
    tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Any
) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", passages(4))

    def plan(**changes: Any) -> IncrementPlan:
        synthesis = {
            "backend": "openai",
            "model": "served-name",  # no directory: the corpus's tokenizer counts
            "endpoints": "http://127.0.0.1:1",
            "max_new_tokens": 20,
            **changes,
        }
        config = corpus_config(tmp_path / "corpus", source, synthesis=synthesis, chains={"max_documents": 1})
        return plan_increment(config, quiet=True)

    one, three = plan(), plan(samples=3, temperature=1.0, thinking_tokens=100)
    assert (one.total.num_requests, three.total.num_requests) == (4, 12)
    assert three.total.prompt_tokens == 3 * one.total.prompt_tokens
    assert three.total.cached_tokens == one.total.cached_tokens + 2 * one.total.prompt_tokens
    assert (one.total.completion_tokens, three.total.completion_tokens) == (4 * 20, 12 * 120)
    assert three.total.pair_tokens == 3 * (one.total.pair_tokens or 0) > 0
    assert "Requests: 3 for each document of a chain" in " ".join(plan_lines(three))
