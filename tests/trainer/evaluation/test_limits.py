"""Token ids without an embedding, and rows beyond a model's context."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tasks.lookup import load_tasks
from schemas.errors import ConfigError
from tests.trainer.evaluation.scoring.test_choice import row, score
from tests.trainer.evaluation.test_evaluator import comparable
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating


@pytest.mark.parametrize("no_trees", [True, False])
def test_a_pad_id_outside_the_embedding_changes_no_answer(
    task_dir: Path, model: Any, tokenizer: Any, no_trees: bool
) -> None:
    if no_trees:
        model.config.sliding_window = 4096
    other = copy.deepcopy(tokenizer)
    other.add_special_tokens({"pad_token": "[PAD]"})
    model.resize_token_embeddings(len(tokenizer))
    assert other.pad_token_id == len(tokenizer) == as_causal(model).num_embeddings

    found, expected = (
        Evaluator(load_tasks([str(task_dir)]), each, max_new_tokens=4).run(model)
        for each in (other, tokenizer)
    )

    assert comparable(found) == comparable(expected)


def as_causal(model: Any) -> Any:
    with evaluating(model):
        return as_causal_model(model)


def test_a_token_without_an_embedding_is_refused_before_the_first_pass(
    task_dir: Path, model: Any, tokenizer: Any
) -> None:
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["a fever"])
    model.resize_token_embeddings(len(tokenizer))
    tasks = {task.name: task for task in load_tasks([str(task_dir)])}
    for name, at in (("mcq", 1), ("qa", 2)):
        with pytest.raises(ConfigError) as raised:
            Evaluator([tasks[name]], other, max_new_tokens=4).run(model)
        assert str(raised.value).startswith(
            f"{task_dir / name}.jsonl:{at}: token id {len(tokenizer)} is outside the model's embedding, "
            f"which has {len(tokenizer)} rows; the tokenizer is another model's"
        )


SMALL = {"vocab_size": 2000, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
LEARNED: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 2000, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32},
    "opt": {**SMALL, "ffn_dim": 32, "word_embed_proj_dim": 32, "max_position_embeddings": 32},
    "biogpt": {**SMALL, "intermediate_size": 32, "max_position_embeddings": 32},
    "xlm-roberta": {**SMALL, "intermediate_size": 32, "max_position_embeddings": 34, "is_decoder": True},
}


@pytest.mark.parametrize("family", LEARNED)
def test_rows_fit_the_table_of_positions_even_if_the_configuration_promises_more(
    family: str, tokenizer: Any
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **LEARNED[family]))
    model.config.max_position_embeddings = 64

    assert as_causal(model).context_tokens == 32
    (answer,) = score([row("fever " * 60, "yes", "no")], model, tokenizer, add_bos=True)
    assert isinstance(answer, Answer) and answer.is_truncated


def test_a_context_that_the_configuration_does_not_name_is_told(model: Any) -> None:
    del model.config.max_position_embeddings

    seen = as_causal(model)

    assert list(seen.notes({"choice", "generate"})) == [
        "prompts keep their last 2048 tokens, since the model's configuration names no context length."
    ]
