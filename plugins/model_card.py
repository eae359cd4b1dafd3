"""Model card of an export: the base model and data, the steps of training, the scores."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.train_config import TrainConfig


def lineage(config: TrainConfig) -> dict[str, str]:
    """Return the lines of a card that a training configuration gives, by name."""
    made_from = {
        "base model": config.model.pretrained_model_name_or_path,
        "run": config.run_name,
        "planned duration": f"{config.max_duration} of {config.global_train_batch_size} rows",
    }
    if config.model.peft_config is not None:
        given = ", ".join(f"{key} {value}" for key, value in config.model.peft_config.items())
        made_from["trained as an adapter"] = given
    for name, stream in config.train_loader.dataset.streams.items():
        share = f", proportion {stream.proportion:g}" if stream.proportion is not None else ""
        made_from[f"stream {name}"] = (
            f"{stream.corpus}, stream {stream.stream or name}, manifest {stream.manifest}{share}"
        )
    return made_from


def model_card(
    made_from: Mapping[str, str],
    *,
    steps: int,
    tokens: int | None,
    scores: Mapping[str, float],
    library: str = "transformers",
) -> str:
    """Return the README of an export.

    Args:
        made_from: Lines by name, from `lineage`.
        steps: Batches trained.
        tokens: Tokens trained; None if unknown.
        scores: By `<task>/<metric>`, of the domain evaluation at that step.
        library: The library that loads the export: transformers, or peft.
    """
    rows = {**made_from, "steps": f"{steps:,}", **({} if tokens is None else {"tokens seen": f"{tokens:,}"})}
    base = made_from.get("base model", "")
    # The Hub refuses a card whose base_model is a local path.
    on_hub = base.count("/") <= 1 and not os.path.isdir(base) and bool(base)
    lines = [
        *("---", f"library_name: {library}", *([f"base_model: {base}"] if on_hub else [])),
        *("tags: [instruction-pre-training, tutelage]", "---", ""),
        *(f"# {made_from.get('run', 'Exported model')}", ""),
        *("Continually pre-trained with Tutelage on instruction-augmented text.", ""),
        *("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())),
        *(["", "| domain evaluation | score |", "|---|---|"] if scores else []),
        *(f"| {name} | {score:.4f} |" for name, score in scores.items()),
    ]
    return "\n".join(lines) + "\n"


def exported_steps(folder: str) -> int | None:
    """Return the number of batches on the card of an export; None without an export."""
    try:
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
            found = re.search(r"^\| steps \| ([\d,]+) \|$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return int(found[1].replace(",", "")) if found else None
