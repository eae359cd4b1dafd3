"""The model's answer to one row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The model's answer to one row.

    Attributes:
        value: Index of the option with the best score, or the generated text.
        option_scores: Mean log-probability of each option; empty for generated text.
        is_truncated: True if the prompt lost its start to fit the context.
        is_merged: True if an option shares a token with its prompt.
    """

    value: int | str
    option_scores: tuple[float, ...] = ()
    is_truncated: bool = False
    is_merged: bool = False

    @property
    def is_tied(self) -> bool:
        """True if several options share the best score; the first of them is the answer."""
        return bool(self.option_scores) and self.option_scores.count(max(self.option_scores)) > 1
