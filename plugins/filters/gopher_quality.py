"""Gopher's quality rules: refuse everything but running text.

Words are those of plugins/words.py; blank lines do not count. The rules for the length and the letters of
words use the pieces between white space, because a long address or a row of signs, cut into words, would
pass. Signs are shares of words or of pieces, whichever are more.

The rules were made for English; three of them heed the language and script of a document:

- Half of `min_words` is enough in other languages, because some say in half as many words what English says
  in 50: Amharic, Tamil, Korean and Georgian in 54 to 60% (the same three sentences in 25 languages). In
  scripts without spaces words are single letters, and all are asked for.
- A text needs stop words of its own language; stop_words.yaml has those of 77 languages. One is enough in
  fewer than 50 words. A language without a list passes over this rule, and is counted.
- The mean length of words is not limited where most characters are past the alphabets (U+0900): in Indic
  scripts, Hangul and scripts without spaces.

A number that the YAML sets is asked for in every language.

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
from plugins.filters.base import JudgingOptions, TextRules, Unjudged, Verdict
from plugins.filters.text_lines import lines_of
from plugins.words import letters_per_word, words_of
from schemas.records import Document

_LETTER = re.compile(r"[^\W\d_]")
_WITHOUT_LETTERS = {  # of ASCII; white space stays
    point: None for point in range(128) if not (chr(point).isalpha() or chr(point).isspace())
}
_PAST_ALPHABETS = re.compile("[\u0900-\u1dff\u2c80-\ufaff]+")
_FEW_WORDS = 50
_NO_LANGUAGE = "zxx"
_BULLETS = ("•", "‣", "●", "▪", "◦", "-", "–", "*")
_ELLIPSES = ("...", "…")


class GopherQualityOptions(JudgingOptions):
    """Limits of the rules; null removes one. Shares run from 0 to 1.

    Attributes:
        min_words: Fewest words; by default half as many in a language other than English.
        max_words: Most words.
        min_mean_word_length: Least mean characters of a word.
        max_mean_word_length: Most mean characters of a word.
        max_hashes_per_word: Hash signs for each word.
        max_ellipses_per_word: Ellipses for each word.
        max_bullet_lines: Share of lines that begin with a bullet.
        max_ellipsis_lines: Share of lines that end in an ellipsis.
        min_words_with_letter: Share of words with a letter.
        min_stop_words: Different stop words in the text; by default one in a text of fewer than 50 words in a
            language other than English.
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

    def __call__(self, document: Document) -> Document | Verdict | Unjudged:
        for verdict in filter(None, self.verdicts(document.text)):
            outcome = self._in_its_language(verdict, document)
            if outcome is not document:
                return outcome
        return document

    def _in_its_language(self, verdict: Verdict, document: Document) -> Document | Verdict | Unjudged:
        """Return the document if it keeps the rule for its language, else why not."""
        rule, options = verdict.rule, self.options
        if rule not in ("min_words", "min_stop_words") or (
            rule == "min_stop_words" and options.stop_words is not None
        ):
            return verdict
        languages = likely_languages(document)
        if not languages or "en" in languages:
            return verdict
        words = words_of(document.text)
        is_given = rule in options.model_fields_set
        if rule == "min_words":
            if is_given or letters_per_word(words) > 1:
                return verdict
            least = (options.min_words or 0) / 2
            return (
                document
                if len(words) >= least
                else dataclasses.replace(verdict, limit=f"at least {least:g} in {languages[0]}")
            )
        # It is the last rule, so the document keeps all others.
        known = [stop_words()[each] for each in languages if each in stop_words()]
        if not known:
            return verdict if _NO_LANGUAGE in languages else Unjudged(document, rule)
        found = max(_num_of(_as_words(each), words) for each in known)
        least = 1 if not is_given and len(words) < _FEW_WORDS else options.min_stop_words or 0
        return (
            document
            if found >= least
            else dataclasses.replace(verdict, value=found, limit=f"at least {least} in {languages[0]}")
        )

    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        pieces, words = text.split(), words_of(text)
        yield self.at_least("min_words", len(words))
        yield self.at_most("max_words", len(words))
        num_pieces, num_words = max(1, len(pieces)), max(1, len(pieces), len(words))
        num_characters = len("".join(pieces))
        if text.isascii() or sum(map(len, _PAST_ALPHABETS.findall(text))) <= num_characters / 2:
            mean_length = num_characters / num_pieces
            yield self.at_least("min_mean_word_length", mean_length)
            yield self.at_most("max_mean_word_length", mean_length)
        yield self.at_most("max_hashes_per_word", text.count("#") / num_words)
        yield self.at_most("max_ellipses_per_word", sum(map(text.count, _ELLIPSES)) / num_words)
        lines = lines_of(text)
        num_lines = max(1, len(lines))
        yield self.at_most("max_bullet_lines", sum(line.startswith(_BULLETS) for line in lines) / num_lines)
        yield self.at_most("max_ellipsis_lines", sum(line.endswith(_ELLIPSES) for line in lines) / num_lines)
        yield self.at_least("min_words_with_letter", _num_with_letter(text, pieces) / num_pieces)
        yield self.at_least("min_stop_words", _num_of(self._stop_words, words))


def _num_with_letter(text: str, pieces: list[str]) -> int:
    if text.isascii():
        return len(text.translate(_WITHOUT_LETTERS).split())
    return sum(1 for piece in pieces if piece.isalpha() or _LETTER.search(piece))


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
