"""Words of a text, for counting and comparing: NFKC, case folded, without punctuation.

A word is a run of letters, digits and marks, so "don't" is two. In scripts without spaces (Chinese, Japanese,
Thai, Lao, Khmer, Burmese) each character, with its marks, is a word.

The near index of a corpus holds hashes of words, so this is part of the SCHEME of
`pipelines/steps/dedup/minhash.py`. Exceptions use the pieces between white space: filters/gopher_quality.py,
filters/gopher_repetition.py, and the mining rules, which are for English.
"""

from __future__ import annotations

import functools
import re
import unicodedata

SPACELESS = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Japanese, Chinese
)
_WORD = re.compile(r"[^\W_]+")
_ASCII_PUNCTUATION = {point: " " for point in range(128) if not chr(point).isalnum()}
_MEAN_CHARACTERS = 8
"""More than the mean length of a word, with space and punctuation."""


def words_of(text: str) -> list[str]:
    """Cut a text into words."""
    if text.isascii():
        return text.lower().translate(_ASCII_PUNCTUATION).split()
    text = unicodedata.normalize("NFKC", text).casefold()
    special, word = _special_words()
    return word.findall(text) if special.search(text) else _WORD.findall(text)


def has_words(text: str, number: int) -> bool:
    """True if a text has at least `number` words; its beginning mostly decides."""
    return len(words_of(text[: number * _MEAN_CHARACTERS])) >= number or len(words_of(text)) >= number


@functools.cache
def _special_words() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a pattern of characters that need the second one, and a pattern of words in all scripts.

    Only characters up to U+FFFF: others make the patterns ten times slower.
    """
    characters = map(chr, range(0x300, 0x10000))
    marks = "".join(each for each in characters if unicodedata.category(each).startswith("M"))
    return (
        re.compile(f"[{SPACELESS}{marks}]"),
        re.compile(rf"[^\W_{SPACELESS}]+(?:[{marks}]+[^\W_{SPACELESS}]*)*|(?=[^\W_])[{SPACELESS}][{marks}]*"),
    )
