"""Which language a text is in, and whether it is one to keep.

py3langid: naive Bayes over byte n-grams, 140 languages by ISO 639-1 or -3 code and `zxx` for what is no
language; its model (5 MB) lies in its wheel, so nothing is downloaded. Document metadata gets `language` and
`language_probability`. The model is loaded once in a process (about 1 s).

FineWeb keeps English from a probability of 0.65 on (fastText's; Penedo et al. 2024, arXiv 2406.17557,
section 3.3), which is the default here too.

Source: Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import pydantic

from plugins.filters.base import Filter, Verdict
from schemas.config import Section
from schemas.errors import ConfigError, unknown_name
from schemas.records import Document


class LanguageOptions(Section):
    """Which languages to keep.

    Attributes:
        keep: ISO 639 codes: [en, de].
        min_probability: How sure the identifier must be, 0 to 1.
        max_characters: A text is identified by this many characters from its beginning.
    """

    keep: tuple[str, ...] = pydantic.Field(default=("en",), min_length=1)
    min_probability: float = pydantic.Field(default=0.65, ge=0, le=1)
    max_characters: int = pydantic.Field(default=10_000, ge=1)


class LanguageFilter(Filter[LanguageOptions]):
    """Refuse texts in other languages, and those of which it is not sure.

    Raises:
        ConfigError: A code of `keep` is none that the identifier knows.
    """

    name = "language"
    Options = LanguageOptions

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        known = set(_identifier().labels)
        for code in self.options.keep:
            if code not in known:
                raise ConfigError(f"filters.language.keep: {unknown_name('language', code, known)}")

    def __call__(self, document: Document) -> Document | Verdict:
        options = self.options
        language, probability = _identifier().classify(document.text[: options.max_characters])
        if language not in options.keep:
            value, limit = f"{language} ({probability:.2f})", f"one of {', '.join(options.keep)}"
            return Verdict(rule="keep", value=value, limit=limit)
        if probability < options.min_probability:
            return Verdict(
                rule="min_probability", value=float(probability), limit=f"at least {options.min_probability}"
            )
        found = {"language": language, "language_probability": f"{probability:.2f}"}
        return dataclasses.replace(document, metadata={**document.metadata, **found})


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
