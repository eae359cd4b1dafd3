"""Sentences of English text, found by rules.

A sentence ends at `.`, `!` or `?` before white space and a capital, a digit or an opening quote, unless an
abbreviation precedes the full stop. Some abbreviations never end a sentence ("Dr.", "e.g."), some not before
a number ("Fig. 2"), and some, such as initials, only before a word that often starts a sentence ("in the U.S.
The", "vitamin C. It", but "J. Smith").
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from itertools import pairwise

_OPENING_MARKS, _CLOSING_MARKS = "\"'“‘([", "\"'”’)]"
_END = re.compile(rf"[.!?]+[{re.escape(_CLOSING_MARKS)}]*(?=\s)")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•#]|\d+[.)])\s)")
_LIST_NUMBER = re.compile(r"\d+|[A-Za-z]|[ivx]+")
_NEVER_END = re.compile(r"(?i:mr|mrs|ms|dr|prof|st|e\.g|i\.e|vs|cf|viz|approx|ca|resp|esp)")
_BEFORE_NUMBER = re.compile(r"(?i:nos?|figs?|eqs?|vol|ch|sec|art|pp?|para)")
_MAY_END = re.compile(r"(?i:etc|al|inc|ltd|co|corp|jr|sr|dept)|(?:[A-Za-z]\.)+[A-Za-z]|[A-Z]")
_STARTER = re.compile(
    r"(?:the|an?|this|these|that|those|it|they|he|she|we|you|in|on|at|for|from|with|when|while|if|as|"
    r"after|before|because|although|however|therefore|thus|but|and|so|some|many|most|all|each|no|both|"
    r"there|such|our|their|its|his|her|one|what|how|why|by)\b",
    re.IGNORECASE,
)

WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
POINTS_BACK = re.compile(
    r"(?:(?:if|when|while|once|after|before|since|as|although|because|in|on|at|for|from|to|by|with|of) )?"
    r"(?:it|its|this|these|that|those|they|them|their|he|his|she|her|such|here|there|both|one|another|"
    r"neither|either|others|the (?:former|latter|same|opposite|other|second|third)|and|but|or|so|yet|"
    r"then|also|for example|for instance|moreover|furthermore|in addition|in fact|indeed|finally|suppose|"
    r"therefore|thus|hence|accordingly|consequently|as a (?:result|consequence)|for this reason|however|"
    r"nevertheless|nonetheless|similarly|likewise|in the same way|conversely|on the (?:other|contrary)|"
    r"(?:in|by) contrast|in other words|put (?:simply|differently)|even so|still|instead|equally|similar)\b",
    re.IGNORECASE,
)
"""Openings of sentences that depend on the sentence before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with the index of its paragraph and its own index in the passage."""

    text: str
    paragraph: int
    index: int

    @property
    def num_words(self) -> int:
        """Words, split at whitespace."""
        return len(self.text.split())

    @property
    def is_whole(self) -> bool:
        """True for a full sentence of 4 to 60 words; false for a heading or a list item."""
        first = self.text.lstrip(_OPENING_MARKS)[:1]
        ends = self.text.rstrip(_CLOSING_MARKS)[-1:] in (".", "!", "?")
        return (first.isupper() or first.isdigit()) and ends and 4 <= self.num_words <= 60

    @property
    def stands_alone(self) -> bool:
        """True for a whole statement that does not depend on the sentence before."""
        return self.is_whole and not self.text.endswith("?") and not POINTS_BACK.match(self.text)


@dataclasses.dataclass(frozen=True, slots=True)
class Passage:
    """A text as its title and its sentences."""

    title: str
    sentences: tuple[Sentence, ...]

    @classmethod
    def of(cls, text: str, title: str = "") -> Passage:
        """Split a text."""
        numbered = [(n, s) for n, block in enumerate(_BLOCK.split(text)) for s in split_sentences(block)]
        return cls(" ".join(title.split()), tuple(Sentence(s, n, i) for i, (n, s) in enumerate(numbered)))

    def neighbours(self) -> Iterator[tuple[Sentence, Sentence]]:
        """Pairs of successive whole sentences in one paragraph."""
        for left, right in pairwise(self.sentences):
            if left.paragraph == right.paragraph and left.is_whole and right.is_whole:
                yield left, right


def split_sentences(text: str) -> tuple[str, ...]:
    """Split a paragraph into sentences; runs of white space become one space."""
    text = " ".join(text.split())
    cuts = [0, *(end.end() for end in _END.finditer(text) if _ends_sentence(text, end)), len(text)]
    return tuple(piece for left, right in pairwise(cuts) if (piece := text[left:right].strip()))


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    after = text[end.end() : end.end() + 40].lstrip().lstrip(_OPENING_MARKS)
    if not (after[:1].isupper() or after[:1].isdigit()):
        return False
    if end.group().rstrip(_CLOSING_MARKS) != ".":
        return True
    word_start = text.rfind(" ", 0, end.start()) + 1
    word = text[word_start : end.start()].lstrip(_OPENING_MARKS)
    if _NEVER_END.fullmatch(word) or (word_start == 0 and _LIST_NUMBER.fullmatch(word)):
        return False
    if _BEFORE_NUMBER.fullmatch(word):
        return not after[:1].isdigit()
    return not _MAY_END.fullmatch(word) or _STARTER.match(after) is not None


@functools.lru_cache(maxsize=4096)
def word_stems(text: str) -> frozenset[str]:
    """First five letters of each word of four letters or more; a common stem suggests a common subject."""
    return frozenset(word[:5].lower() for word in WORD.findall(text) if len(word) > 3)
