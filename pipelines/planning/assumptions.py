"""Assumptions of a plan: length of an answer, and speed of the servers.

Each comes from the first of its sources that has a value, and names it:

    tokens of an answer   the corpus's journal ─► stats.json of its increments ─► the paper's mean
    speed                 the command line ─► stats.json of its newest increment ─► unknown
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.store.journal import answer_totals
from pipelines.store.statistics import stats_of
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import journal_uri, number_of
from schemas.errors import ConfigError

_PAPER_PAIRS, PAPER_PAIR_TOKENS = 5, 52  # Cheng et al. 2024, arXiv 2406.14491


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """Assumed length of answers."""

    mean_completion_tokens: float  # at most `synthesis.max_new_tokens` and `thinking_tokens`
    mean_pair_tokens: float  # without thoughts: at most `synthesis.max_new_tokens`
    source: str  # `journal`, `stats` or `paper`
    detail: str  # the source in words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """Assumed speed of all servers together; one of the two rates is set."""

    requests_per_sec: float | None = None
    completion_tokens_per_sec: float | None = None
    source: str  # `option` or `stats`
    detail: str  # the source in words

    def hours(self, *, num_requests: int, completion_tokens: float) -> float:
        """Return the hours that so many requests and generated tokens take."""
        if self.requests_per_sec is not None:
            return num_requests / self.requests_per_sec / 3600
        assert self.completion_tokens_per_sec is not None
        return completion_tokens / self.completion_tokens_per_sec / 3600


def expected_answers(config: CorpusConfig, known: tuple[str, ...]) -> Answers:
    """Estimate the length of the next increment's answers; `known` are the increments already in."""
    most, most_of_pairs = config.synthesis.answer_tokens, config.synthesis.max_new_tokens

    def answers(mean: float, source: str, detail: str) -> Answers:
        return Answers(
            mean_completion_tokens=min(mean, most),
            mean_pair_tokens=min(mean, most_of_pairs),
            source=source,
            detail=detail,
        )

    count, tokens = answer_totals(journal_uri(config.corpus))
    if count:
        detail = f"mean of {count:,} answers in the corpus's journal"
        return answers(tokens / count, "journal", detail)
    for _, synthesis in _syntheses(config, known):
        count, tokens = count + synthesis["requests"], tokens + synthesis["completion_tokens"]
    if count:
        detail = f"mean of {count:,} requests in the stats.json of earlier increments"
        return answers(tokens / count, "stats", detail)
    paper = _PAPER_PAIRS * PAPER_PAIR_TOKENS
    detail = f"the paper's {_PAPER_PAIRS} pairs of {PAPER_PAIR_TOKENS} tokens"
    if paper > most_of_pairs:
        detail += f", cut at synthesis.max_new_tokens {most_of_pairs}"
    thoughts = config.synthesis.thinking_tokens
    if thoughts:
        detail += f", and all of synthesis.thinking_tokens {thoughts:,}"
    of_pairs = float(min(paper, most_of_pairs))
    return dataclasses.replace(answers(of_pairs, "paper", detail), mean_completion_tokens=of_pairs + thoughts)


def expected_pairs(config: CorpusConfig, known: tuple[str, ...]) -> tuple[float, str]:
    """Estimate the pairs of a document in the next increment; returns the source in words as well."""
    counts: Counter[str] = Counter()
    for name in known:
        counts.update(stats_of(config.corpus, name)["counts"])
    if documents := counts["synthesize/documents"]:
        return counts["synthesize/pairs"] / documents, "as in earlier increments"
    return float(_PAPER_PAIRS), "as in the paper"


def expected_speed(
    config: CorpusConfig,
    known: tuple[str, ...],
    *,
    requests_per_sec: float | None = None,
    tokens_per_sec: float | None = None,
) -> Speed | None:
    """Estimate the speed of the servers, from an option of the command line or from earlier increments.

    Raises:
        ConfigError: Both are given, or one is not a positive number.
    """
    given = {"--requests-per-sec": requests_per_sec, "--tokens-per-sec": tokens_per_sec}
    if requests_per_sec is not None and tokens_per_sec is not None:
        raise ConfigError(f"{' and '.join(given)} are both given; keep the measured one.")
    for option, rate in given.items():
        if rate is not None and not (0 < rate < math.inf):
            raise ConfigError(f"{option} {rate:g}: expected a number above 0, for all servers together.")
    if requests_per_sec is not None:
        detail = f"{requests_per_sec:,g} requests a second, as --requests-per-sec says"
        return Speed(requests_per_sec=requests_per_sec, source="option", detail=detail)
    if tokens_per_sec is not None:
        detail = f"{tokens_per_sec:,g} generated tokens a second, as --tokens-per-sec says"
        return Speed(completion_tokens_per_sec=tokens_per_sec, source="option", detail=detail)
    for number, synthesis in _syntheses(config, known):
        if rate := synthesis.get("completion_tokens_per_sec"):
            detail = f"{rate:,g} generated tokens a second, as in increment {number}"
            return Speed(completion_tokens_per_sec=rate, source="stats", detail=detail)
    return None


def _syntheses(config: CorpusConfig, known: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and `synthesis` of each increment that sent requests, newest first."""
    for name in sorted(known, key=number_of, reverse=True):
        synthesis = stats_of(config.corpus, name).get("synthesis") or {}
        if synthesis.get("requests"):
            yield number_of(name), synthesis
