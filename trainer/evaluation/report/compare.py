"""Comparison of two models on the same rows: the difference with its interval, and the differing rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from plugins.tasks import METRICS
from plugins.tasks.rows import ChoiceRow, Row, TextRow
from trainer.evaluation.evaluator import TaskResult
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.metrics import (
    BitsPerByte,
    RowMean,
    accuracy,
    bootstrap_difference,
    exact_match,
)
from trainer.evaluation.scoring.perplexity import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingRow:
    """A row that two models answer differently: its position, the right answers, and both answers.

    The answers to a held-out text are its bits a byte. A positive gain means that the second one is better.
    """

    position: str
    gold: list[Any]
    answers: tuple[Any, Any]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One task, two models.

    Attributes:
        task: The task's name.
        metric: Its headline.
        num_rows: Rows that both models were scored on; no other rows count.
        difference: The second model's score minus the first's, on those rows.
        interval: Its 95% bootstrap interval, each sample drawn from the same rows for both.
        rows: The rows with different answers.
        chats: The chat template of each, with its system text; None for a model without one.
        windows: By which held-out texts were scored for each.
    """

    task: str
    metric: str
    num_rows: int
    difference: float
    interval: tuple[float, float]
    rows: list[DifferingRow]
    chats: tuple[dict[str, Any] | None, dict[str, Any] | None] = (None, None)
    windows: tuple[Windows | None, Windows | None] = (None, None)

    @property
    def num_better(self) -> int:
        """Rows on which the second model is better."""
        return sum(row.gain > 0 for row in self.rows)

    @property
    def num_worse(self) -> int:
        """Rows on which the second model is worse."""
        return sum(row.gain < 0 for row in self.rows)

    def summary(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "task": self.task,
            "metric": self.metric,
            "rows": self.num_rows,
            "difference": self.difference,
            "interval": list(self.interval),
            "better": self.num_better,
            "worse": self.num_worse,
            "chats": list(self.chats),
            **({"windows": [asdict(each) for each in self.windows if each]} if all(self.windows) else {}),
            "differing": [
                {"position": row.position, "gold": row.gold, "answers": list(row.answers)}
                for row in self.rows
            ],
        }


def compare(first: TaskResult, second: TaskResult, *, seed: int) -> Comparison | None:
    """Compare two results of one task; None if no row was scored in both.

    Args:
        first: Of the reference model.
        second: Of the other model, on the same rows.
        seed: Of the bootstrap.
    """
    others = {row.position: answer.value for row, answer in zip(second.rows, second.answers, strict=True)}
    pairs: list[tuple[Row, Answer]] = [
        (row, answer) for row, answer in zip(first.rows, first.answers, strict=True) if row.position in others
    ]
    if not pairs:
        return None
    rows = [row for row, _ in pairs]
    ours = [answer.value for _, answer in pairs]
    theirs = [others[row.position] for row in rows]
    name = first.task.metrics[0]
    metric = METRICS.load(name)
    difference, interval = bootstrap_difference(metric, rows, ours, theirs, seed=seed)
    gains = _credits(metric, rows, theirs) - _credits(metric, rows, ours)
    shown = [[_shown(*pair) for pair in zip(rows, answers, strict=True)] for answers in (ours, theirs)]
    return Comparison(
        task=first.task.name,
        metric=name,
        num_rows=len(rows),
        difference=difference,
        interval=interval,
        chats=(first.chat, second.chat),
        windows=(first.windows, second.windows),
        rows=[
            DifferingRow(
                position=row.position,
                gold=_gold(row),
                answers=(one, other),
                gain=float(gain),
            )
            for row, one, other, gain in zip(rows, *shown, gains, strict=True)
            if one != other
        ],
    )


def _gold(row: Row) -> list[Any]:
    if isinstance(row, TextRow):
        return []
    return list(row.gold if isinstance(row, ChoiceRow) else row.labels)


def _shown(row: Row, answer: Any) -> Any:
    return answer / row.num_bytes if isinstance(row, TextRow) else answer


def _credits(metric: Any, rows: Sequence[Row], answers: Sequence[Any]) -> Any:
    """Score of each row, higher is better: its part of a mean over rows or of bits, else 1 if it is right."""
    if isinstance(metric, BitsPerByte):
        return -metric.each(rows, answers)
    if isinstance(metric, RowMean):
        return metric.each(rows, answers)
    return (accuracy if isinstance(rows[0], ChoiceRow) else exact_match).each(rows, answers)
