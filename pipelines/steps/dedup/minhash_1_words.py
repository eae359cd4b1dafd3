"""Words of scheme `minhash-1` of near-duplicate keys, for corpora whose keys have that scheme.

They differ from plugins/words.py: numbers are cut at their separators, katakana and digits of scripts without
spaces are single characters, and characters of format end a word.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from plugins.words import marks

_SPACELESS = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Japanese, Chinese
)
_ASCII_PUNCTUATION = {point: " " for point in range(128) if not chr(point).isalnum()}


def minhash_1_words(text: str) -> list[str]:
    """Cut a text into words of scheme `minhash-1`."""
    if text.isascii():
        return text.lower().translate(_ASCII_PUNCTUATION).split()
    return _word().findall(unicodedata.normalize("NFKC", text).casefold())


@functools.cache
def _word() -> re.Pattern[str]:
    letter = rf"[^\W_{_SPACELESS}]"
    return re.compile(rf"{letter}+(?:[{marks()}]+{letter}*)*|(?=[^\W_])[{_SPACELESS}][{marks()}]*")
