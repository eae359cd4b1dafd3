"""Gopher's quality rules: refuse everything but running text.

Words are those of plugins/words.py; blank lines do not count. The rules for the length and the letters of
words use the pieces between white space, because a long address or a row of signs, cut into words, would
pass. Signs are shares of words or of pieces, whichever are more.

The rules were made for English; two of them heed the language and script of a document. Without the option
`stop_words`, a text that is not in English needs stop words of its own language; stop_words.yaml has those of
76 languages. The mean length of words is not limited where most characters are past the alphabets (U+0900):
in Indic scripts, Hangul and scripts without spaces.

Source: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, "Quality Filtering".
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from plugins.document_language import likely_languages
from plugins.filters.base import JudgingOptions, TextRules, Verdict
from plugins.filters.text_lines import lines_of
from plugins.words import words_of
from schemas.records import Document

_LETTER = re.compile(r"[^\W\d_]")
_PAST_ALPHABETS = re.compile("[\u0900-\u1dff\u2c80-\ufaff]+")
_BULLETS = ("•", "‣", "●", "▪", "◦", "-", "–", "*")
_ELLIPSES = ("...", "…")


class GopherQualityOptions(JudgingOptions):
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
        stop_words: The stop words, in lower case; null takes those of the document's language.
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
    stop_words: tuple[str, ...] | None = None


class GopherQualityFilter(TextRules[GopherQualityOptions]):
    """Refuse what does not look like running text, by limits for English and stop words of many languages."""

    name = "gopher_quality"
    Options = GopherQualityOptions

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        given = self.options.stop_words
        self._stop_words = _as_words(stop_words()["en"] if given is None else given)

    def __call__(self, document: Document) -> Document | Verdict:
        outcome = super().__call__(document)
        is_by_language = self.options.stop_words is None
        if not (is_by_language and isinstance(outcome, Verdict) and outcome.rule == "min_stop_words"):
            return outcome
        # It is the last rule, so the document keeps all others.
        words, languages = words_of(document.text), likely_languages(document)
        known = [stop_words()[each] for each in languages if each in stop_words()]
        if languages and not known and "zxx" not in languages:  # zxx is text in no language
            return dataclasses.replace(outcome, value=f"none known for {languages[0]}: set stop_words")
        found = max((_num_of(_as_words(each), words) for each in known), default=0)
        return self.at_least("min_stop_words", found) or document

    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        pieces, words = text.split(), words_of(text)
        yield self.at_least("min_words", len(words))
        yield self.at_most("max_words", len(words))
        num_pieces, num_words = max(1, len(pieces)), max(1, len(pieces), len(words))
        if text.isascii() or sum(map(len, _PAST_ALPHABETS.findall(text))) <= sum(map(len, pieces)) / 2:
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
        yield self.at_least("min_stop_words", _num_of(self._stop_words, words))


@functools.cache
def stop_words() -> dict[str, tuple[str, ...]]:
    """Return the stop words of each language, by ISO 639 code."""
    data = yaml.safe_load(Path(__file__).with_name("stop_words.yaml").read_text(encoding="utf-8"))
    return {language: tuple(words.split()) for language, words in data.items()}


@functools.cache
def _as_words(stops: tuple[str, ...]) -> frozenset[str]:
    return frozenset(f" {' '.join(words_of(stop))} " for stop in stops)


def _num_of(stops: frozenset[str], words: list[str]) -> int:
    said = f" {' '.join(words)} "
    return sum(stop in said for stop in stops)
