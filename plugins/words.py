"""Words of a text, for counting and comparing: NFKC, case folded, without punctuation.

Words are the segments of UAX 29 (Unicode text segmentation) with a letter or a digit: a number with its
separators is one ("1,234.5"), so is a run of katakana, and marks stay with their letter. Our rules differ:

- Apostrophes and full stops between letters, and underscores, end a word. So "John's", "l'homme" and
  "example.com" hold the words John, homme and example, however the apostrophe is written.
- Characters of format, such as soft hyphens and the zero-width non-joiners of Persian, are removed.
- In scripts without spaces (Chinese, hiragana, Thai, Lao, Khmer, Burmese, Tai) each letter with its marks is
  a word; only dictionaries know more. Ideographs above U+FFFF count as letters of other scripts.

The libraries `regex` and `uniseg` take 18 and 1,800 times as long for English as the 9 ns a character here.

The near index of a corpus holds hashes of words: a change here needs a new SCHEME in
`pipelines/steps/dedup/minhash.py`. Exceptions use the pieces between white space: filters/gopher_quality.py,
filters/gopher_repetition.py, and the mining rules, which are for English.

Source: Unicode Standard Annex 29, section 4.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata

SPACELESS = (
    r"\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Thai, Lao
    r"\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"
    r"\ua9e0-\ua9e4\ua9e6-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a\uaa7e\uaa7f"  # Burmese, both lines
    r"\u1780-\u17b3\u17d7\u17dc"  # Khmer
    r"\u1950-\u1974\u1980-\u19ab\u19b0-\u19c9\u1a20-\u1a54\uaa80-\uaaaf"  # Tai
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese, hiragana
)
"""Letters of the scripts without spaces between words, katakana excepted, for a class of a pattern."""

SENTENCE_ENDS = "。！？؟۔।॥։።፧။។៕།"
"""Marks that end a sentence in scripts other than Latin, with or without a space behind them."""

KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_SEPARATORS = ".,\u066b\u066c"  # the last two are Arabic
_COMMON_PUNCTUATION = "\u00a0\u2010-\u2015\u2018-\u201e\u2022\u2026\u2500-\u257f"  # dashes, quotes, frames
_PUNCTUATION = re.compile(f"[{_COMMON_PUNCTUATION}]+")
_PAST_ASCII = re.compile(rf"[^\x00-\x7f{_COMMON_PUNCTUATION}]")
_FORMAT = re.compile("[\u00ad\u061c\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_WORD = re.compile(r"[^\W_]+")
_IN_NUMBER = re.compile(rf"[{_SEPARATORS}](?<=\d.)\d")
_WORD_OR_NUMBER = re.compile(rf"[^\W_]+(?:{_IN_NUMBER.pattern}[^\W_]*)*")
_POINT, _COMMA = re.compile(r"\.(?=[0-9])(?<=[0-9].)"), re.compile(r",(?=[0-9])(?<=[0-9].)")
# In text in lower case, P and C stand for a point and a comma inside a number.
_ASCII_PUNCTUATION = {
    **{point: " " for point in range(128) if not chr(point).isalnum()},
    **{ord("P"): ".", ord("C"): ","},
}
_SPACELESS_LETTER = re.compile(f"[{SPACELESS}]")
_THAI_TO_TAI = re.compile("[\u0e01-\u1aff\ua9e0-\uaadf]")  # among the letters without spaces
_MEAN_CHARACTERS = 8
"""More than the mean length of a word, with space and punctuation."""


def words_of(text: str) -> list[str]:
    """Cut a text into words."""
    if text.isascii():
        return _words_in_ascii(text)
    words: list[str] = []
    # Most lines of most texts are ASCII, where words are found in a sixth of the time.
    for is_ascii, lines in itertools.groupby(text.split("\n"), str.isascii):
        part = "\n".join(lines)
        words += _words_in_ascii(part) if is_ascii else _words_past_ascii(part)
    return words


def _words_in_ascii(text: str) -> list[str]:
    text = _COMMA.sub("C", _POINT.sub("P", text.lower()))
    return text.translate(_ASCII_PUNCTUATION).split()


def _words_past_ascii(text: str) -> list[str]:
    if not _PAST_ASCII.search(text):
        return _words_in_ascii(_PUNCTUATION.sub(" ", text))
    text = unicodedata.normalize("NFKC", text).casefold()
    if needs_care(text):
        return _careful_word().findall(_FORMAT.sub("", text))
    return (_WORD_OR_NUMBER if _IN_NUMBER.search(text) else _WORD).findall(text)


def has_words(text: str, number: int) -> bool:
    """True if a text has at least `number` words; its beginning mostly decides."""
    return len(words_of(text[: number * _MEAN_CHARACTERS])) >= number or len(words_of(text)) >= number


def letters_per_word(words: list[str]) -> int:
    """Return how many of these words make one of the usual length: more than 1 where most are single letters.

    2 in Chinese and Japanese, 4 in Thai, Lao, Khmer, Burmese and Tai.
    """
    first = "".join(word[0] for word in words)
    if first.isascii():
        return 1
    letters = len(_SPACELESS_LETTER.findall(first))
    return 1 if 2 * letters <= len(first) else 4 if 2 * len(_THAI_TO_TAI.findall(first)) > letters else 2


def needs_care(text: str) -> bool:
    """True if a text has marks, characters of format or a script without spaces."""
    return not text.isascii() and _care().search(text) is not None


@functools.cache
def marks() -> str:
    """Return all marks up to U+FFFF, for a class of a pattern; marks above make patterns ten times slower."""
    return "".join(each for each in map(chr, range(0x300, 0x10000)) if unicodedata.category(each)[0] == "M")


@functools.cache
def _careful_word() -> re.Pattern[str]:
    mark, letter = marks(), rf"[^\W_{SPACELESS}{KATAKANA}]"
    return re.compile(
        rf"{letter}+(?:[{mark}]+{letter}*|{_IN_NUMBER.pattern}{letter}*)*"
        rf"|[{SPACELESS}][{mark}]*|[{KATAKANA}][{KATAKANA}{mark}]*"
    )


@functools.cache
def _care() -> re.Pattern[str]:
    return re.compile(f"[{SPACELESS}{KATAKANA}{marks()}{_FORMAT.pattern[1:-1]}]")
