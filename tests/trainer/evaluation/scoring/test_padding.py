"""The answer to a row does not depend on the other rows of its batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tasks.lookup import load_tasks
from tests.trainer.evaluation.conftest import WORDS
from tests.trainer.evaluation.test_evaluator import comparable
from trainer.evaluation import evaluator as evaluator_module
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating
from trainer.evaluation.scoring.encoding import batches
from trainer.evaluation.scoring.padding import HARMLESS

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 128}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
LONGROPE = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
CHUNKS = {"attention_chunk_size": 8, "num_local_experts": 2, "intermediate_size_mlp": 48, "head_dim": 8}

HARMED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a state that reads padding": (
        "rwkv",
        {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
        ["prompts pass only beside prompts of the same length, since padding moves its logits by "],
    ),
    "positions that count padding": (
        "openai-gpt",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
        ["prompts pass only beside prompts of the same length, since padding moves its logits by "],
    ),
    "positions that depend on the longest row": (
        "phi3",
        {
            **SMALL,
            **HEADS,
            "rope_scaling": LONGROPE,
            "original_max_position_embeddings": 20,
            "pad_token_id": 1,
        },
        [
            "options of more than 20 tokens pass only beside options of the same length, since its longrope "
            "positions change with the longest row of a batch.",
            "prompts of more than 20 tokens pass only beside prompts of the same length, since its longrope "
            "positions change with the longest row of a batch.",
        ],
    ),
    "chunks of attention": (
        "llama4_text",
        {**SMALL, **HEADS, **CHUNKS},
        [
            "prompts of more than 8 tokens pass only beside prompts of the same length, since its attention "
            "is cut into chunks from a row's start."
        ],
    ),
}
HARMLESS_FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 128},
}


@pytest.fixture
def task_dir(tmp_path: Path, write_rows: Any) -> Path:
    """Rows of many lengths: `mcq` of 6 choices, `qa` of 6 prompts."""
    words = WORDS.split()
    inputs = [" ".join(words[at : at + 2 + 4 * at]) for at in range(6)]
    options = [words[7], " ".join(words[3:9])]
    write_rows(
        tmp_path / "t" / "mcq.jsonl", *({"input": x, "options": options, "gold_index": 0} for x in inputs)
    )
    write_rows(tmp_path / "t" / "qa.jsonl", *({"input": x, "label": "yes"} for x in inputs))
    return tmp_path / "t"


def make(family: str, options: dict[str, Any], tokenizer: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), initializer_range=0.3, bos_token_id=0, eos_token_id=1, **options
    )
    return AutoModelForCausalLM.from_config(config).eval()


def answers(task_dir: Path, model: Any, tokenizer: Any, batch_tokens: int) -> list[Any]:
    evaluator = Evaluator(load_tasks([str(task_dir)]), tokenizer, batch_tokens=batch_tokens, max_new_tokens=8)
    return comparable(evaluator.run(model))


@pytest.mark.slow
@pytest.mark.parametrize("way", HARMED)
def test_rows_that_padding_would_change_pass_by_their_length(
    task_dir: Path,
    tokenizer: Any,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    family, options, notes = HARMED[way]
    model = make(family, options, tokenizer)

    alone = answers(task_dir, model, tokenizer, 1)
    said = [line for line in capsys.readouterr().err.splitlines() if "same length" in line]
    together = answers(task_dir, model, tokenizer, 4096)

    assert together == alone
    assert len(said) == len(notes)
    for line, note in zip(said, notes, strict=True):
        assert line.startswith(f"evaluation: {note}")

    def heedless(*given: Any, **more: Any) -> Any:
        seen = as_causal_model(*given, **more)
        return dataclasses.replace(seen, right_padding=HARMLESS, left_padding=HARMLESS)

    monkeypatch.setattr(evaluator_module, "as_causal_model", heedless)
    assert answers(task_dir, model, tokenizer, 4096) != alone


@pytest.mark.parametrize("family", HARMLESS_FAMILIES)
def test_other_models_take_rows_of_all_lengths_together(task_dir: Path, tokenizer: Any, family: str) -> None:
    model = make(family, HARMLESS_FAMILIES[family], tokenizer)

    with evaluating(model):
        seen = as_causal_model(model)

    assert (seen.right_padding, seen.left_padding) == (HARMLESS, HARMLESS)
    assert answers(task_dir, model, tokenizer, 4096) == answers(task_dir, model, tokenizer, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_no_harm(model: Any, dtype: torch.dtype) -> None:
    with evaluating(model.to(dtype)):
        seen = as_causal_model(model)

    assert (seen.right_padding.harm, seen.left_padding.harm) == ("", "")


def test_a_model_that_refuses_padding_gets_none(model: Any) -> None:
    forward = model.forward

    def strict(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        if attention_mask is not None and not attention_mask.all():
            raise ValueError("no padding here")
        return forward(*args, attention_mask=attention_mask, **kwargs)

    with evaluating(model):
        seen = as_causal_model(model)
        model.forward = strict
        found = as_causal_model(model, kinds=["choice"])

    assert seen.right_padding == HARMLESS
    assert found.right_padding.harm == "it refuses padding: ValueError: no padding here"


def test_batches_of_long_rows_hold_one_length_and_short_ones_any() -> None:
    lengths = [3, 9, 5, 9, 4, 7, 9]

    assert list(batches(lengths, int, 20)) == [[9, 9], [9, 7], [5, 4, 3]]
    assert list(batches(lengths, int, 20, longest_padded=0)) == [[9, 9], [9], [7], [5], [4], [3]]
    assert list(batches(lengths, int, 20, longest_padded=5)) == [[9, 9], [9], [7], [5, 4, 3]]
