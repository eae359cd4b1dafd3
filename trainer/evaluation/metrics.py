"""From answers to figures, and how sure a figure is.

A metric is a function of a task's rows and its answers, in the same order, to a share of 1. One that
is a mean over rows says so (`RowMean`), which makes its interval cheap.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from schemas.errors import ConfigError
from trainer.evaluation.rows import ChoiceRow, GenerateRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], float]
"""(rows, answers) to a score: answers are option indices or texts, as the task's kind says."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class RowMean:
    """A metric that is the mean of a score a row."""

    score: Callable[[Any, Any], float]

    def __call__(self, rows: Sequence[Any], answers: Sequence[Any]) -> float:
        return float(np.mean(self.each(rows, answers)))

    def each(self, rows: Sequence[Any], answers: Sequence[Any]) -> NDArray[np.float64]:
        """The score of each row, float64 of shape (num_rows,)."""
        return np.array([self.score(row, answer) for row, answer in zip(rows, answers, strict=True)])


def _is_gold(row: ChoiceRow, answer: int) -> float:
    return float(answer in row.gold)


def _matches(row: GenerateRow, answer: str) -> float:
    return float(any(normalize(answer) == normalize(label) for label in row.labels))


def _shares_tokens(row: GenerateRow, answer: str) -> float:
    return max(_overlap_f1(normalize(answer).split(), normalize(label).split()) for label in row.labels)


accuracy = RowMean(_is_gold)
"""Share of rows whose answer is among the right options."""

exact_match = RowMean(_matches)
"""Share of rows whose normalised answer is one of the normalised labels."""

token_f1 = RowMean(_shares_tokens)
"""Mean over rows of the best F1 between the answer's and a label's normalised words."""


def weighted_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """F1 of each option index, weighted by how often it is right."""
    return _f1(rows, answers, "weighted")


def micro_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """F1 over all decisions; with one right option a row this is accuracy."""
    return _f1(rows, answers, "micro")


def macro_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """Plain mean of the F1 of each option index that is right or answered somewhere."""
    return _f1(rows, answers, "macro")


def normalize(text: str) -> str:
    """Lower-case, without punctuation, articles and repeated spaces.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250, the official evaluation of SQuAD.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def bootstrap_interval(
    metric: Metric, rows: Sequence[Any], answers: Sequence[Any], *, seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """95% percentile interval of a metric over rows drawn with replacement.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    generator = np.random.default_rng(seed)
    each = metric.each(rows, answers) if isinstance(metric, RowMean) else None
    values = []
    for _ in range(resamples):
        drawn = generator.integers(len(rows), size=len(rows))
        if each is not None:
            values.append(float(each[drawn].mean()))
        else:
            values.append(metric([rows[at] for at in drawn], [answers[at] for at in drawn]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _f1(rows: Sequence[ChoiceRow], answers: Sequence[int], average: str) -> float:
    from sklearn.metrics import f1_score

    several = next((row for row in rows if len(row.gold) != 1), None)
    if several is not None:
        raise ConfigError(
            f"{several.position}: gold_index holds {len(several.gold)} indices, but {average}_f1 needs "
            "one a row; use accuracy, or give the row one."
        )
    return float(f1_score([row.gold[0] for row in rows], list(answers), average=average, zero_division=0))


def _overlap_f1(found: Sequence[str], expected: Sequence[str]) -> float:
    if not found or not expected:
        return float(found == expected)
    common = sum((Counter(found) & Counter(expected)).values())
    return 2 * common / (len(found) + len(expected))
