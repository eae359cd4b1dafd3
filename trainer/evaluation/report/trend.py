"""Trend of a training run: scores against trained tokens, as lines of JSON and as a plot."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas import storage

LINES = "scores.jsonl"
PLOT = "scores.png"
_PANEL_INCHES = (7.0, 4.0)


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


def plot_trend(folder: str, trend: Sequence[Mapping[str, Any]], panels: Mapping[str, Sequence[str]]) -> None:
    """Draw `scores.png`: one panel per domain and one for bits a byte, one line per score, against tokens.

    Args:
        folder: Folder of the file; any fsspec URI.
        trend: Evaluations of `add_to_trend`. If they have no tokens, the axis shows batches.
        panels: Titles, each with the names of its scores, a domain's average last; a missing score leaves a
            gap.
    """
    from matplotlib.figure import Figure

    unit = "tokens" if any(evaluation["tokens"] for evaluation in trend) else "batch"
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for panel, (domain, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            points = [(e[unit], e["scores"][name]) for e in trend if name in e["scores"]]
            if points:
                is_average = name == f"{domain}/average"
                panel.plot(
                    *zip(*points, strict=True),
                    label=name,
                    marker="o",
                    linewidth=2.5 if is_average else 1.0,
                    color="black" if is_average else None,
                )
        panel.set(title=domain, xlabel="tokens trained on" if unit == "tokens" else "batches", ylabel="score")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    storage.write_bytes(storage.join(folder, PLOT), image.getvalue())
