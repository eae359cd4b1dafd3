"""Gopher's repetition rules: refuse texts that repeat themselves, in any language.

An n-gram is n pieces between white space, and its characters are those of the pieces. The words of
plugins/words.py do not fit: in scripts without spaces they are single characters, and any frequent term gives
repeated n-grams. In such scripts only the rules for lines and paragraphs take effect. The paper leaves open
whether the first of equal n-grams is a repeat; here it is not, as in datatrove, which made FineWeb.
Overlapping repeats count once. A top n-gram that occurs once is no repetition.

Cost: words become integers, and an n-gram is examined only if both (n-1)-grams in it are repeated, so that
ordinary text ends after a few sizes.

Source: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, "Repetition Removal", table A1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pydantic

from plugins.filters.base import JudgingOptions, TextRules, Verdict
from plugins.filters.text_lines import lines_of, paragraphs_of, repeated

_TOP = (2, 3, 4)
_DUPLICATE = (5, 6, 7, 8, 9, 10)


def _share(default: float) -> Any:
    return pydantic.Field(default=default, ge=0, le=1)


class GopherRepetitionOptions(JudgingOptions):
    """Limits of the rules, as shares from 0 to 1; null removes one.

    Attributes:
        max_duplicate_lines: Repeated lines, of all lines.
        max_duplicate_paragraphs: Repeated paragraphs, of all paragraphs.
        max_duplicate_line_characters: Characters in repeated lines.
        max_duplicate_paragraph_characters: Characters in repeated paragraphs.
        max_top_2_gram: Characters in the most frequent run of two words.
        max_top_3_gram: Of three words.
        max_top_4_gram: Of four words.
        max_duplicate_5_grams: Characters in repeated runs of five words.
        max_duplicate_6_grams: Of six words.
        max_duplicate_7_grams: Of seven words.
        max_duplicate_8_grams: Of eight words.
        max_duplicate_9_grams: Of nine words.
        max_duplicate_10_grams: Of ten words.
    """

    max_duplicate_lines: float | None = _share(0.30)
    max_duplicate_paragraphs: float | None = _share(0.30)
    max_duplicate_line_characters: float | None = _share(0.20)
    max_duplicate_paragraph_characters: float | None = _share(0.20)
    max_top_2_gram: float | None = _share(0.20)
    max_top_3_gram: float | None = _share(0.18)
    max_top_4_gram: float | None = _share(0.16)
    max_duplicate_5_grams: float | None = _share(0.15)
    max_duplicate_6_grams: float | None = _share(0.14)
    max_duplicate_7_grams: float | None = _share(0.13)
    max_duplicate_8_grams: float | None = _share(0.12)
    max_duplicate_9_grams: float | None = _share(0.11)
    max_duplicate_10_grams: float | None = _share(0.10)


class GopherRepetitionFilter(TextRules[GopherRepetitionOptions]):
    """Refuse texts that repeat themselves."""

    name = "gopher_repetition"
    Options = GopherRepetitionOptions

    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        lines, paragraphs = repeated(lines_of(text)), repeated(paragraphs_of(text))
        yield self.at_most("max_duplicate_lines", lines.pieces)
        yield self.at_most("max_duplicate_paragraphs", paragraphs.pieces)
        yield self.at_most("max_duplicate_line_characters", lines.characters)
        yield self.at_most("max_duplicate_paragraph_characters", paragraphs.characters)
        words = text.split()
        ends = np.cumsum([0, *map(len, words)])  # characters before each word
        for ngrams in repeated_ngrams(words, longest=_DUPLICATE[-1]):
            if ngrams.size in _TOP:
                yield self.at_most(f"max_top_{ngrams.size}_gram", top_share(ngrams, ends))
            elif ngrams.size in _DUPLICATE:
                yield self.at_most(f"max_duplicate_{ngrams.size}_grams", duplicate_share(ngrams, ends))


class Ngrams(NamedTuple):
    """The n-grams of a text that occur more than once; arrays of shape (num_ngrams,)."""

    size: int  # n
    starts: np.ndarray[Any, np.dtype[np.int64]]  # index of the first word of each, ascending
    ids: np.ndarray[Any, np.dtype[np.int64]]  # equal for equal n-grams


def repeated_ngrams(words: Sequence[str], *, longest: int) -> Iterator[Ngrams]:
    """Yield the repeated n-grams of size 2, 3, … `longest`; ends at a size without any."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    ids = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
    starts = np.arange(len(words))
    for size in range(2, longest + 1):
        # The n-gram at p joins the (n-1)-grams at p and p + 1, and is repeated only if both are.
        firsts = np.flatnonzero(np.diff(starts) == 1)
        # Ids are below the number of words, so the pair is exact in 64 bits.
        pairs = ids[firsts] * len(words) + ids[firsts + 1]
        _, ids, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        again = counts[ids] > 1
        starts, ids = starts[firsts][again], ids[again]
        if not len(starts):
            return
        yield Ngrams(size, starts, ids)


def top_share(ngrams: Ngrams, ends: np.ndarray[Any, Any]) -> float:
    """Return the share of characters in the most frequent n-gram, the first of several."""
    counts = np.bincount(ngrams.ids)[ngrams.ids]
    top = ngrams.starts[ngrams.ids == ngrams.ids[np.argmax(counts)]]
    covered = np.zeros(len(ends) - 1, dtype=bool)
    for offset in range(ngrams.size):
        covered[top + offset] = True
    return float(np.diff(ends)[covered].sum() / ends[-1])


def duplicate_share(ngrams: Ngrams, ends: np.ndarray[Any, Any]) -> float:
    """Return the share of characters in repeated n-grams, from left to right without overlap."""
    lengths = (ends[ngrams.starts + ngrams.size] - ends[ngrams.starts]).tolist()
    seen: set[int] = set()
    characters = free_from = 0
    for start, ngram, length in zip(ngrams.starts.tolist(), ngrams.ids.tolist(), lengths, strict=True):
        if start < free_from:
            continue
        if ngram in seen:
            characters += length
            free_from = start + ngrams.size
        seen.add(ngram)
    return float(characters / ends[-1])
