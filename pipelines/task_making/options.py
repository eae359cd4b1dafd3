"""Wrong options: answers of the same kind about other documents.

    all answers ─► of the same kind (number of a unit, year, code, name, term), of other documents
                ─► the most alike first, without those that may be right ─► three of the first six, by hash

Two answers are alike if they are asked for in the same words, above all beside the blank, and have the same
ending: the cosine of these features, where features of few answers weigh more. So a city stands beside cities
and a dose beside doses of the same unit, without a list of cities.

An option may be right if the question's text holds it, or if any sentence holds it beside most words of a
specific question and the rarest of them. Cost: about 1 ms a question for 1,000 answers.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from pipelines.task_making.questions import BLANK, Question, SourceText
from pipelines.task_making.verify import holds
from plugins.synthesizers.mining_sentences import Passage, word_stems
from plugins.words import words_of
from schemas.content_hash import digest

_NUM_WRONG = 3
_CHOSEN_FROM = 6
_MOST_COMPARED = 1000
_MAY_BE_RIGHT = 2 / 3
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*\s*(.*)")
YEAR = re.compile(r"1[5-9]\d\d|20\d\d")


def kind_of(answer: str) -> str:
    """Kind of an answer: `year`, `number` with its unit, `code` (CYP3A4), `name` or `term`."""
    if YEAR.fullmatch(answer):
        return "year"
    if number := _NUMBER.fullmatch(answer):
        return f"number {number[1].lower()}".rstrip()
    if answer[:1].isupper():
        return "code" if re.search(r"\w[A-Z\d]", answer) else "name"
    return "term"


class Options:
    """Chooses wrong options.

    Args:
        stock: Questions whose answers may be options; more than are asked.
        texts: All texts that are asked about.
        seed: Of the order of options.
    """

    def __init__(self, stock: Sequence[Question], texts: Sequence[SourceText], *, seed: int):
        self._seed = seed
        self._documents: defaultdict[str, set[str]] = defaultdict(set)  # that an answer is about
        self._features: defaultdict[str, set[str]] = defaultdict(set)
        for question in stock:
            self._documents[question.answer].add(question.about.document_id)
            self._features[question.answer] |= _features_of(question)
        counted = Counter(feature for each in self._features.values() for feature in each)
        self._weights = {name: math.log1p(len(self._features) / count) for name, count in counted.items()}
        self._of_kind: defaultdict[str, list[str]] = defaultdict(list)
        for answer in sorted(self._features, key=digest):
            self._of_kind[kind_of(answer)].append(answer)
        self._texts_with = Counter(stem for text in texts for stem in word_stems(text.text))
        self._sentences_with: defaultdict[str, list[str]] = defaultdict(list)
        for sentence in (each.text for text in texts for each in Passage.of(text.text).sentences):
            for stem in word_stems(sentence):
                self._sentences_with[stem].append(sentence)

    def of(self, question: Question) -> tuple[str, ...]:
        """The right answer among three wrong ones, in an order by seed; nothing if there are too few."""
        right, kind = question.answer, kind_of(question.answer)
        features = self._features[right]
        alike = {
            other: self._likeness(features, self._features[other])
            for other in self._of_kind[kind][:_MOST_COMPARED]
            if question.about.document_id not in self._documents[other]
            and abs(len(right.split()) - len(other.split())) <= (kind == "name")
        }
        wrong: list[str] = []
        for other in sorted(alike, key=alike.__getitem__, reverse=True):  # equal ones stay in order of hashes
            if len(wrong) < _CHOSEN_FROM and _fits(other, question, wrong):
                wrong += [] if self._may_be_right(other, question) else [other]
        if len(wrong) < _NUM_WRONG:
            return ()
        order = random.Random(f"{self._seed}:{question.question_id}")
        return tuple(order.sample([right, *order.sample(wrong, _NUM_WRONG)], _NUM_WRONG + 1))

    def _may_be_right(self, option: str, question: Question) -> bool:
        if holds(question.about.text, option):
            return True
        asked = word_stems(question.text) - word_stems(question.answer)
        rarest = min(asked, key=lambda stem: (self._texts_with[stem], stem), default="")
        return question.is_specific and any(
            len(asked & word_stems(sentence)) >= _MAY_BE_RIGHT * len(asked) and holds(sentence, option)
            for sentence in self._sentences_with[rarest]
        )

    def _likeness(self, one: set[str], other: set[str]) -> float:
        return self._weight(one & other) / math.sqrt(self._weight(one) * self._weight(other))

    def _weight(self, features: set[str]) -> float:
        return math.fsum(self._weights[feature] for feature in features)  # exact, so in any order


def _features_of(question: Question) -> set[str]:
    before, _, after = question.text.lower().partition(BLANK)
    beside = words_of(before)[-2:]
    features = {f"ending {question.answer[-3:].lower()}", *word_stems(question.text)}
    if BLANK in question.text:
        features |= {f"before {' '.join(beside)}", f"before {beside[-1:]}", f"after {words_of(after)[:1]}"}
    return features


def _fits(option: str, question: Question, others: Sequence[str]) -> bool:
    """True if an option fits the article before the blank and the answer's number, and repeats nothing."""
    answer = question.answer
    after_article = re.search(rf"\ban? {BLANK}", question.text, re.IGNORECASE) is not None
    if after_article and (option[0] in "aeiouAEIOU") != (answer[0] in "aeiouAEIOU"):
        return False
    if kind_of(answer) == "term" and option.endswith("s") != answer.endswith("s"):
        return False
    words = _singular(option)
    said = map(_singular, (answer, *others))
    return not words <= _singular(question.text) and not any(words <= each or each <= words for each in said)


def _singular(text: str) -> set[str]:
    return {word.removesuffix("s") for word in words_of(text)}
