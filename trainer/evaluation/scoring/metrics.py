"""Metrics and their bootstrap intervals.

A metric is a function of a task's rows and the answers, in the same order, to a share of 1, or to bits a
byte. A metric that is a mean over rows is a `RowMean`, whose interval is cheap.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from plugins.tasks import METRICS
from plugins.tasks.rows import ChoiceRow, GenerateRow, TextRow
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], float]
"""(rows, answers) to a score: answers are option indices, texts or bits, depending on the task's kind."""

_ENTITY = re.compile(r"(\S+\s*)\s\((\S+)\)")
_NUMBER = re.compile(r"[-+]?\.?\d+(?:,\d{3})*\.?\d*(?:[eE][-+]?\d+)?%*")
_NUMBER_TOLERANCE = 1e-2
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class RowMean:
    """A metric that is the mean of one score per row."""

    score: Callable[[Any, Any], float]

    def __call__(self, rows: Sequence[Any], answers: Sequence[Any]) -> float:
        return float(np.mean(self.each(rows, answers)))

    def each(self, rows: Sequence[Any], answers: Sequence[Any]) -> NDArray[np.float64]:
        """The score of each row, float64 of shape (num_rows,)."""
        return np.array([self.score(row, answer) for row, answer in zip(rows, answers, strict=True)])


class BitsPerByte:
    """Bits of all texts by the bytes of all texts: a long text counts for more than a short one."""

    lower_is_better = True

    def __call__(self, rows: Sequence[TextRow], answers: Sequence[float]) -> float:
        return math.fsum(answers) / sum(row.num_bytes for row in rows)

    def each(self, rows: Sequence[Any], answers: Sequence[Any]) -> NDArray[np.float64]:
        """Bits a byte of each text, float64 of shape (num_rows,)."""
        return np.array([bits / row.num_bytes for row, bits in zip(rows, answers, strict=True)])


def lower_is_better(metric: str) -> bool:
    """True if a lower score of this metric of `METRICS` is better; a metric says so by an attribute."""
    return bool(getattr(METRICS.load(metric), "lower_is_better", False))


def _is_gold(row: ChoiceRow, answer: int) -> float:
    return float(answer in row.gold)


def _matches(row: GenerateRow, answer: str) -> float:
    return float(any(normalize(answer) == normalize(label) for label in row.labels))


def _shares_tokens(row: GenerateRow, answer: str) -> float:
    return max(_overlap_f1(normalize(answer).split(), normalize(label).split()) for label in row.labels)


bits_per_byte = BitsPerByte()
"""Negative log2-probability of all tokens of the texts, by their bytes in UTF-8; lower is better.

Bytes do not depend on the tokenizer, so that models with other tokenizers are comparable.

Source: Gao et al. 2020, arXiv 2101.00027, section 3.1.
"""

accuracy = RowMean(_is_gold)
"""Share of rows whose answer is among the right options."""

exact_match = RowMean(_matches)
"""Share of rows whose normalised answer is one of the normalised labels."""

token_f1 = RowMean(_shares_tokens)
"""Mean over rows of the best F1 between the answer's and a label's normalised words."""


def _credits_entities(row: GenerateRow, answer: str) -> float:
    """F1 of the types and texts of a row's entities; see `entity_f1` for the credits."""
    true, found = entities(row.labels[0]), entities(answer)
    credits = 0
    for text, kind in true:
        for found_text, found_kind in found:
            if found_text == text or found_kind == kind:
                # The first found entity that agrees in text or type is its pair, whatever comes later.
                credits += (found_text == text) + (found_kind == kind)
                break
    return credits / (len(true) + len(found)) if credits else 0.0


def _hits_number(row: GenerateRow, answer: str) -> float:
    expected = numbers(row.labels[0])[:1]
    return float(
        any(
            math.isclose(number, label, abs_tol=_NUMBER_TOLERANCE)
            for label in expected
            for number in numbers(answer)
        )
    )


entity_f1 = RowMean(_credits_entities)
"""Mean over rows of the F1 of entities, with separate credits for type and text.

Entities are read as `word (TYPE)` from the answer and the first label, repeated ones once. Each true
entity is paired with the first found entity that has its text or its type, and earns one credit for an equal
text and one for an equal type. As in the papers' evaluation, all entities count as starting at one
place, so that any two overlap.

Source: the definition of `nereval` (Trienes 2018), after MUC; Cheng et al. 2024, arXiv 2309.09530.
"""

number_match = RowMean(_hits_number)
"""Share of rows whose first label number is within 0.01 of any number in the answer's first line."""


def entities(text: str) -> list[tuple[str, str]]:
    """The distinct (text, type) pairs of `word (TYPE)` items, in their order."""
    return list(dict.fromkeys(_ENTITY.findall(text)))


def numbers(text: str) -> list[float]:
    """The numbers of a text's first line: `3%` is 0.03, `1,234.5` is 1234.5; a number too large is NaN.

    Parentheses do not make a number negative.
    """
    found = []
    for number in _NUMBER.findall(text.split("\n", 1)[0]):
        value = float(number.rstrip("%").replace(",", "")) / 100 ** number.count("%")
        found.append(value if math.isfinite(value) else math.nan)
    return found


def headline_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """Weighted F1 of the rows of each `class_id`, then the plain mean over the classes that have rows."""
    of_class: dict[int, list[int]] = {}
    for at, row in enumerate(rows):
        if "class_id" not in row.fields:
            raise ConfigError(
                f"{row.position}: has no class_id, which headline_f1 needs; add it, or use weighted_f1."
            )
        of_class.setdefault(row.fields["class_id"], []).append(at)
    scores = [
        _f1([rows[at] for at in members], [answers[at] for at in members], "weighted")
        for _, members in sorted(of_class.items())
    ]
    return sum(scores) / len(scores)


def weighted_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """F1 of each option index, weighted by the number of rows where it is right."""
    return _f1(rows, answers, "weighted")


def micro_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """F1 over all decisions; with one right option per row this is accuracy."""
    return _f1(rows, answers, "micro")


def macro_f1(rows: Sequence[ChoiceRow], answers: Sequence[int]) -> float:
    """Plain mean of the F1 of each option index that is right or the answer in some row."""
    return _f1(rows, answers, "macro")


def normalize(text: str) -> str:
    """Convert to lower case; remove punctuation, articles and repeated spaces.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250, the official evaluation of SQuAD.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def bootstrap_interval(
    metric: Metric, rows: Sequence[Any], answers: Sequence[Any], *, seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """95% percentile interval of a metric over rows drawn with replacement.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    score_of = _resampled(metric, rows, answers)
    return _percentiles([score_of(drawn) for drawn in _draws(len(rows), seed, resamples)])


def bootstrap_difference(
    metric: Metric,
    rows: Sequence[Any],
    answers: Sequence[Any],
    others: Sequence[Any],
    *,
    seed: int,
    resamples: int = 1000,
) -> tuple[float, tuple[float, float]]:
    """The metric for `others` minus the metric for `answers`, with its 95% percentile interval.

    Both are scored on the same draws, so that effects of easy or hard rows cancel.
    """
    before, after = _resampled(metric, rows, answers), _resampled(metric, rows, others)
    differences = [after(drawn) - before(drawn) for drawn in _draws(len(rows), seed, resamples)]
    whole = np.arange(len(rows))
    return after(whole) - before(whole), _percentiles(differences)


def _draws(num_rows: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(num_rows, size=num_rows)


def _resampled(
    metric: Metric, rows: Sequence[Any], answers: Sequence[Any]
) -> Callable[[NDArray[np.int64]], float]:
    """A function of drawn row indices to the metric; rows of means and of ratios are scored only once."""
    if isinstance(metric, RowMean):
        each = metric.each(rows, answers)
        return lambda drawn: float(each[drawn].mean())
    if isinstance(metric, BitsPerByte):
        bits, num_bytes = np.array(answers), np.array([row.num_bytes for row in rows])
        return lambda drawn: float(bits[drawn].sum() / num_bytes[drawn].sum())
    return lambda drawn: metric([rows[at] for at in drawn], [answers[at] for at in drawn])


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _f1(rows: Sequence[ChoiceRow], answers: Sequence[int], average: str) -> float:
    from sklearn.metrics import f1_score

    several = next((row for row in rows if len(row.gold) != 1), None)
    if several is not None:
        raise ConfigError(
            f"{several.position}: gold_index holds {len(several.gold)} indices, but {average}_f1 needs "
            "one per row; use accuracy, or give the row one."
        )
    return float(f1_score([row.gold[0] for row in rows], list(answers), average=average, zero_division=0))


def _overlap_f1(found: Sequence[str], expected: Sequence[str]) -> float:
    if not found or not expected:
        return float(found == expected)
    common = sum((Counter(found) & Counter(expected)).values())
    return 2 * common / (len(found) + len(expected))
