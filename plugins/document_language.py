"""Language of a document, for the wordings around it and for filters of one language.

found by the language filter? ─► its language
many English function words?  ─► en, without a model: an English corpus never loads one
otherwise                     ─► py3langid on the beginning of the text, "" if it is uncertain
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from schemas.errors import ConfigError, unknown_name
from schemas.records import Document

UNKNOWN = "unknown"
LEAST_PROBABILITY = 0.9
LEAST_LETTERS = 25
"""Letters of which a language can be told; an ideograph counts as three."""

_CODE = re.compile("[a-z]{2,3}")  # a source may have such fields of its own
_SAMPLE = 500
_LIKELY = 0.1
_TOP = 5
_WRITTEN_AS = {"wuu": "zh", "yue": "zh"}
"""Wu and Cantonese, which share most of written Chinese, take part of its probability."""
_ENGLISH = (" the ", " and ", " that ", " with ", " which ")
_WORDS_PER_ENGLISH = 25


def language_of(document: Document) -> str:
    """Return the ISO 639 code of a document's language, or `UNKNOWN`."""
    if "language_probability" in document.metadata:  # found by the language filter
        known = document.metadata.get("language", "")
        return known if _CODE.fullmatch(known) else UNKNOWN
    sample = document.text[:_SAMPLE]
    found = sum(map(sample.count, _ENGLISH))
    if found > 1 and found * _WORDS_PER_ENGLISH >= sample.count(" "):
        return "en"
    letters = sum(3 if each > "\u2e80" else 1 for each in sample if each.isalpha())
    if letters < LEAST_LETTERS:
        return UNKNOWN
    ((language, probability),) = _probabilities(sample).most_common(1)
    return language if probability >= LEAST_PROBABILITY else UNKNOWN


def likely_languages(document: Document) -> tuple[str, ...]:
    """Return the language of a document; several if it is uncertain, such as Malay and Indonesian."""
    if (language := language_of(document)) != UNKNOWN:
        return (language,)
    found = _probabilities(document.text[:_SAMPLE])
    return tuple(each for each, probability in found.items() if probability >= _LIKELY)


def _probabilities(sample: str) -> Counter[str]:
    probabilities: Counter[str] = Counter()
    for language, probability in identifier().rank(sample)[:_TOP]:
        probabilities[_WRITTEN_AS.get(language, language)] += probability
    return probabilities


@functools.cache
def identifier() -> Any:
    """Return the identifier of languages; each process loads it once (about 1 s, 5 MB)."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def check_languages(codes: Iterable[str], key: str) -> None:
    """Raise a ConfigError that names the key if the identifier does not know one of the codes."""
    for code in codes:
        if code not in (known := set(identifier().labels)):
            raise ConfigError(f"{key}: {unknown_name('language', code, known)}")
