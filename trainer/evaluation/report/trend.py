"""Trend of a training run: scores against trained tokens, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from schemas import storage

LINES = "scores.jsonl"


def add_to_trend(
    folder: str,
    *,
    batch: int,
    tokens: int,
    scores: Mapping[str, float],
    chat: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Add an evaluation to a folder's `scores.jsonl`.

    Lines of this batch and of later ones are removed: a run that resumes from before its last evaluation
    evaluates at these batches again.

    Args:
        folder: Folder of the file; any fsspec URI.
        batch: Number of trained batches.
        tokens: Number of trained tokens.
        scores: By `<task>/<metric>` and `<domain>/average`.
        chat: `Chat.summary` of the chat template, if there was one.

    Returns:
        All evaluations so far, each with `batch`, `tokens`, `scores` and, if there was one, `chat`.
    """
    uri = storage.join(folder, LINES)
    lines = storage.read_bytes(uri).decode().splitlines() if storage.exists(uri) else []
    earlier = [evaluation for evaluation in map(json.loads, lines) if evaluation["batch"] < batch]
    now = {"batch": batch, "tokens": tokens, "scores": dict(scores)} | ({"chat": dict(chat)} if chat else {})
    trend = [*earlier, now]
    storage.write_bytes(uri, "".join(f"{json.dumps(evaluation)}\n" for evaluation in trend).encode())
    return trend
