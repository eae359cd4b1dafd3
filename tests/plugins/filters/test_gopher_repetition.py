from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from plugins.filters.base import Verdict
from plugins.filters.gopher_repetition import (
    GopherRepetitionFilter,
    duplicate_share,
    repeated_ngrams,
    top_share,
)
from schemas.records import Document

OFF: dict[str, Any] = dict.fromkeys(GopherRepetitionFilter.Options.model_fields)


def only(text: str, rule: str) -> float | str | None:
    """The value at which a single rule with its published limit refuses a text, or None."""
    limit = getattr(GopherRepetitionFilter.Options(), rule)
    outcome = GopherRepetitionFilter({**OFF, rule: limit})(Document.of("d", text, source="s"))
    if not isinstance(outcome, Verdict):
        return None
    assert (outcome.rule, outcome.limit) == (rule, f"at most {limit}")
    return round(outcome.value, 4) if isinstance(outcome.value, float) else outcome.value


def distinct(count: int) -> list[str]:
    """Different words of two letters."""
    return ["".join(pair) for pair in itertools.islice(itertools.product("abcdefghijkl", repeat=2), count)]


def with_repeated_run(size: int, others: int) -> str:
    """A run of `size` words, `others` different words, and the run again."""
    words = distinct(size + others)
    return " ".join([*words[:size], *words[size:], *words[:size]])


@pytest.mark.parametrize(
    ("rule", "kept", "refused", "value"),
    [
        ("max_duplicate_lines", "a\na\na\na\nb\nc\nd\ne\nf\ng", "a\na\na\nb\nc", 0.4),
        ("max_duplicate_paragraphs", "a\n\na\n\na\n\na\n\n" + "\n\n".join("bcdefg"), "a\n\na\n\nb\n\nb", 0.5),
        ("max_duplicate_line_characters", "aa\naa\nbbbbbb", "aa\naa\nbb", 0.3333),
        ("max_duplicate_paragraph_characters", "aa\n\naa\n\nbbbbbb", "aa\n\naa\n\nbb", 0.3333),
    ],
)
def test_repeated_lines_and_paragraphs(rule: str, kept: str, refused: str, value: float) -> None:
    assert only(kept, rule) is None
    assert only(refused, rule) == value


@pytest.mark.parametrize(
    ("size", "kept", "refused", "value"),
    [
        (2, 16, 15, 0.2105),  # 4 of 20 words against 4 of 19
        (3, 28, 27, 0.1818),  # 6 of 34 against 6 of 33
        (4, 42, 41, 0.1633),  # 8 of 50 against 8 of 49
    ],
)
def test_the_most_frequent_ngram(size: int, kept: int, refused: int, value: float) -> None:
    assert only(with_repeated_run(size, kept), f"max_top_{size}_gram") is None
    assert only(with_repeated_run(size, refused), f"max_top_{size}_gram") == value


@pytest.mark.parametrize(
    ("size", "kept", "refused", "value"),
    [
        (5, 24, 23, 0.1515),  # 5 of 34 words against 5 of 33
        (6, 31, 30, 0.1429),
        (7, 40, 39, 0.1321),
        (8, 51, 50, 0.1212),
        (9, 64, 63, 0.1111),
        (10, 80, 79, 0.101),  # 10 of 100 against 10 of 99
    ],
)
def test_duplicate_ngrams(size: int, kept: int, refused: int, value: float) -> None:
    assert only(with_repeated_run(size, kept), f"max_duplicate_{size}_grams") is None
    assert only(with_repeated_run(size, refused), f"max_duplicate_{size}_grams") == value


def test_an_ngram_that_occurs_once_is_no_repetition() -> None:
    outcome = GopherRepetitionFilter()(Document.of("d", "three different words", source="s"))
    assert isinstance(outcome, Document)


def test_overlapping_ngrams_count_once() -> None:
    assert only("a a a a a a", "max_top_2_gram") == 1.0
    assert only("a " * 10, "max_duplicate_5_grams") == 0.5  # the first five words do not count


@pytest.mark.parametrize("seed", range(20))
def test_pruning_finds_what_counting_every_ngram_finds(seed: int) -> None:
    """Expected values: counts of tuples in a dict, for each size alone."""
    words = random.Random(seed).choices(["a", "bb", "ccc", "dd"], k=60)
    ends = np.cumsum([0, *map(len, words)])
    found = {ngrams.size: ngrams for ngrams in repeated_ngrams(words, longest=10)}
    for size in range(2, 11):
        places: dict[tuple[str, ...], list[int]] = {}
        for start in range(len(words) - size + 1):
            places.setdefault(tuple(words[start : start + size]), []).append(start)
        again = sorted(start for starts in places.values() if len(starts) > 1 for start in starts)
        assert (found[size].starts.tolist() if size in found else []) == again
        if not again:
            continue
        top = max(places.values(), key=len)
        covered = {start + offset for start in top for offset in range(size)}
        assert top_share(found[size], ends) == sum(len(words[at]) for at in covered) / ends[-1]
        seen, at, characters = set(), 0, 0
        while at + size <= len(words):
            ngram = tuple(words[at : at + size])
            if ngram in seen:
                characters += sum(map(len, ngram))
            at += size if ngram in seen else 1
            seen.add(ngram)
        assert duplicate_share(found[size], ends) == characters / ends[-1]
