"""Frequent words of general English, from the lists of wordfreq.

`common_words` are the 29,000 words that general English (subtitles, news, books, web, encyclopaedia) has at
least once in a million words. A word outside is rare: a term of a field, or a name. Loading takes 0.4 s of
CPU, most of it for imports of wordfreq, and 10 MB.

Source: Speer 2022, wordfreq 3.0 (code Apache-2.0, lists CC BY-SA 4.0), https://doi.org/10.5281/zenodo.7199437.
"""

from __future__ import annotations

import functools
from collections.abc import Set


@functools.cache
def common_words() -> Set[str]:
    """Words in lower case with a frequency of one in a million or more."""
    from wordfreq import get_frequency_dict

    return get_frequency_dict("en", wordlist="small").keys()


@functools.lru_cache(maxsize=1 << 16)
def is_rare(word: str) -> bool:
    """True for a word that general English has less than once in a million words, in any common form.

    A compound with a hyphen is rare if one of its parts of five letters or more is rare.
    """
    if "-" in word:
        return any(len(part) >= 5 and is_rare(part) for part in word.split("-"))
    word, common = word.lower(), common_words()
    return not any(stem in common for stem in (word, *_stems(word)))


def _stems(word: str) -> list[str]:
    """The word without each ending that it may have: plural, past, -ing, -ly, -er, -ness, a prefix."""
    found = []
    for ending in ("s", "es", "d", "ed", "ing", "ly", "er", "ers", "ness", "ally", "less", "like"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            found += [stem, f"{stem}e"] + ([stem[:-1]] if stem[-1] == stem[-2] else [])
            if stem.endswith("i"):
                found.append(f"{stem[:-1]}y")
    for prefix in ("un", "re", "non", "pre", "over", "sub", "mis", "in", "super"):
        if word.startswith(prefix) and len(word) - len(prefix) >= 4:
            found.append(word.removeprefix(prefix))
    return found
