"""Verification of questions: each is supported by its text, and is asked once, with one answer.

A refused question keeps its reason, which the card counts. Some reasons concern closed-book questions alone:
such a question is still asked with its text.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pipelines.store.question_overlap import training_overlaps
from pipelines.task_making.questions import Question
from plugins.words import words_of
from schemas.corpus_config import DecontaminationConfig
from schemas.manifest import Manifest

REASONS = {
    "unsupported": "the text does not hold the answer, whatever its case, punctuation and article",
    "long_answer": "the answer has more than 6 words",
    "short_question": "the question has fewer than 4 words",
    "answer_in_question": "the question holds its answer",
    "repeated": "asked before about the same text",
    "training_pair": "a training pair has its words: 13 in a row, or all words of a shorter question",
    "base_model": "the base model picks the right option without the text, by 0.5 nats a token or more",
}
"""Reasons for which a question is refused, with their meaning."""

CLOSED_BOOK_REASONS = {
    "unspecific": "names no subject, so that it can be understood beside its text only",
    "ambiguous": "is asked about several texts with different answers",
    "asked_twice": "is asked about another text with the same answer",
}
"""Reasons for which a question is not asked without its text."""

_MOST_WORDS = 6  # twice as many characters in scripts without spaces
_LEAST_WORDS = 4
_ARTICLE = re.compile(r"\A(?:an?|the)\s+(?=\S)", re.IGNORECASE)

Refused = defaultdict[str, list[Question]]
"""Refused questions by reason."""


def verify(
    questions: Iterable[Question], corpus: str, manifest: Manifest, refused: Refused
) -> list[Question]:
    """Return the questions that pass, their answers in the words of the text; others go to `refused`."""
    passed: list[Question] = []
    asked = set()
    for question in questions:
        located = _located(question)
        key = question.about, *words_of(question.text)
        if located is None:
            refused["unsupported"].append(question)
        elif len(words_of(located.answer)) > _MOST_WORDS * (1 if " " in located.answer else 2):
            refused["long_answer"].append(located)
        elif len(words_of(question.text)) < _LEAST_WORDS:
            refused["short_question"].append(located)
        elif holds(question.text, located.answer):
            refused["answer_in_question"].append(located)
        elif key in asked:
            refused["repeated"].append(located)
        else:
            asked.add(key)
            passed.append(located)
    rule = DecontaminationConfig(min_words=_LEAST_WORDS)
    in_pairs = training_overlaps(corpus, manifest, [each.statement for each in passed], rule)
    if in_pairs:
        refused["training_pair"] += [passed[at] for at in sorted(in_pairs)]
    return [question for at, question in enumerate(passed) if at not in in_pairs]


def closed_book(questions: Sequence[Question], left_out: Refused) -> list[Question]:
    """Return the questions that can be asked without their text, each once; others go to `left_out`."""
    by_words: dict[tuple[str, ...], list[Question]] = defaultdict(list)
    for question in questions:
        if question.about.held_out:
            continue
        if question.is_specific:
            by_words[tuple(words_of(question.text))].append(question)
        else:
            left_out["unspecific"].append(question)
    kept = []
    for alike in by_words.values():
        if len({tuple(words_of(each.answer)) for each in alike}) > 1:
            left_out["ambiguous"] += alike
        else:
            kept.append(alike[0])
            if alike[1:]:
                left_out["asked_twice"] += alike[1:]
    return kept


def holds(text: str, words: str) -> bool:
    """True if a text holds some words in a row, whatever their case and punctuation."""
    wanted = words_of(words)
    found = words_of(text)
    return any(found[at : at + len(wanted)] == wanted for at in range(len(found) - len(wanted) + 1))


def _located(question: Question) -> Question | None:
    """The question with the first place of its answer in the text; None if the text does not hold it."""
    if question.span[1]:
        return question
    words = re.findall(r"[^\W_]+", _ARTICLE.sub("", question.answer))
    if not words:
        return None
    begin, end = _edge(words[0][0], r"(?<!\w)"), _edge(words[-1][-1], r"(?!\w)")
    pattern = begin + r"[\W_]{1,3}".join(map(re.escape, words)) + end
    found = re.search(pattern, question.about.text, re.IGNORECASE)
    if found is None:
        return None
    return dataclasses.replace(question, answer=" ".join(found[0].split()), span=found.span())


def _edge(character: str, pattern: str) -> str:
    """The pattern of a word's edge; none in scripts without letter case, many of which have no spaces."""
    return pattern if character.isdigit() or character.lower() != character.upper() else ""
