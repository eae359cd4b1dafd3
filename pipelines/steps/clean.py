"""Normalisation of text, and rejection of documents that are too short or too long.

    repair Unicode ─► regular text ─► (drop boilerplate lines) ─► (mask personal data) ─► lengths

The step undoes wrong decodings, composes Unicode (NFC), turns line ends and page breaks into `\\n`, removes
control characters (between digits a space stands for them), and reduces several blank lines to one. A reader
misses nothing. The steps in brackets
are off unless the configuration asks for them.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from pipelines.runners.counters import Counters
from pipelines.steps.base import StepFn, guarded
from pipelines.steps.personal_data import mask_personal_data
from pipelines.steps.unicode_repair import repair_unicode
from plugins.filters.boilerplate import asks_for_javascript, is_about_policy, is_placeholder
from plugins.words import has_words, words_of
from schemas.corpus_config import BoilerplateConfig, CleanConfig
from schemas.records import Document, InstructionPair, well_formed

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_IN_NUMBER = re.compile(r"(?<=\d)[\x00-\x08\x0e-\x1f\x7f]+(?=\d)")
_BLANK_LINES = re.compile(r"\n{3,}")
_MOST_REPAIRS = 8
_BOILERPLATE = {"javascript": asks_for_javascript, "policy": is_about_policy, "lorem_ipsum": is_placeholder}


def clean_text(text: str, *, repair: bool = True) -> str:
    """Normalise a text; a second call changes nothing.

    With `repair` it undoes wrong decodings first, since they contain C1 controls, which are removed later.
    """
    if not repair:
        return _regular(text)
    # Without its control characters, or repaired once, a text may show another wrong decoding.
    for _ in range(_MOST_REPAIRS):
        before = text
        text = _regular(repair_unicode(text))
        if text == before or text.isascii():
            break
    return text


def _regular(text: str) -> str:
    if _CONTROL.search(text):
        text = _CONTROL.sub("", _IN_NUMBER.sub(" ", text))
    text = unicodedata.normalize("NFC", text)
    # The other separators of splitlines are control characters, which are gone.
    text = "\n".join(line.rstrip(" \t") for line in text.splitlines())
    return _BLANK_LINES.sub("\n\n", text).strip()


def drop_boilerplate(text: str, config: BoilerplateConfig) -> tuple[str, dict[str, int]]:
    """Drop lines of boilerplate.

    Returns:
        The text, and the number of dropped lines by rule (javascript, policy, lorem_ipsum), without zeros.
    """
    dropped: dict[str, int] = {}
    for rule, is_boilerplate in _BOILERPLATE.items():
        if getattr(config, rule) and is_boilerplate(text.lower()):
            lines = text.split("\n")
            kept = [line for line in lines if not is_boilerplate(line.lower())]
            dropped[rule] = len(lines) - len(kept)
            text = _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip()
    return text, dropped


@dataclasses.dataclass(eq=False)
class CleanDocuments(StepFn):
    """Clean each document, and the pairs that came with it; reject those outside the configured lengths.

    The step also counts dropped lines by rule (`dropped_lines_policy`) and masked personal data by kind
    (`masked_email`).
    """

    step = "clean"
    config: CleanConfig

    @guarded
    def process(self, document: Document) -> Iterator[Any]:
        text = clean_text(document.text, repair=self.config.repair_unicode)
        text, dropped = drop_boilerplate(text, self.config.boilerplate)
        text, masked = mask_personal_data(text, self.config.mask_personal_data)
        for rule, count in dropped.items():
            self.counters.add(f"dropped_lines_{rule}", count)
        for kind, count in masked.items():
            self.counters.add(f"masked_{kind}", count)
        if not has_words(text, self.config.min_words):
            found = f"{len(words_of(text))} words, at least {self.config.min_words}"
            yield self.reject("too_short", document, found)
        elif len(text) > self.config.max_characters:
            found = f"{len(text)} characters, at most {self.config.max_characters}"
            yield self.reject("too_long", document, found)
        else:
            self.counters.add("documents")
            yield document.changed(text, clean_pairs(document.pairs, self.config, self.counters))


def clean_pairs(
    pairs: Iterable[InstructionPair], config: CleanConfig, counters: Counters
) -> tuple[InstructionPair, ...]:
    """Clean all texts of pairs as the text of a document; count masked personal data by kind."""

    def cleaned(text: str) -> str:
        text = clean_text(well_formed(text), repair=config.repair_unicode)
        text, masked = mask_personal_data(text, config.mask_personal_data)
        for kind, count in masked.items():
            counters.add(f"masked_{kind}", count)
        return text

    return tuple(
        InstructionPair(
            instruction=cleaned(pair.instruction),
            response=cleaned(pair.response),
            options=tuple(map(cleaned, pair.options)),
            rationale=cleaned(pair.rationale),
        )
        for pair in pairs
    )
