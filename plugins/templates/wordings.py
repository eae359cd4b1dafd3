"""Wordings of each language as a template family draws them, and the language of each document's wordings.

A voice wraps any form, so that the pairs of one text look alike with and without options or reasoning. In
texts with options, nothing that announces an answer may look like an option's marker, as "A: " does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from plugins.document_language import language_of
from plugins.templates.options import NAMINGS, OptionRules, pick
from plugins.templates.patterns import Pattern, Slot
from plugins.templates.wording_files import WordingFile, built_in, built_in_languages, read_wordings
from schemas.errors import ConfigError
from schemas.records import Document

DEFAULT_LANGUAGE = "en"
PLAIN_SHARE = 0.75
"""Share of the texts whose plain questions stand without any words of ours."""


class Form(NamedTuple):
    """Wording of the two sides of a pair of one kind."""

    ask: Pattern
    reply: Pattern


PLAIN = Form(
    Pattern("{question}", slots={Slot.QUESTION}), Pattern("{answer}", slots={Slot.ANSWER}, last={Slot.ANSWER})
)


class Wordings:
    """Wordings of one language, as texts draw them.

    Args:
        file: All wordings.
        shows_text: Whether the model sees the text when it reads the pairs; otherwise wordings that name the
            text are left out.

    Raises:
        ConfigError: A key is left without a wording.
    """

    def __init__(self, file: WordingFile, *, shows_text: bool = True):
        self.file = file
        self._barred = () if shows_text else file.text_words
        labelled = self._kept("pairs", file.pairs)
        self.voices = labelled + self._kept("bare_pairs", file.bare_pairs)
        self.option_voices = _apart_from_options("pairs", labelled, lambda voice: voice.literals)
        self.speakers = file.speakers
        self.option_speakers = _apart_from_options("speakers", file.speakers, lambda names: names)
        self.questions = self._kept("questions", file.questions)
        self.unfinished = self._kept("unfinished_questions", file.unfinished_questions)
        self.option_rules = OptionRules(file.option_words)
        kinds = {(True, False): "options", (False, True): "reasoning", (True, True): "options_and_reasoning"}
        self._groups = {
            kind: tuple(
                (self._kept(f"{key}.ask", group.ask), self._kept(f"{key}.reply", group.reply))
                for group in getattr(file, key)
            )
            for kind, key in kinds.items()
        }

    def draw_forms(self, rng: random.Random) -> dict[tuple[bool, bool], Form]:
        """Draw a form for pairs of each kind: (has options, has a rationale)."""
        plain = PLAIN if rng.random() < PLAIN_SHARE else Form(pick(rng, self.questions), PLAIN.reply)
        forms = {(False, False): plain}
        for kind, groups in self._groups.items():
            asks, replies = pick(rng, groups)
            forms[kind] = Form(pick(rng, asks), pick(rng, replies))
        return forms

    def _kept(self, key: str, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
        kept = tuple(each for each in patterns if not self._names_the_text(each))
        if not kept:
            raise ConfigError(
                f"{key} in {self.file.language!r}: each wording names the text (text_words), which the model "
                "does not see when pairs stand apart. Add one that does not."
            )
        return kept

    def _names_the_text(self, pattern: Pattern) -> bool:
        words = "".join(pattern.literals).casefold()
        return any(barred in words for barred in self._barred)


def _apart_from_options(key: str, items: Sequence[Any], words: Any) -> tuple[Any, ...]:
    kept = tuple(each for each in items if not any(map(looks_like_marker, words(each))))
    if not kept:
        raise ConfigError(
            f"{key}: each wording marks an answer as options are marked, such as 'A.'. Add one that does not."
        )
    return kept


_MARKER_NAMES = frozenset(
    {naming.marker(at).strip("().[]").casefold() for naming in NAMINGS for at in range(26)} | {"-", "*"}
)


def looks_like_marker(literal: str) -> bool:
    """True if a line of a wording could be the marker of an option."""
    lines = (re.sub(r"\W", "", line).casefold() or line.strip() for line in literal.split("\n"))
    return any(line in _MARKER_NAMES for line in lines)


class WordingChoice:
    """The wordings of all languages, read when a document needs them.

    Args:
        paths: Files of a user; each stands for the built-in file of its language, or adds to it.
        shows_text: See `Wordings`.

    Raises:
        ConfigError: A file is wrong, or two of them are for one language.
    """

    def __init__(self, paths: Iterable[str], *, shows_text: bool):
        self._shows_text = shows_text
        self._of_files: dict[str, str] = {}
        self._loaded: dict[str, Wordings] = {}
        for path in paths:
            file = read_wordings(path)
            if file.language in self._of_files:
                raise ConfigError(
                    f"template_files: {self._of_files[file.language]} and {path} are both in "
                    f"{file.language!r}. Put their wordings into one file."
                )
            self._of_files[file.language] = path
            try:
                self._loaded[file.language] = Wordings(file, shows_text=shows_text)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error
        self._languages = {*built_in_languages(), *self._loaded}

    def __getitem__(self, language: str) -> Wordings:
        if language not in self._loaded:
            self._loaded[language] = Wordings(built_in(language), shows_text=self._shows_text)
        return self._loaded[language]

    def label_of(self, document: Document) -> str:
        """Return the language of a document's wordings: `de`, or `en_for_it` where Italian has no file."""
        language = language_of(document)
        return language if language in self._languages else f"{DEFAULT_LANGUAGE}_for_{language}"


def language_of_label(label: str) -> str:
    """Return the language of wordings by their label."""
    return label.partition("_for_")[0]
