"""Language filter: identify the language of a text, and refuse other languages.

py3langid: naive Bayes over byte n-grams, 140 languages by ISO 639-1 or -3 code, and `zxx` for text in no
language. Its model (5 MB) is part of its wheel, so nothing is downloaded; each process loads it once (about
1 s). Document metadata gets `language` and `language_probability`.

The default of 0.65 is FineWeb's for English (by fastText; Penedo et al. 2024, arXiv 2406.17557, section 3.3).

Source: Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from plugins.document_language import check_languages, identifier
from plugins.filters.base import Filter, Verdict
from schemas.config import Section
from schemas.records import Document


class LanguageOptions(Section):
    """Options of the language filter.

    Attributes:
        keep: ISO 639 codes of the languages to keep: [en, de].
        min_probability: Least probability of the language, 0 to 1.
        max_characters: Characters from the beginning of a text that identify its language.
    """

    keep: tuple[str, ...] = pydantic.Field(default=("en",), min_length=1)
    min_probability: float = pydantic.Field(default=0.65, ge=0, le=1)
    max_characters: int = pydantic.Field(default=10_000, ge=1)


class LanguageFilter(Filter[LanguageOptions]):
    """Refuse texts in other languages, and texts with an uncertain language.

    Raises:
        ConfigError: The identifier does not know a code of `keep`.
    """

    name = "language"
    Options = LanguageOptions

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        check_languages(self.options.keep, "filters.language.keep")

    def __call__(self, document: Document) -> Document | Verdict:
        options = self.options
        language, probability = identify(document.text[: options.max_characters])
        if language not in options.keep:
            value, limit = f"{language} ({probability:.2f})", f"one of {', '.join(options.keep)}"
            return Verdict(rule="keep", value=value, limit=limit)
        if probability < options.min_probability:
            return Verdict(
                rule="min_probability", value=float(probability), limit=f"at least {options.min_probability}"
            )
        found = {"language": language, "language_probability": f"{probability:.2f}"}
        return dataclasses.replace(document, metadata={**document.metadata, **found})


def identify(text: str) -> tuple[str, float]:
    """Return the ISO 639 code of a text's language and its probability, 0 to 1; 60 µs for a sentence."""
    language, probability = identifier().classify(text)
    return str(language), float(probability)
