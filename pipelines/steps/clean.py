"""Text made regular, and documents too short or too long refused.

    repair Unicode ─► regular text ─► (drop boilerplate lines) ─► (mask personal data) ─► lengths

Wrong decodings are undone, Unicode is composed (NFC), line ends and page breaks become `\\n`, control
characters go, and more than one blank line becomes one. Nothing that a reader would miss is changed. What
stands in brackets is off unless the configuration asks for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.steps.base import StepFn, guarded
from pipelines.steps.personal_data import mask_personal_data
from pipelines.steps.unicode_repair import repair_unicode
from plugins.filters.boilerplate import asks_for_javascript, is_about_policy, is_placeholder
from plugins.words import has_words, words_of
from schemas.corpus_config import BoilerplateConfig, CleanConfig
from schemas.records import Document, InstructionPair, well_formed

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_BLANK_LINES = re.compile(r"\n{3,}")
_MOST_REPAIRS = 8
_BOILERPLATE = {"javascript": asks_for_javascript, "policy": is_about_policy, "lorem_ipsum": is_placeholder}


def clean_text(text: str, *, repair: bool = True) -> str:
    """Make a text regular; cleaning twice changes nothing more.

    Args:
        text: Any text.
        repair: Whether wrong decodings are undone first: C1 controls, which go later, are part of them.
    """
    if not repair:
        return _regular(text)
    # What goes with the control characters may show another wrong decoding, as may a repair.
    for _ in range(_MOST_REPAIRS):
        before = text
        text = _regular(repair_unicode(text))
        if text == before or text.isascii():
            break
    return text


def _regular(text: str) -> str:
    text = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    # What splitlines splits at beyond line ends and page breaks are controls, and gone.
    text = "\n".join(line.rstrip(" \t") for line in text.splitlines())
    return _BLANK_LINES.sub("\n\n", text).strip()


def drop_boilerplate(text: str, config: BoilerplateConfig) -> tuple[str, dict[str, int]]:
    """Drop lines that say nothing of the text's own.

    Returns:
        The text, and by rule (javascript, policy, lorem_ipsum) how many lines were dropped; rules without
        any are left out.
    """
    dropped: dict[str, int] = {}
    for rule, is_boilerplate in _BOILERPLATE.items():
        if getattr(config, rule) and is_boilerplate(text.lower()):
            lines = text.split("\n")
            kept = [line for line in lines if not is_boilerplate(line.lower())]
            dropped[rule] = len(lines) - len(kept)
            text = _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip()
    return text, dropped


class CleanDocuments(StepFn):
    """Clean each document, and the pairs that came with it; reject those outside the configured lengths.

    Counted are also lines dropped by each rule (`dropped_lines_policy`) and personal data masked of each
    kind (`masked_email`).
    """

    def __init__(self, config: CleanConfig, progress_dir: str | None):
        super().__init__("clean", progress_dir)
        self.config = config

    @guarded
    def process(self, document: Document) -> Iterator[Any]:
        text = clean_text(document.text, repair=self.config.repair_unicode)
        text, dropped = drop_boilerplate(text, self.config.boilerplate)
        text, masked = mask_personal_data(text, self.config.mask_personal_data)
        for rule, count in dropped.items():
            self.counters.add(f"dropped_lines_{rule}", count)
        for kind, count in masked.items():
            self.counters.add(f"masked_{kind}", count)
        where = {"document_id": document.document_id, "source": document.source}
        if not has_words(text, self.config.min_words):
            found = f"{len(words_of(text))} words, at least {self.config.min_words}"
            yield self.reject("too_short", detail=found, **where)
        elif len(text) > self.config.max_characters:
            yield self.reject(
                "too_long", detail=f"{len(text)} characters, at most {self.config.max_characters}", **where
            )
        else:
            self.counters.add("documents")
            yield document.changed(text, self._clean_pairs(document.pairs))

    def _clean_pairs(self, pairs: tuple[InstructionPair, ...]) -> tuple[InstructionPair, ...]:
        cleaned = [clean_pair(pair, self.config) for pair in pairs]
        for _, masked in cleaned:
            for kind, count in masked.items():
                self.counters.add(f"masked_{kind}", count)
        return tuple(pair for pair, _ in cleaned)


def clean_pair(pair: InstructionPair, config: CleanConfig) -> tuple[InstructionPair, dict[str, int]]:
    """Clean all that a pair says, as the text of a document.

    Returns:
        The pair, and by kind how many personal data were masked.
    """
    found: Counter[str] = Counter()

    def cleaned(text: str) -> str:
        text = clean_text(well_formed(text), repair=config.repair_unicode)
        text, masked = mask_personal_data(text, config.mask_personal_data)
        found.update(masked)
        return text

    pair = InstructionPair(
        instruction=cleaned(pair.instruction),
        response=cleaned(pair.response),
        options=tuple(map(cleaned, pair.options)),
        rationale=cleaned(pair.rationale),
    )
    return pair, dict(found)
