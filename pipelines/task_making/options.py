"""Wrong options: answers of the same kind about other documents.

    all answers ─► of the same kind (number of a unit, year, name, term), of other documents, not in this text
                ─► the most alike first ─► three of the first six, by hash

Two answers are alike if they stand beside the same words in the texts, have the same head or ending, and are
asked for in the same words: the cosine of their features, where features of few answers weigh more. So a city
stands beside cities and a dose beside doses of the same unit, without a list of cities.

An option is not used if it may be right as well: if the question's text holds it, or if any sentence holds it
beside most words of a specific question and the rarest of them.

Cost: each question is compared with up to 1,000 answers of its kind, about 1 ms.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from pipelines.task_making.questions import BLANK, Question, SourceText
from pipelines.task_making.verify import holds
from plugins.synthesizers.mining_sentences import word_stems
from schemas.content_hash import digest

NUM_WRONG = 3
_CHOSEN_FROM = 6
_OF_FIELD = 0.1
"""Weight of two answers' field, the other words of their texts, beside the words around them."""
_MOST_COMPARED = 1000
_MAY_BE_RIGHT = 2 / 3
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*\s*(.*)")
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclasses.dataclass(slots=True)
class _Answer:
    """An answer to one or more questions."""

    text: str
    documents: set[str] = dataclasses.field(default_factory=set)  # that it is an answer about
    features: set[str] = dataclasses.field(default_factory=set)  # words around it, its head and ending
    field: set[str] = dataclasses.field(default_factory=set)  # stems of its texts
    sentences: list[frozenset[str]] = dataclasses.field(
        default_factory=list
    )  # stems of those with the answer


def kind_of(answer: str) -> str:
    """Kind of an answer: `year`, `number` with its unit, `code` (CYP3A4), `name` or `term`."""
    if _YEAR.fullmatch(answer):
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
        self._answers: dict[str, _Answer] = {}
        for question in stock:
            answer = self._answers.setdefault(question.answer, _Answer(question.answer))
            answer.documents.add(question.about.document_id)
            answer.features |= {f"asked {stem}" for stem in word_stems(question.text)}
        self._texts_with = Counter(stem for text in texts for stem in word_stems(text.text))
        places = defaultdict(list)
        for text in texts:
            for word in {*_WORD.findall(text.text)}:
                places[word].append(text.text)
        for answer in self._answers.values():
            _add_contexts(answer, places[_WORD.findall(answer.text)[0]])
        counted = Counter(
            feature for each in self._answers.values() for feature in (*each.features, *each.field)
        )
        self._weights = {name: math.log1p(len(self._answers) / count) for name, count in counted.items()}
        by_kind = defaultdict(list)
        for name in sorted(self._answers, key=digest):
            by_kind[kind_of(name)].append(self._answers[name])
        self._by_kind = {kind: answers[:_MOST_COMPARED] for kind, answers in by_kind.items()}

    def of(self, question: Question) -> tuple[str, ...]:
        """The right answer among three wrong ones, in an order by seed; nothing if there are too few."""
        right = self._answers[question.answer]
        alike = {
            other.text: likeness
            for other in self._by_kind.get(kind_of(right.text), ())
            if question.about.document_id not in other.documents
            and abs(len(right.text.split()) - len(other.text.split())) <= (kind_of(right.text) == "name")
            and (likeness := self._likeness(right, other)) > 0
        }
        wrong: list[str] = []
        for text in sorted(alike, key=lambda each: (-alike[each], each)):
            if len(wrong) < _CHOSEN_FROM and self._is_wrong(text, question, wrong):
                wrong.append(text)
        if len(wrong) < NUM_WRONG:
            return ()
        order = random.Random(f"{self._seed}:{question.question_id}")
        options = [question.answer, *order.sample(wrong, NUM_WRONG)]
        order.shuffle(options)
        return tuple(options)

    def _is_wrong(self, text: str, question: Question, others: Sequence[str]) -> bool:
        asked = word_stems(question.text) - word_stems(question.answer)
        rarest = min(asked, key=lambda stem: (self._texts_with[stem], stem), default="")
        may_be_right = question.is_specific and any(
            rarest in stems and len(asked & stems) >= _MAY_BE_RIGHT * len(asked)
            for stems in self._answers[text].sentences
        )
        apart = not any(holds(each, text) or holds(text, each) for each in (question.answer, *others))
        return (
            apart
            and not may_be_right
            and _fits(text, question)
            and not holds(question.about.text, text)
            and not holds(question.text, text)
        )

    def _likeness(self, one: _Answer, other: _Answer) -> float:
        return self._cosine(one.features, other.features) + _OF_FIELD * self._cosine(one.field, other.field)

    def _cosine(self, one: set[str], other: set[str]) -> float:
        lengths = self._length(one) * self._length(other)
        return self._length(one & other) ** 2 / lengths if lengths else 0.0

    def _length(self, features: set[str]) -> float:
        return math.sqrt(sum(self._weights[feature] for feature in features))


def _add_contexts(answer: _Answer, texts: Sequence[str]) -> None:
    words = answer.text.split()
    answer.features |= {f"ending {answer.text[-3:].lower()}", f"head {words[-1].lower()}"}
    pattern = re.compile(rf"(?<!\w){re.escape(answer.text)}(?!\w)")
    for text in texts:
        for found in pattern.finditer(text):
            before, after = (
                _WORD.findall(text[: found.start()][-40:]),
                _WORD.findall(text[found.end() :][:40]),
            )
            answer.features |= {f"before {' '.join(before[-count:]).lower()}" for count in (1, 2)}
            answer.features |= {f"after {each.lower()}" for each in after[:1]}
            answer.field |= word_stems(text)
            answer.sentences.append(word_stems(_sentence_around(text, found.start(), found.end())))


def _sentence_around(text: str, start: int, end: int) -> str:
    opening = max((found.end() for found in _SENTENCE_END.finditer(text, 0, start)), default=0)
    closing = _SENTENCE_END.search(text, end)
    return text[opening : closing.start() if closing else len(text)]


def _fits(option: str, question: Question) -> bool:
    """True if the option fits the article before the blank, and is a plural as the answer is."""
    answer = question.answer
    after_article = re.search(rf"\ban? {BLANK}", question.text, re.IGNORECASE) is not None
    return not (
        (after_article and (option[0] in "aeiouAEIOU") != (answer[0] in "aeiouAEIOU"))
        or (kind_of(answer) == "term" and option.endswith("s") != answer.endswith("s"))
    )
