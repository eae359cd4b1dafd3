"""Rows of ChemProt's shape: our scorer, with shared prefixes, beside one pass an option.

Rows begin with the same words, as few-shot examples do. Each side takes its fastest batch size of those for
which the memory suffices. The model has random weights, in bfloat16 on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.evaluation import SHAPES, best, make_rows, score_by_option, score_rows
from benchmarks.gpu.device import DEVICE, free_memory
from benchmarks.gpu.inputs import dtype_of, prepare
from benchmarks.gpu.steps import Sizes
from plugins.tokenizers import load_tokenizer
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating

_OPTION_TOKENS = 32


def measure(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Rows a second of both, tokens, equal predictions and the largest difference of two scores."""
    free_memory()
    folder = f"{prepare(sizes, folder)}/model"
    tokenizer = load_tokenizer(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder).to(DEVICE, dtype_of(sizes))
    rows = make_rows("ChemProt", SHAPES["ChemProt"], sizes.eval_rows, head_tokens=sizes.head_tokens)
    longest = max(len(tokenizer(row.inputs[0]).input_ids) for row in rows)
    if longest + _OPTION_TOKENS > model.config.max_position_embeddings:
        raise ValueError(f"rows of {longest} tokens are longer than the model's context, and would be cut")
    with evaluating(model):
        causal = as_causal_model(model)
        score_rows(rows[:2], causal, tokenizer, sizes.eval_batches[0])
        score_by_option(rows[:1], model, tokenizer, sizes.option_batches[0])
        ours = fastest(lambda size: score_rows(rows, causal, tokenizer, size), sizes.eval_batches)
        bare = fastest(lambda size: score_by_option(rows, model, tokenizer, size), sizes.option_batches)
    pairs = list(zip(ours["scores"], bare["scores"], strict=True))
    return {
        "rows": len(rows),
        "options": len(rows[0].options),
        "rows_per_sec": len(rows) / ours["sec"],
        "rows_per_sec_by_option": len(rows) / bare["sec"],
        "times_faster": bare["sec"] / ours["sec"],
        "tokens": ours["tokens"],
        "tokens_by_option": bare["tokens"],
        "batch_tokens": ours["batch"],
        "batch_by_option": bare["batch"],
        "no_shared_passes": causal.no_trees,  # why not; empty if there are
        "same_predictions": sum(a.index(max(a)) == b.index(max(b)) for a, b in pairs),
        "largest_difference": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)),
    }


def fastest(score: Callable[[int], Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Run at each batch size, the smallest first, until the memory does not suffice; return the best run."""
    runs = []
    for size in sizes:
        try:
            runs.append(best(score, (size,)))
        except torch.OutOfMemoryError:
            if not runs:
                raise
            free_memory()
            break
    return min(runs, key=lambda run: float(run["sec"]))
