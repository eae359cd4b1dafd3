"""English words and patterns by their role, from english.yaml, and stems of words in any language."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml

_DATA: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("english.yaml").read_text(encoding="utf-8"))
_ENDINGS = tuple(
    (ending, least)
    for least, endings in (
        (4, "ation ment ness ity ingly ion ive ally ably able ible ence ance age ate"),
        (3, "ing iest ier ied ed er or est ly al ful"),
    )
    for ending in endings.split()
)
_MAX_STEM = 6
"""Longer words are equal if they begin alike, as in decision and decisive, Fieber and Fiebers."""

FUNCTION_WORDS = frozenset(_DATA["function_words"].split())
LEAST_FUNCTION_WORDS = 0.22
"""Least share of function words among the words of an English text."""

NEGATORS = frozenset(_DATA["negators"].split())
NEGATIVE = NEGATORS | frozenset(_DATA["negative"].split())
TURNING = NEGATIVE | frozenset(_DATA["turning"].split())
ORDINALS = {word: float(value) for value, word in enumerate(_DATA["ordinals"].split(), start=1)}
NUMBERS = {word: float(value) for word, value in (each.split("/") for each in _DATA["numbers"].split())}
FRACTION_WORDS = frozenset(_DATA["fraction_words"].split())
MAGNITUDES = {word: float(value) for word, value in (each.split("/") for each in _DATA["magnitudes"].split())}
UNITS = {word: (kind, float(size)) for kind, size, words in _DATA["units"] for word in words.split()}
PATTERNS = {
    name: re.compile(re.sub(r"[ \n]", "", pattern), re.IGNORECASE)
    for name, pattern in _DATA["patterns"].items()
}
_IRREGULAR = {
    word: forms.split("/")[0] for forms in _DATA["irregular"].split() for word in forms.split("/")[1:]
}


def stem(word: str) -> str:
    """Cut a word in lower case to what its inflections and many derivations share, six characters at most."""
    return root(word)[:_MAX_STEM]


@functools.lru_cache(maxsize=1 << 16)
def root(word: str) -> str:
    """Take the endings of a word in lower case off."""
    word = _IRREGULAR.get(word, word)
    if word.endswith("s") and len(word) > 3 and word[-2] not in "su":
        word = word[:-3] + "y" if word.endswith("ies") else word[:-1]
    word = _IRREGULAR.get(word, word)
    for ending, least in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= least:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] in "eiy":
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word


TASK_WORDS = frozenset(map(root, _DATA["task_words"].split()))
OPPOSITES: dict[str, set[str]] = {}
for _one, _other in (map(stem, each.split("/")) for each in _DATA["opposites"].split()):
    OPPOSITES.setdefault(_one, set()).add(_other)
    OPPOSITES.setdefault(_other, set()).add(_one)
