"""Questions that a base model answers without the text: they ask for nothing that the corpus teaches.

The scorer is that of `tutelage eval`, which comes with the extra `trainer`; it is looked up by name, since
pipelines do not import the trainer.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import missing_package

_KEY = "--base-model"
_MARGIN = 0.5
"""Nats a token by which the right option beats all others."""


class BaseModel:
    """A model that is asked without the texts; loaded when it is asked.

    Raises:
        ConfigError: The extra `trainer` is not installed, or the name is that of no model.
    """

    def __init__(self, name: str):
        try:
            self._trainer = importlib.import_module("trainer.evaluation.option_scores")
        except ImportError as error:
            raise missing_package(_KEY, error) from error
        self._trainer.check_model_name(_KEY, name, may_be_adapter=True)
        self._name = name

    def knows(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """Ids of the rows, all without a text, whose right option the model picks by a clear margin."""
        scores = self._trainer.option_scores(_KEY, self._name, rows) if rows else {}
        return {
            row["id"]
            for row in rows
            if row["id"] in scores and _is_clear(scores[row["id"]], row["gold_index"])
        }


def _is_clear(scores: Sequence[float], right: int) -> bool:
    return scores[right] >= _MARGIN + max(score for at, score in enumerate(scores) if at != right)
