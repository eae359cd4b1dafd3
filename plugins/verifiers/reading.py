"""A text as the verifiers read it: tokens, sentences, stems, numbers with units, names and negations.

Reading costs about 1.5 µs a character, so the passage of several pairs is read once.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from plugins.english import (
    FRACTION_WORDS,
    FUNCTION_WORDS,
    LEAST_FUNCTION_WORDS,
    MAGNITUDES,
    NEGATIVE,
    NEGATORS,
    NUMBERS,
    ORDINALS,
    PATTERNS,
    TASK_WORDS,
    TURNING,
    UNITS,
    root,
    stem,
)
from plugins.filters.language import identify
from plugins.words import KATAKANA, SENTENCE_ENDS, SPACELESS, marks, needs_care

_TOKEN = r"(?i:per cent\b)|\d+(?:[.,:]\d+)*(?:L+)?|L+(?:['’]L{1,2}\b)?\d*|[%€$£¥°½¼¾]"
"""L stands for a letter."""

_PLAIN_TOKEN = re.compile(_TOKEN.replace("L", r"[^\W\d_]"))
_CHINESE_DIGITS = "零〇一二三四五六七八九十百千万亿"
_SENTENCE_END = re.compile(
    r"(?<![ .][ap]\.m)(?<!\bMr)(?<!\bDr)(?<!\bMrs)[.!?][\"”’')\]]*(?=\s|$)"
    rf"|[{SENTENCE_ENDS}]|\n(?=\s*(?:\n|[^a-z\s]))"
)
_CLAUSE_END = re.compile(r"[,;:—.!?]|\b(?:but|although|though|while|whereas|because|and)\b")
_GROUPED = re.compile(r"\d{1,3}(?:[,.]\d{3})+(?:\.\d+)?")
_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "half": 0.5, "halves": 0.5, "halve": 0.5, "halved": 0.5}
_NEGATIVE_FORM = re.compile(r"(?:un|non|dis)\w{4,}|\w{3,}less")
_TURNING_FORM = re.compile(r"(?:un|non|dis)\w{4,}|\w{3,}(?:less|est)")
_INSIDE = re.compile(r"[^:.?!][^\"“'‘(]").fullmatch
_NO_NAMES = UNITS.keys() | {"i"}
_BEHIND = frozenset(("nowhere", "nothing", "none"))
"""These negate the word before them, too: it leads nowhere."""

_CURRENCIES = frozenset("€$£¥")
_YEAR = re.compile(r"(?:1\d\d\d|20\d\d|2100)s?")
_RANGE = frozenset(("to", "and", "or", "v", "vs", "against", "than"))
_SAME = {"percent": "%", "pct": "%"}
_SCOPE, _SCOPES = 2, {"without": 1}
"""A negation reaches so many stems to its right, within its clause."""


class Quantity(NamedTuple):
    """A number with its unit: "" if none is known."""

    value: float
    unit: str = ""
    text: str = ""  # as it is written, with its unit

    def agrees(self, other: Quantity) -> bool:
        """True if both may mean the same: equal numbers, or equal sizes after conversion of the unit."""
        one, two = UNITS.get(self.unit), UNITS.get(other.unit)
        if bool(one) != bool(two) and "%" in (self.unit, other.unit):
            return False
        if one and two:
            return one[0] == two[0] and _near(self.value * one[1], other.value * two[1])
        return _near(self.value, other.value)


def is_negative(words: frozenset[str]) -> bool:
    """True if a text denies something, as with not, fail, unfit and useless."""
    return not words.isdisjoint(NEGATIVE) or any(map(_NEGATIVE_FORM.fullmatch, words))


def may_turn(words: frozenset[str]) -> bool:
    """True if a part of a text may say something else than the whole, as with not, only, largest."""
    return not words.isdisjoint(TURNING) or any(map(_TURNING_FORM.fullmatch, words))


class Token(NamedTuple):
    """A word, number or sign of a text."""

    start: int
    end: int
    lower: str  # in lower case, without 's
    stem: str  # "" for function words, words of the task, numbers and signs
    is_name: bool


class Sentence(NamedTuple):
    """A sentence: its offsets and its words."""

    start: int
    end: int
    words: frozenset[str]
    stems: frozenset[str]
    roots: frozenset[str]  # the stems, and those of words of the task
    negated: frozenset[str]  # roots in the scope of a negation
    quantities: tuple[Quantity, ...]


class Reading(NamedTuple):
    """A text with its sentences."""

    text: str
    tokens: tuple[Token, ...]
    sentences: tuple[Sentence, ...]
    quantities: tuple[Quantity, ...]
    words: frozenset[str]
    stems: frozenset[str]
    roots: frozenset[str]
    is_english: bool

    def names(self) -> Iterator[Token]:
        """Yield the names: capitalised words inside a sentence, and codes with a digit."""
        return (token for token in self.tokens if token.is_name)


@functools.cache
def _token_with_marks() -> re.Pattern[str]:
    mark = rf"[{marks()}\u00ad\u200c\u200d]"
    letter = rf"(?:[^\W\d_{SPACELESS}{KATAKANA}]{mark}*)"
    katakana = f"[{KATAKANA}](?:[{KATAKANA}]|{mark})*"
    return re.compile(f"[{_CHINESE_DIGITS}]+|[{SPACELESS}]{mark}*|{katakana}|{_TOKEN.replace('L', letter)}")


def other_languages(passage: Reading, question: Reading) -> tuple[str, str] | None:
    """Languages of a question and its passage if one is English and the other is not; None for a translation.

    Function words decide, so short questions can be judged; py3langid must agree.
    """
    asks_foreign = bool(PATTERNS["asks_foreign"].match(question.text))
    may_differ = asks_foreign if passage.is_english else question.is_english
    if not may_differ or PATTERNS["translates"].search(question.text):
        return None
    asked = identify(question.text)
    theirs = ("en", 1.0) if passage.is_english else identify(passage.text[:1000])
    if (asked[0] == "en") == (theirs[0] == "en") or theirs[1] < 0.8 or (asked[1] < 0.5 and not asks_foreign):
        return None
    return asked[0], theirs[0]


def _read(text: str) -> Reading:
    tokens: list[Token] = []
    sentences: list[Sentence] = []
    quantities: list[Quantity] = []
    found = list((_token_with_marks() if needs_care(text) else _PLAIN_TOKEN).finditer(text))
    ends = [each.end() for each in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    clause_ends = [each.start() for each in _CLAUSE_END.finditer(text)]
    at, clause, english = 0, 0, 0
    for end in ends:
        own: list[Token] = []
        negated: set[str] = set()
        scope, roots = 0, [""]
        while at < len(found) and found[at].start() < end:
            raw, (start, stop) = found[at][0], found[at].span()
            at += 1
            while clause < len(clause_ends) and clause_ends[clause] <= start:
                clause, scope = clause + 1, 0
            lower, stemmed, bare, is_function_word = _word(raw)
            english += is_function_word
            is_name = (
                bool(own) and raw[0].isupper() and lower not in _NO_NAMES and _INSIDE(text[start - 2 : start])
            ) or (raw[-1].isdecimal() and raw[0].isalpha())
            own.append(Token(start, stop, lower, stemmed, bool(is_name)))
            if lower in NEGATORS:
                scope = _SCOPES.get(lower, _SCOPE)
                if lower in _BEHIND:
                    negated.add(roots[-1])
            elif bare:
                roots.append(bare)
                if scope > 0:
                    negated.add(bare)
                    scope -= 1
        if own:
            numbers = tuple(_quantities(text, own))
            quantities += numbers
            tokens += own
            sentences.append(
                Sentence(
                    own[0].start,
                    end,
                    frozenset([token.lower for token in own]),
                    frozenset([token.stem for token in own if token.stem]),
                    frozenset(roots[1:]),
                    frozenset(negated),
                    numbers,
                )
            )
    words, stems, all_roots = (
        frozenset().union(*(getattr(each, field) for each in sentences))
        for field in ("words", "stems", "roots")
    )
    is_english = english >= LEAST_FUNCTION_WORDS * len(tokens)
    return Reading(
        text, tuple(tokens), tuple(sentences), tuple(quantities), words, stems, all_roots, is_english
    )


read = functools.lru_cache(maxsize=16)(_read)
"""Read a text of a pair; those read last are kept, because several verifiers read them."""

read_passage = functools.lru_cache(maxsize=8)(_read)
"""Read a passage; those read last are kept, because a document's pairs come one after another."""


@functools.lru_cache(maxsize=1 << 16)
def _word(raw: str) -> tuple[str, str, str, bool]:
    """A word in lower case, its stem or "", its root or "", and whether it is an English function word."""
    lower = raw.lower().replace("’", "'").removesuffix("'s").replace(" ", "")
    if lower in FUNCTION_WORDS:
        return lower, "", "", True
    if lower in NUMBERS or lower in UNITS or not raw[0].isalpha() or raw[0] in _CHINESE_DIGITS:
        return lower, "", "", False
    return lower, "" if root(lower) in TASK_WORDS else stem(lower), stem(lower), False


def _quantities(text: str, tokens: list[Token]) -> Iterator[Quantity]:
    """Yield the numbers of a sentence, in digits and in words, with their units."""
    at = 0
    while at < len(tokens):
        first, value, at = tokens[at], _value(tokens[at].lower), at + 1
        if value is None:
            continue
        is_year, begin = bool(_YEAR.fullmatch(first.lower)), first.start
        unit = first.lower.lstrip("0123456789.,:") if first.lower[0].isdecimal() and not is_year else ""
        if text[max(0, begin - 1) : begin] in _CURRENCIES:
            unit, begin = text[begin - 1], begin - 1
        while at < len(tokens):
            before, word = tokens[at - 1].lower, tokens[at].lower
            behind = at + (word == "and" and value >= 100 and at + 1 < len(tokens))
            joint, more = text[tokens[at - 1].end : tokens[at].start], NUMBERS.get(tokens[behind].lower)
            if joint not in (" ", "-", ""):
                break
            if joint == "-" and word in ORDINALS:
                more = ORDINALS[word]
            if word in MAGNITUDES:
                value *= MAGNITUDES[word]
            elif more and joint == " " and before in NUMBERS and 13 <= value <= 20 and 10 <= more < 100:
                value = 100 * value + more  # nineteen fifty
            elif more and (
                (value >= 100 > more and not before[0].isdecimal())
                or (joint == "-" and value >= 20 and more < 10)
            ):
                value += more
                at = behind
            else:
                break
            at += 1
        following = (
            tokens[at].lower if at < len(tokens) and tokens[at].start - tokens[at - 1].end <= 1 else ""
        )
        if following in FRACTION_WORDS:
            continue
        end = tokens[at].end if following in UNITS and not unit else tokens[at - 1].end
        if is_year and following not in UNITS:
            following = ""
        elif not unit and following not in UNITS:  # 10 to 20 cm, 3 more days
            unit = next((each.lower for each in tokens[at : at + 3] if each.lower in UNITS), "")
            between = text[tokens[at - 1].end : tokens[at + 2].start] if unit and at + 2 < len(tokens) else ""
            unit = unit if following in _RANGE or (following and between.strip(" ").isalpha()) else ""
        elif not unit:
            unit = following
        unit = _SAME.get(unit, unit)
        yield Quantity(value, unit if unit in UNITS else "", text[begin:end])
        if _GROUPED.fullmatch(first.lower) and "." in first.lower:
            yield Quantity(float(first.lower.replace(".", "").replace(",", "")), "", text[begin:end])


def _value(word: str) -> float | None:
    if word in NUMBERS:
        return NUMBERS[word]
    if word in _FRACTIONS:
        return _FRACTIONS[word]
    if word[0] in _CHINESE_DIGITS:
        return _chinese(word)
    if not word[0].isdecimal():
        return None
    digits = re.match(r"[\d.,:]*\d", word)
    number = digits[0] if digits else word
    if ":" in number:  # a time or a ratio, as a number that no other equals by chance
        first, _, second = number.partition(":")
        return 1e7 + 60 * float(first) + float(second) if (first + second).isdecimal() else None
    if len(number) > 24:
        return None
    if _GROUPED.fullmatch(number):
        number = number.replace("." if number.count(".") > 1 else ",", "")
    elif "," in number:
        number = number.replace(",", ".")
    return float(number) if number.count(".") <= 1 else None


def _chinese(word: str) -> float:
    """Value of a number in Chinese characters: 四十二 is 42, 一九五四 is 1954."""
    total = part = digits = 0.0
    for value in map(unicodedata.numeric, word):
        if value < 10:
            digits = 10 * digits + value
        elif value < 10_000:
            part, digits = part + (digits or 1) * value, 0.0
        else:
            total, part, digits = (total + part + digits or 1) * value, 0.0, 0.0
    return total + part + digits


def _near(one: float, two: float) -> bool:
    return abs(one - two) <= 1e-6 * max(abs(one), abs(two))
