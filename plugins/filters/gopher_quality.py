"""Gopher's quality rules: refuse everything but running text.

Words are those of plugins/words.py; blank lines do not count. The rules for the length and the letters of
words use the pieces between white space, because a long address or a row of signs, cut into words, would
pass. Signs are shares of words or of pieces, whichever are more. The rules are for English: the stop words
are an option, and the lengths fit languages with spaces between words; null removes a rule.

Source: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, "Quality Filtering".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from plugins.filters.base import TextRules, Verdict
from plugins.filters.text_lines import lines_of
from plugins.words import words_of
from schemas.config import Section

_LETTER = re.compile(r"[^\W\d_]")
_BULLETS = ("•", "‣", "●", "▪", "◦", "-", "–", "*")
_ELLIPSES = ("...", "…")


class GopherQualityOptions(Section):
    """Limits of the rules; null removes one. Shares run from 0 to 1.

    Attributes:
        min_words: Fewest words.
        max_words: Most words.
        min_mean_word_length: Least mean characters of a word.
        max_mean_word_length: Most mean characters of a word.
        max_hashes_per_word: Hash signs for each word.
        max_ellipses_per_word: Ellipses for each word.
        max_bullet_lines: Share of lines that begin with a bullet.
        max_ellipsis_lines: Share of lines that end in an ellipsis.
        min_words_with_letter: Share of words with a letter.
        min_stop_words: Different stop words in the text.
        stop_words: The stop words, in lower case.
    """

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3.0
    max_mean_word_length: float | None = 10.0
    max_hashes_per_word: float | None = 0.1
    max_ellipses_per_word: float | None = 0.1
    max_bullet_lines: float | None = pydantic.Field(default=0.9, ge=0, le=1)
    max_ellipsis_lines: float | None = pydantic.Field(default=0.3, ge=0, le=1)
    min_words_with_letter: float | None = pydantic.Field(default=0.8, ge=0, le=1)
    min_stop_words: int | None = 2
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")


class GopherQualityFilter(TextRules[GopherQualityOptions]):
    """Refuse texts that do not look like running text."""

    name = "gopher_quality"
    Options = GopherQualityOptions

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        self._stop_words = {f" {' '.join(words_of(stop))} " for stop in self.options.stop_words}

    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        pieces, words = text.split(), words_of(text)
        yield self.at_least("min_words", len(words))
        yield self.at_most("max_words", len(words))
        num_pieces, num_words = max(1, len(pieces)), max(1, len(pieces), len(words))
        mean_length = sum(map(len, pieces)) / num_pieces
        yield self.at_least("min_mean_word_length", mean_length)
        yield self.at_most("max_mean_word_length", mean_length)
        yield self.at_most("max_hashes_per_word", text.count("#") / num_words)
        yield self.at_most("max_ellipses_per_word", sum(map(text.count, _ELLIPSES)) / num_words)
        lines = lines_of(text)
        num_lines = max(1, len(lines))
        yield self.at_most("max_bullet_lines", sum(line.startswith(_BULLETS) for line in lines) / num_lines)
        yield self.at_most("max_ellipsis_lines", sum(line.endswith(_ELLIPSES) for line in lines) / num_lines)
        yield self.at_least("min_words_with_letter", sum(map(bool, map(_LETTER.search, pieces))) / num_pieces)
        yield self.at_least("min_stop_words", self._num_stop_words(words))

    def _num_stop_words(self, words: list[str]) -> int:
        said = f" {' '.join(words)} "
        return sum(stop in said for stop in self._stop_words)
