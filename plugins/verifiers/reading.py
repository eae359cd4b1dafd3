"""A text as the verifiers read it: tokens, sentences, stems, numbers with units, names and negations.

Reading costs about 1.5 µs a character, so the passage of several pairs is read once.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator

from plugins.verifiers.english import (
    FUNCTION_WORDS,
    MAGNITUDES,
    NEGATIVE,
    NEGATORS,
    NUMBERS,
    TASK_WORDS,
    UNITS,
    root,
    stem,
)
from plugins.words import SPACELESS

_TOKEN = re.compile(
    rf"[{SPACELESS}]|\d+(?:[.,:]\d+)*(?:[^\W\d_]+)?|[^\W\d_]+(?:['’][^\W\d_]{{1,2}}\b)?\d*|[%€$£¥°½¼¾]"
)
_SENTENCE_END = re.compile(
    r"(?:(?<![ .][ap]\.m)(?<!\bMr)(?<!\bDr)(?<!\bMrs)[.!?][\"”’')\]]*(?=\s|$)|[。！？]|\n(?=\s*(?:\n|[^a-z\s])))"
)
_CLAUSE_END = re.compile(r"[,;:—.!?]|\b(?:but|although|though|while|whereas|because|and)\b")
_GROUPED = re.compile(r"\d{1,3}(?:[,.]\d{3})+(?:\.\d+)?")
_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "half": 0.5, "halves": 0.5, "halve": 0.5, "halved": 0.5}
_FRACTION_WORDS = frozenset("half halves third thirds quarter quarters fifth fifths tenth tenths".split())
_NEGATIVE_FORM = re.compile(r"(?:un|non|dis)\w{4,}|\w{3,}(?:less|est)")
_CURRENCIES = "€$£¥"
_RANGE = frozenset("to and or v vs against than".split())
_SAME = {"percent": "%", "pct": "%"}
_SCOPE, _SCOPES = 3, {"without": 1, "no": 2}
"""A negation reaches so many stems to its right, within its clause."""


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit: "" if none is known."""

    value: float
    unit: str = ""

    def agrees(self, other: Quantity) -> bool:
        """True if both may mean the same: equal numbers, or equal sizes after conversion of the unit."""
        one, two = UNITS.get(self.unit), UNITS.get(other.unit)
        if bool(one) != bool(two) and "%" in (self.unit, other.unit):
            return False
        if one and two:
            return one[0] == two[0] and _near(self.value * one[1], other.value * two[1])
        return _near(self.value, other.value)


def is_negative(words: frozenset[str]) -> bool:
    """True if a word may turn the meaning of a text, as not, only, unfit, largest and useless may."""
    return not words.isdisjoint(NEGATIVE) or any(map(_NEGATIVE_FORM.fullmatch, words))


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A word, number or sign of a text, with what the verifiers need to know of it."""

    start: int
    end: int
    lower: str
    stem: str  # "" for function words, words of the task, numbers and signs
    is_name: bool
    negated: str  # its stem, for words of the task too, if it is in the scope of a negation


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence: its offsets and stems; those in the scope of a negation too."""

    start: int
    end: int
    stems: frozenset[str]
    negated: frozenset[str]
    words: frozenset[str]
    quantities: tuple[Quantity, ...]

    @property
    def is_negative(self) -> bool:
        """True if a word of the sentence may turn its meaning."""
        return is_negative(self.words)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A text with its sentences."""

    text: str
    tokens: tuple[Token, ...]
    sentences: tuple[Sentence, ...]
    quantities: tuple[Quantity, ...]
    stems: frozenset[str]
    words: frozenset[str]
    is_english: bool

    def names(self) -> Iterator[Token]:
        """Yield the names: capitalised words inside a sentence, and codes with a digit."""
        return (token for token in self.tokens if token.is_name)


def read(text: str) -> Reading:
    """Read a text."""
    text_tokens = list(_TOKEN.finditer(text))
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    tokens: list[Token] = []
    sentences: list[Sentence] = []
    quantities: list[Quantity] = []
    clause_ends = [found.start() for found in _CLAUSE_END.finditer(text)]
    at, clause, start, english = 0, 0, 0, 0
    for end in ends:
        own: list[Token] = []
        scope = 0
        while at < len(text_tokens) and text_tokens[at].start() < end:
            found = text_tokens[at]
            at += 1
            raw, left = found[0], found.start()
            lower = raw.lower().replace("’", "'")
            while clause < len(clause_ends) and clause_ends[clause] <= left:
                clause, scope = clause + 1, 0
            key = bare = ""
            if lower in FUNCTION_WORDS:
                english += 1
            else:
                word = lower.removesuffix("'s")
                key = bare = stem(word)
                if root(word) in TASK_WORDS or lower in NUMBERS or lower in UNITS or not raw[0].isalpha():
                    key = ""
            is_name = (
                bool(own)
                and raw[0].isupper()
                and raw not in ("I",)
                and text[left - 2 : left - 1] not in ":.?!"
            )
            is_name = is_name and text[left - 1] not in "\"“'‘(" or (raw[0].isalpha() and raw[-1].isdigit())
            own.append(Token(left, found.end(), lower, key, is_name, bare if scope > 0 else ""))
            if lower in NEGATORS:
                scope = _SCOPES.get(lower, _SCOPE)
            elif bare:
                scope -= 1
        if own:
            numbers = tuple(_quantities(text, own))
            quantities += numbers
            tokens += own
            sentences.append(
                Sentence(
                    start + len(text[start:end]) - len(text[start:end].lstrip()),
                    end,
                    frozenset(token.stem for token in own if token.stem),
                    frozenset(token.negated for token in own if token.negated),
                    frozenset(token.lower for token in own),
                    numbers,
                )
            )
        start = end
    return Reading(
        text=text,
        tokens=tuple(tokens),
        sentences=tuple(sentences),
        quantities=tuple(quantities),
        stems=frozenset(token.stem for token in tokens if token.stem),
        words=frozenset(token.lower.removesuffix("'s") for token in tokens),
        is_english=english >= 0.22 * len(tokens),
    )


read_passage = functools.lru_cache(maxsize=8)(read)
"""Read a passage; those read last are kept, as a document's pairs come one after another."""


def _quantities(text: str, tokens: list[Token]) -> Iterator[Quantity]:
    """Yield the numbers of a sentence, in digits and in words, with their units."""
    at = 0
    while at < len(tokens):
        first, value, at = tokens[at], _value(tokens[at].lower), at + 1
        if value is None:
            continue
        unit = first.lower.lstrip("0123456789.,:") if first.lower[0].isdigit() else ""
        before = text[max(0, first.start - 1) : first.start]
        if before and before in _CURRENCIES:
            unit = before
        while at < len(tokens) and text[tokens[at - 1].end : tokens[at].start] in (" ", "-", "", " and "):
            word, more = tokens[at].lower, _value(tokens[at].lower)
            joint = text[tokens[at - 1].end : tokens[at].start]
            if word in MAGNITUDES:
                value *= MAGNITUDES[word]
            elif (
                more is not None
                and word in NUMBERS
                and value >= 20
                and more < (10 if value < 100 else value)
                and (joint == "-" or value >= 100)
            ):
                value += more
            else:
                break
            at += 1
        following = (
            tokens[at].lower if at < len(tokens) and tokens[at].start - tokens[at - 1].end <= 1 else ""
        )
        if following in _FRACTION_WORDS:
            continue
        if not unit and following not in UNITS:  # 10 to 20 cm, 3 more days
            unit = next((each.lower for each in tokens[at : at + 3] if each.lower in UNITS), "")
            between = text[tokens[at - 1].end : tokens[at + 2].start] if unit and at + 2 < len(tokens) else ""
            unit = unit if following in _RANGE or (following and between.strip(" ").isalpha()) else ""
        elif not unit:
            unit = following
        unit = _SAME.get(unit, unit)
        yield Quantity(value, unit if unit in UNITS else "")
        if _GROUPED.fullmatch(first.lower) and "." in first.lower:
            yield Quantity(float(first.lower.replace(".", "").replace(",", "")))


def _value(word: str) -> float | None:
    if word in NUMBERS:
        return NUMBERS[word]
    if word in _FRACTIONS:
        return _FRACTIONS[word]
    if not word[0].isdigit():
        return None
    digits = re.match(r"[\d.,:]*\d", word)
    number = digits[0] if digits else word
    if ":" in number:  # a time or a ratio, as a number that no other equals by chance
        first, _, second = number.partition(":")
        return 1e7 + 60 * float(first) + float(second) if (first + second).isdigit() else None
    if _GROUPED.fullmatch(number):
        number = number.replace(",", "") if "," in number or number.count(".") > 1 else number
    elif "," in number:
        number = number.replace(",", ".")
    return float(number) if number.count(".") <= 1 else None


def _near(one: float, two: float) -> bool:
    return abs(one - two) <= 1e-6 * max(abs(one), abs(two))
