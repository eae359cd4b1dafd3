"""Marks of verifiers on labelled pairs: a pair counts as refused if a verdict is below `min_score`.

precision    of the refused pairs, the share that is labelled bad
recall       of the bad pairs, the share that is refused
dropped      of the good pairs, the share that is refused
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.verification.labelled import Labelled
from plugins.verifiers.base import Verifier


@dataclass(frozen=True, slots=True)
class Refusals:
    """A labelled pair and the reasons of the verifiers that refuse it, by name."""

    row: Labelled
    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class Marks:
    """Counts of a set of pairs for one verifier, or for several together."""

    num_good: int
    num_bad: int
    num_good_refused: int
    num_bad_refused: int

    @property
    def precision(self) -> float:
        return self.num_bad_refused / max(1, self.num_good_refused + self.num_bad_refused)

    @property
    def recall(self) -> float:
        return self.num_bad_refused / max(1, self.num_bad)

    @property
    def dropped(self) -> float:
        return self.num_good_refused / max(1, self.num_good)


def judge(rows: Iterable[Labelled], verifiers: Sequence[Verifier]) -> list[Refusals]:
    """Let every verifier judge every pair."""
    found = []
    for row in rows:
        verdicts = ((each, each.verdict(row.text, row.pair)) for each in verifiers)
        below = {
            each.name: verdict.reason for each, verdict in verdicts if verdict.score < each.options.min_score
        }
        found.append(Refusals(row, below))
    return found


def marks(judged: Iterable[Refusals], names: Collection[str]) -> Marks:
    """Marks of some verifiers together: one that refuses is enough."""
    counts = [[0, 0], [0, 0]]
    for each in judged:
        counts[each.row.is_bad][not each.reasons.keys().isdisjoint(names)] += 1
    (good, good_refused), (bad, bad_refused) = counts
    return Marks(good + good_refused, bad + bad_refused, good_refused, bad_refused)


def pairs_per_second(rows: Sequence[Labelled], verifiers: Sequence[Verifier], *, repeats: int) -> float:
    """Pairs that one core judges in a second of CPU time, the best of some runs, after one that warms up.

    Each run reads every passage again, as a corpus build does: a passage is kept for its own pairs alone.
    """
    judge(rows, verifiers)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        judge(rows, verifiers)
        best = min(best, time.process_time() - start)
    return len(rows) / best
