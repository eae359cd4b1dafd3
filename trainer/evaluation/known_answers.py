"""Questions that a model answers without their text: they ask for nothing that a corpus teaches."""

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

_MARGIN = 0.5
"""Nats a token by which the right option beats all others."""


class KnownAnswers:
    """A model that is asked without the texts; its weights are loaded when it is asked.

    Args:
        key: The option that names the model, for errors.
        model: Hugging Face directory or hub name.

    Raises:
        ConfigError: The name is that of no model, or its tokenizer cannot be loaded.
    """

    def __init__(self, key: str, model: str):
        check_model_name(key, model, may_be_adapter=True)
        self._key, self._model = key, model
        self._tokenizer = load_tokenizer(tokenizer_of(key, model))

    def of(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Ids of the choice rows whose right option the model picks by a clear margin."""
        numbered = [(f"rows:{number}", row) for number, row in enumerate(rows, start=1)]
        asked = {"domain": "tasks", "kind": "choice", "metrics": ("accuracy",)}
        task = Task(name="options", source=lambda: iter(numbered), **asked)  # type: ignore[arg-type]
        evaluator = Evaluator([task], self._tokenizer)
        device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
        model = load_causal_lm(self._key, self._model, naming="its files", torch_dtype=dtype).to(device)
        (result,) = evaluator.run(model, is_whole=True)
        right = {row["id"]: row["gold_index"] for row in rows}
        found = zip(result.rows, result.answers, strict=True)
        return {row.row_id for row, answer in found if _is_clear([*answer.option_scores], right[row.row_id])}


def _is_clear(scores: list[float], right: int) -> bool:
    return scores.pop(right) >= _MARGIN + max(scores)
