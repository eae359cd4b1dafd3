"""The model's answer to one row, and its saved form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plugins.tasks.rows import ChoiceRow, Row, TextRow

_MARKS = ("is_truncated", "is_merged", "has_unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The model's answer to one row.

    Attributes:
        value: Index of the option with the best score, the generated text, or the bits of a held-out text.
        option_scores: Mean log-probability of each option; empty for generated text.
        is_truncated: True if the prompt lost its start to fit the context.
        is_merged: True if an option shares a token with its prompt.
        has_unknown: True if a held-out text holds the tokenizer's unknown token.
    """

    value: int | str | float
    option_scores: tuple[float, ...] = ()
    is_truncated: bool = False
    is_merged: bool = False
    has_unknown: bool = False

    @property
    def is_tied(self) -> bool:
        """True if several options share the best score; the first of them is the answer."""
        return bool(self.option_scores) and self.option_scores.count(max(self.option_scores)) > 1


def to_plain(row: Row, answer: Answer) -> dict[str, Any]:
    """A row's answer beside the right one, as plain values."""
    plain: dict[str, Any] = {"id": row.row_id, "position": row.position, "answer": answer.value}
    if isinstance(row, TextRow):
        del plain["answer"]
        plain |= {"bits": answer.value, "bytes": row.num_bytes}
    elif isinstance(row, ChoiceRow):
        plain |= {"gold": list(row.gold), "option_scores": list(answer.option_scores)}
    else:
        plain |= {"gold": list(row.labels)}
    return plain | {name: True for name in _MARKS if getattr(answer, name)}


def from_plain(saved: Mapping[str, Any]) -> Answer:
    """The answer of `to_plain`."""
    return Answer(
        value=saved["bits"] if "bits" in saved else saved["answer"],
        option_scores=tuple(saved.get("option_scores", ())),
        **{name: saved.get(name, False) for name in _MARKS},
    )
