"""Questions that a base model answers without the text: they ask for nothing that the corpus teaches.

The scorer is that of `tutelage eval`, which comes with the extra `trainer`; it is looked up by name, since
pipelines do not import the trainer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.errors import missing_package

_MARGIN = 0.5
"""Nats a token by which the right option beats all others."""

_Scorer = Callable[[str, str, Sequence[Mapping[str, Any]]], Mapping[str, Sequence[float]]]


def known_alone(model: str, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Ids of the choice rows whose right option a model picks by a clear margin; rows hold no text.

    Raises:
        ConfigError: The extra `trainer` is not installed, or the model cannot be loaded.
    """
    try:
        scorer: _Scorer = importlib.import_module("trainer.evaluation.option_scores").option_scores
    except ImportError as error:
        raise missing_package("--base-model", error) from error
    scores = scorer("--base-model", model, rows)
    return {
        row["id"] for row in rows if row["id"] in scores and _is_clear(scores[row["id"]], row["gold_index"])
    }


def _is_clear(scores: Sequence[float], right: int) -> bool:
    return scores[right] >= _MARGIN + max(score for at, score in enumerate(scores) if at != right)
