"""Verifier `grounded`: the passage holds what the pair says. No model.

    pair ─► numbers    each number of the answer stands in the passage with its unit, or follows by arithmetic
         ─► names      each name of question and answer, each item of a list, stands in the passage
         ─► words      a share of the content words stands there, too
         ─► place      the answer stands near what the question asks about
         ─► polarity   yes and no, negations and opposites agree with the sentence that matches best
         ─► options    no other option stands nearer to the question than the chosen one

A yes or no is judged by the polarity of the matching sentence, an answer in the passage's own words by its
place, any other answer by its words, numbers, names and negations. The gravest finding is the reason; the
span is the answer where it stands literally, or else the sentence that matches best.

Names, lists, negations, polarity and opposites are rules for English. In other languages only numbers and
shares of words are checked, and the reason says so even if all is well; of a translation, only numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations

from plugins.english import MAGNITUDES, NEGATORS, OPPOSITES, ORDINALS, PATTERNS, stem
from plugins.protocols.matching_option import lettered_option, matching_option
from plugins.verifiers.base import Verdict, Verifier, VerifierOptions
from plugins.verifiers.reading import (
    Quantity,
    Reading,
    Sentence,
    is_negative,
    may_turn,
    other_languages,
    read,
    read_passage,
)
from schemas.records import InstructionPair

_YES_NO = re.compile(r"(yes|no(?! (?:more|less|answer|mention|information)\b)|true|false)\b", re.I)
_SPANS = re.compile(r"\bhow (?:long|old|many (?:years|decades|hours|minutes))\b", re.IGNORECASE)
_CHOICE = re.compile(r"(?<!true) or\b", re.IGNORECASE)
_LIST = re.compile(r"[^,.;:]{1,80}(?:, [^,.;:]{1,80})*,? (?:and|or) [^,.;:]{1,80}")
_LEAST_SHARE = 0.25
"""Least share of an answer's words and numbers that stand in the passage."""

_LEAST_ASKED = 20
"""Least number of a question that is looked for: smaller ones count ("the two years") or set a case."""

_NEAR = 0.35
"""Least weight of the question's words beside a short answer, as a share of the most that a sentence has."""

_MAX_NUMBERS = 64
"""Of a passage with more different numbers, such as a table, no more take part in calculations."""

_FACTORS = (7.0, 10.0, 12.0, 24.0, 52.0, 60.0, 100.0, 365.0, 1000.0)
"""Numbers that everybody may compute with."""


class GroundedOptions(VerifierOptions):
    """Options of the verifier `grounded`."""


class Grounded(Verifier[GroundedOptions]):
    """Check that question and answer hold nothing that the passage does not."""

    name = "grounded"
    Options = GroundedOptions

    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        """Judge a pair: 0 for a contradiction, 0.1 to 0.4 for doubts, up to 1 by the share of words found."""
        found = _Pair(passage, pair)
        score, reason = min(found.findings(), key=lambda finding: finding[0], default=(1.0, ""))
        if not found.passage.is_english and not reason:
            reason = "only numbers and words were checked: the passage is not in English"
        return Verdict(score=score, reason=reason, span=found.span())


class _Pair:
    """A pair beside its passage."""

    def __init__(self, passage: str, pair: InstructionPair):
        self.passage = read_passage(passage)
        self.question = read(pair.instruction)
        response = pair.response
        if pair.options:
            response = (
                matching_option(response, pair.options) or lettered_option(response, pair.options) or response
            )
        self.answer = read(response)
        self.rationale = read(pair.rationale) if pair.rationale else None
        self.options = pair.options
        begin = _YES_NO.match(response)
        self.polarity = {"yes": 1, "true": 1, "no": -1, "false": -1}[begin[1].lower()] if begin else 0
        self.is_yes_no = bool(self.polarity) or bool(PATTERNS["asks_yes_no"].match(pair.instruction))
        self.literal = _place(passage, response)
        # Labels such as "Entailment" are no part of the passage; neither need be what is to be classified.
        self.is_label = bool(pair.options) and not self.polarity and not self._touches(pair.options)
        self.weights = {key: 1 / count for key, count in _counts(self.passage).items()}

    def _touches(self, options: tuple[str, ...]) -> bool:
        return any(
            _place(self.passage.text, option)
            or self.passage.stems & read(option).stems
            or any(_holds(self.passage.quantities, quantity) for quantity in read(option).quantities)
            for option in options
        )

    def findings(self) -> Iterator[tuple[float, str]]:
        """Yield a score and a reason for everything that is doubtful."""
        if self.is_label:
            return
        if languages := other_languages(self.passage, self.question):
            yield 0.1, "the question is in another language ({}) than the passage ({})".format(*languages)
            return
        yield from self._numbers()
        if PATTERNS["translates"].match(self.question.text):
            return
        yield from self._words()
        if self.passage.is_english:
            yield from self._items()
            yield from self._turned_word()
            yield from self._names()
            yield from self._place()
            yield from self._polarity()
            if self.options:
                yield from self._rivals()

    def span(self) -> tuple[int, int] | None:
        """Offsets of what supports the answer."""
        if self.literal:
            return self.literal
        best = self._best(self.question.stems | self.answer.stems)
        return (best.start, best.end) if best else None

    def _numbers(self) -> Iterator[tuple[float, str]]:
        own = self.passage.quantities
        known = [*own, *(Quantity(value) for word, value in ORDINALS.items() if word in self.passage.words)]
        if not self.is_yes_no and self.rationale is None and "?" in self.question.text:
            for quantity in self.question.quantities:
                if quantity.value >= _LEAST_ASKED and not _holds(known, quantity):
                    yield 0.2, f"the question's number {quantity.text} is not in the passage"
        known += [*self.question.quantities, *_listed(self.passage, self.question)]
        if self.rationale:
            for quantity in self.rationale.quantities:
                if not _holds(known, quantity) and not _computed(quantity, known):
                    yield 0.1, f"the rationale's number {quantity.text} follows from no two of the passage"
                known.append(quantity)
        computes = PATTERNS["computes"].search(f"{self.question.text}\n{self.answer.text}")
        if "century" in self.answer.words:
            known += [Quantity(each.value // 100 + 1) for each in own if _is_date(each)]
        operands = (
            own if computes else list(filter(_is_date, own)) if _SPANS.search(self.question.text) else []
        )
        for quantity in self.answer.quantities:
            if quantity.value in (0.5, 1) and not quantity.unit:
                continue
            if self.rationale and self.rationale.quantities:
                steps = (*self.rationale.quantities, *self.question.quantities)
                if not _holds(steps, quantity) and not any(
                    _holds(steps, Quantity(quantity.value / size)) for size in MAGNITUDES.values()
                ):
                    yield 0.0, f"the rationale does not lead to the number {quantity.text}"
            elif not _holds(known, quantity) and not _difference(quantity, operands):
                yield 0.0, f"the passage does not hold the number {quantity.text}"

    def _words(self) -> Iterator[tuple[float, str]]:
        asked, answered = self.question.stems, self.answer.stems - self.question.stems
        foreign, missing = self._foreign(answered), self._foreign(asked)
        numbers = len(self.answer.quantities)
        share = 1 - len(foreign) / (len(answered) + numbers) if answered else 1.0
        if foreign and not self.literal:
            is_bad = share < _LEAST_SHARE and not (self.polarity and len(foreign) < 3)
            reason = f"the passage does not hold the answer's words: {_said(self.answer, foreign)}"
            yield share if is_bad else 0.5 + share / 2, reason
        least = 3 if share >= 0.6 else 2
        if len(missing) >= least and len(missing) > 0.8 * len(asked) and (share < 0.6 or not answered):
            yield 0.3, f"the passage says nothing of what is asked: {_said(self.question, missing)}"

    def _items(self) -> Iterator[tuple[float, str]]:
        """An item is nowhere in the passage, and all others of its list stand there word by word."""
        items = re.split(r",? (?:and|or) |, ", self.answer.text.strip(" ."))
        if (
            not self.polarity
            and not self.literal
            and len(items) > 1
            and all(len(each.split()) < 4 for each in items)
        ):
            strange = [each for each in items if not _place(self.passage.text, each)]
            stems = read(strange[0]).stems if len(strange) == 1 else frozenset()
            if stems and stems == self._foreign(stems):
                yield 0.3, f"the passage does not hold the item {strange[0]!r}"

    def _foreign(self, stems: frozenset[str]) -> frozenset[str]:
        """Stems that the passage does not have, nor as the beginning of another or the other way round."""
        known = self.passage.stems
        return frozenset(
            each
            for each in stems - known
            if not any(
                other.startswith(each) or each.startswith(other)
                for other in known
                if min(len(each), len(other)) >= 4
            )
        )

    def _names(self) -> Iterator[tuple[float, str]]:
        for reading, of in ((self.answer, "answer"), (self.question, "question")):
            for token in reading.names():
                word = token.lower
                if word not in self.passage.words and stem(word) not in self.passage.stems:
                    if of == "question" and self.polarity < 0:
                        continue
                    if of == "answer" and word in self.question.words:
                        continue
                    yield (
                        0.1,
                        f"the {of}'s name {reading.text[token.start : token.end]!r} is not in the passage",
                    )

    def _place(self) -> Iterator[tuple[float, str]]:
        """A short answer stands near what is asked about, if its question has words of the passage."""
        if self.polarity or self.rationale or len(self.answer.tokens) > 8:
            return
        support, best = self._support(self.answer, self.literal is not None), self._best(self.question.stems)
        names = {token.stem for token in self.question.names()}
        if support is None or best is None:
            return
        if len(self.question.stems & best.stems - names) < (3 if support else 2):
            return
        most = self._weight(self.question.stems & best.stems)
        if most >= 1.0 and support < _NEAR * most:
            yield 0.3, f"the passage speaks of this elsewhere: {_quote(self.passage, best)}"

    def _support(self, answer: Reading, is_literal: bool) -> float | None:
        """Weight of the question's words beside an answer, at its best place; None if it has no place."""
        sentences = self.passage.sentences
        wanted = answer.text.strip().strip("\"“”'‘’`.").lower()
        found = [
            index
            for index, sentence in enumerate(sentences)
            if (
                wanted in self.passage.text[sentence.start : sentence.end].lower()
                if is_literal
                else answer.stems <= sentence.stems
                and all(_holds(sentence.quantities, quantity) for quantity in answer.quantities)
            )
        ]
        if not found or not (is_literal or answer.stems or answer.quantities):
            return None
        return max(
            factor * self._weight(self.question.stems & sentences[index + step].stems)
            for index in found
            for step, factor in ((0, 1.0), (-1, 0.9), (1, 0.5))
            if 0 <= index + step < len(sentences)
        )

    def _polarity(self) -> Iterator[tuple[float, str]]:
        question = self.question.words
        if self.polarity and self.question.stems and not _CHOICE.search(self.question.text):
            yield from self._yes_no()
        for sentence in self.answer.sentences:
            stems = sentence.stems | self.question.stems if self.polarity else sentence.stems
            best = self._best(stems)
            if best is None or len(stems & best.stems) < max(2, 0.6 * len(stems)):
                continue
            words = sentence.words - {"no"} if self.polarity < 0 else sentence.words
            if (sentence.negated & best.roots) - best.negated and not may_turn(best.words):
                yield 0.2, f"the passage does not deny it: {_quote(self.passage, best)}"
            if best.negated & sentence.roots and not may_turn(words | question) and self.polarity >= 0:
                yield 0.2, f"the passage denies it: {_quote(self.passage, best)}"
            if self.polarity < 0 or (words | best.words) & NEGATORS:
                continue
            if _turned(words - question, best.words, self.passage):
                yield 0.2, f"the passage says the opposite: {_quote(self.passage, best)}"

    def _turned_word(self) -> Iterator[tuple[float, str]]:
        """The passage has the opposite of a word before the same next word, and the word itself nowhere."""
        for one, two in pairwise(token.lower for token in self.answer.tokens):
            opposites = OPPOSITES.get(stem(one))
            if opposites and two in self.passage.words and stem(one) not in map(stem, self.passage.words):
                for before, behind in pairwise(self.passage.tokens):
                    if behind.lower == two and stem(before.lower) in opposites:
                        found = self.passage.text[before.start : behind.end]
                        yield 0.2, f"the passage says the opposite: {found!r}"

    def _yes_no(self) -> Iterator[tuple[float, str]]:
        """Compare a yes or no with the sentence that matches the question best."""
        asked, question = self.question.roots, self.question.words
        best, asks_negative = self._best(asked), is_negative(question)
        if self.polarity > 0 and not asks_negative:
            if any(sentence.negated & asked for sentence in self.answer.sentences):
                yield 0.2, "yes, but the answer's own reason denies it"
            if _turned(question, self.answer.words, self.question):
                yield 0.2, "yes, but the answer's own reason says the opposite"
        share = len(asked & best.roots) / len(asked) if best else 0.0
        if best is None or share < 0.5:
            return
        turned = _turned(question, best.words, self.passage) or _other_ordinal(question, best.words)
        if self.polarity > 0 and not asks_negative and (asked & best.negated or turned):
            yield 0.2, f"yes, but the passage denies it: {_quote(self.passage, best)}"
        if (
            self.polarity < 0
            and share == 1.0
            and not (asks_negative or may_turn(best.words) or turned)
            and not PATTERNS["compares"].search(self.question.text)
            and all(_holds(best.quantities, quantity) for quantity in self.question.quantities)
        ):
            yield 0.2, f"no, but the passage affirms it: {_quote(self.passage, best)}"

    def _rivals(self) -> Iterator[tuple[float, str]]:
        """The question's words stand no nearer to another option than to the chosen one."""
        if self.question.words & NEGATORS:
            return
        own = self._support(self.answer, bool(self.literal)) or 0.0
        for option in self.options:
            if option != self.answer.text:
                other = self._support(read(option), bool(_place(self.passage.text, option)))
                if other is not None and other >= 0.5 and own < 0.6 * other:
                    yield 0.3, f"the passage speaks for another option: {option!r}"

    def _best(self, stems: frozenset[str]) -> Sentence | None:
        """The sentence that shares most with some stems, rare ones counting more."""
        best = max(
            self.passage.sentences, key=lambda sentence: self._weight(stems & sentence.roots), default=None
        )
        return best if best and stems & best.roots else None

    def _weight(self, stems: frozenset[str]) -> float:
        return sum(self.weights.get(key, 0.0) for key in stems)


def _said(reading: Reading, stems: frozenset[str]) -> str:
    found = [reading.text[each.start : each.end] for each in reading.tokens if each.stem in stems]
    return ", ".join(dict.fromkeys(found))


def _place(passage: str, response: str) -> tuple[int, int] | None:
    """Offsets of the response in the passage, without its quotes and full stop, at the bounds of words."""
    wanted, whole = response.strip().strip("\"“”'‘’`.").strip().lower(), passage.lower()
    at = whole.find(wanted) if wanted and len(whole) == len(passage) else -1
    while at >= 0:
        end = at + len(wanted)
        outside = passage[max(0, at - 1) : at] + " " + passage[end : end + 1]
        if not outside.isascii() or not any(character.isalnum() for character in outside):
            return at, end
        at = whole.find(wanted, at + 1)
    return None


def _counts(passage: Reading) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sentence in passage.sentences:
        for key in sentence.roots:
            counts[key] = counts.get(key, 0) + 1
    return counts


def _holds(known: list[Quantity] | tuple[Quantity, ...], quantity: Quantity) -> bool:
    return any(quantity.agrees(other) for other in known)


def _computed(quantity: Quantity, known: list[Quantity]) -> bool:
    """True if a number is a sum, difference, product or quotient of two, to about a percent."""
    values = sorted({each.value for each in known})[:_MAX_NUMBERS]
    for one, two in permutations([*values, *(factor for factor in _FACTORS if factor not in values)], 2):
        results = (
            one + two,
            one - two,
            one * two,
            one / two if two else 0.0,
            100 * one / two if two else 0.0,
        )
        if any(abs(result - quantity.value) <= 0.01 * abs(quantity.value) for result in results):
            return True
    return any(
        abs(2 * one - quantity.value) < 1e-6 or abs(one * one - quantity.value) < 1e-6 for one in values
    )


def _is_date(quantity: Quantity) -> bool:
    """True for a number that may be a year, and for a time of day."""
    return (1000 <= quantity.value <= 2100 and not quantity.unit) or quantity.value > 1e7


def _difference(quantity: Quantity, known: Sequence[Quantity]) -> bool:
    """True for the sum or difference of two whose units do not differ, and the time between two dates."""
    for one, two in permutations(known[:_MAX_NUMBERS], 2):
        unit, results = one.unit or two.unit, {one.value - two.value, one.value + two.value}
        if _is_date(one) and _is_date(two):
            unit, results = "minutes" if one.value > 1e7 else "years", {one.value - two.value}
        elif one.unit and two.unit and one.unit != two.unit:
            continue
        if any(quantity.agrees(Quantity(result, unit if quantity.unit else "")) for result in results):
            return True
    return False


def _listed(passage: Reading, question: Reading) -> Iterator[Quantity]:
    """Yield how many items the lists of sentences about the question have, if it asks how many."""
    if "many" in question.words:
        for sentence in passage.sentences:
            if question.stems & sentence.stems:
                for found in _LIST.finditer(passage.text, sentence.start, sentence.end):
                    yield Quantity(float(len(re.split(r",? (?:and|or) |, ", found[0]))))


def _turned(words: frozenset[str], others: frozenset[str], whole: Reading) -> bool:
    """True if a word has its opposite, but not itself, among others, and no opposite beside it."""
    keys, found = frozenset(map(stem, words)), frozenset(map(stem, others))
    return any(
        OPPOSITES[key] & found and not OPPOSITES[key] & keys and key not in found and key not in whole.roots
        for key in keys & OPPOSITES.keys()
    )


def _other_ordinal(words: frozenset[str], others: frozenset[str]) -> bool:
    asked = words & ORDINALS.keys()
    return bool(asked) and not asked & others and bool(others & ORDINALS.keys())


def _quote(passage: Reading, sentence: Sentence) -> str:
    return repr(passage.text[sentence.start : sentence.end].strip())
