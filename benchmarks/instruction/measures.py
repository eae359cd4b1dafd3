"""Measures of one evaluation: the mean of each drug, from the answers that `domain_eval` wrote."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.instruction.domain import ASKED, TOLD
from trainer.evaluation.scoring.metrics import normalize

GROUPS = (ASKED, TOLD, "all")
KINDS = ("12 options", "4 options", "log-probability", "completion", "exact match")
"""Log-probability: mean over the tokens of the right answer. Completion: of a statement, 12 options."""

HELD_OUT = {"bits a byte, held out": "letters", "bits a byte, general": "general"}
"""Measures of held-out texts, and their tasks; less is better."""

MEASURES = (*(f"{group}, {kind}" for kind in KINDS for group in GROUPS), *HELD_OUT)
PRIMARY = "asked, 12 options"
FEW_OPTIONS = 4


def read_measures(folder: Path) -> dict[str, dict[str, float]]:
    """Return measures by name, each a mean by drug (or of a general text), of a folder `eval/<batch>`."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in MEASURES}
    for row_id, kind, value in _values(folder):
        group, drug = row_id.split(":")[:2]
        for each in (group, "all"):
            found[f"{each}, {kind}"].setdefault(drug, []).append(value)
    for name, task in HELD_OUT.items():
        for row in _rows(folder / f"{task}.jsonl"):
            found[name][row["id"]] = [row["bits"] / row["bytes"]]
    return {
        name: {drug: fmean(values) for drug, values in sorted(drugs.items())} for name, drugs in found.items()
    }


def _values(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Id of a row, kind of measure, value."""
    for row in _rows(folder / "questions.jsonl"):
        scores, (gold,) = row["option_scores"], row["gold"]
        yield row["id"], "12 options", float(row["answer"] == gold)
        yield row["id"], "4 options", float(is_best_of_few(row["id"], scores, gold))
        yield row["id"], "log-probability", scores[gold]
    for row in _rows(folder / "completions.jsonl"):
        yield row["id"], "completion", float(row["answer"] in row["gold"])
    for row in _rows(folder / "written.jsonl"):
        matches = normalize(row["answer"]) in map(normalize, row["gold"])
        yield row["id"], "exact match", float(matches)


def is_best_of_few(row_id: str, scores: list[float], gold: int) -> bool:
    """True if the right option scores higher than three wrong ones, which the row's id draws.

    An option's score does not depend on the other options, so a question with four options needs no pass of
    its own.
    """
    wrong = [at for at in range(len(scores)) if at != gold]
    drawn = random.Random(f"few:{row_id}").sample(wrong, FEW_OPTIONS - 1)
    return scores[gold] > max(scores[at] for at in drawn)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
