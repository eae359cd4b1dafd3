"""Scores of the options of choice rows by a model that is loaded for the purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from plugins.adapter_folder import tokenizer_of
from plugins.causal_lm import load_causal_lm
from plugins.tasks.task import Task
from plugins.tokenizers import load_tokenizer
from trainer.evaluation.evaluator import Evaluator
from trainer.startup.config_checks import check_model_name

__all__ = ["check_model_name", "option_scores"]


def option_scores(key: str, model: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """Return the mean log-probability a token of each option, by the row's id; a row may be missing.

    Args:
        key: The option that names the model, for errors.
        model: Hugging Face directory or hub name.
        rows: Choice rows with an `id`.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    numbered = [(f"rows:{number}", row) for number, row in enumerate(rows, start=1)]
    task = Task(
        name="options", domain="tasks", kind="choice", metrics=("accuracy",), source=lambda: iter(numbered)
    )
    evaluator = Evaluator([task], load_tokenizer(tokenizer_of(key, model)))
    has_gpu = torch.cuda.is_available()
    loaded = load_causal_lm(
        key,
        model,
        naming="its files",
        torch_dtype=torch.bfloat16 if has_gpu else torch.float32,
    ).to("cuda" if has_gpu else "cpu")
    (result,) = evaluator.run(loaded, is_whole=True)
    return {row.row_id: answer.option_scores for row, answer in zip(result.rows, result.answers, strict=True)}
