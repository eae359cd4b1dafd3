"""Verification of questions: each is supported by its text, and is asked once, with one answer.

A question that is refused, or not asked without its text, keeps its reason; the card counts them.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pipelines.store.pair_files import read_pairs
from pipelines.task_making.questions import Question
from plugins.task_overlap import TaskIndex, TaskRows
from plugins.tasks.rows import GenerateRow, row_number
from plugins.words import words_of
from schemas.corpus_config import DecontaminationConfig
from schemas.corpus_layout import text_uris
from schemas.manifest import Manifest

_MOST_WORDS = 6  # twice as many characters in scripts without spaces
_LEAST_WORDS = 4
_ARTICLE = re.compile(r"\A(?:an?|the)\s+(?=\S)", re.IGNORECASE)

_TEXT_ONLY = "asked with its text only, since"

LeftOut = defaultdict[str, list[Question]]
"""Questions by the reason for which they are refused, or not asked without their text."""


def verify(questions: Iterable[Question], pairs: Iterable[str], left_out: LeftOut) -> list[Question]:
    """Return the questions that pass, their answers in the words of the text; others go to `left_out`."""
    passed: dict[tuple[object, ...], Question] = {}
    for each in questions:
        question = _located(each)
        key = each.about, *words_of(each.text)
        if question is None:
            left_out["its text does not hold the answer"].append(each)
        elif len(words_of(question.answer)) > _MOST_WORDS * (1 if " " in question.answer else 2):
            left_out[f"the answer has more than {_MOST_WORDS} words"].append(question)
        elif len(words_of(question.text)) < _LEAST_WORDS:
            left_out[f"it has fewer than {_LEAST_WORDS} words"].append(question)
        elif holds(question.text, question.answer):
            left_out["it holds its answer"].append(question)
        elif key in passed:
            left_out["it was asked before about its text"].append(question)
        else:
            passed[key] = question
    rule = DecontaminationConfig(min_words=_LEAST_WORDS)
    in_pairs = overlapping([each.statement for each in passed.values()], pairs, rule)
    kept: list[Question] = []
    for at, question in enumerate(passed.values()):
        (left_out["a training pair has its words"] if at in in_pairs else kept).append(question)
    return kept


def closed_book(questions: Sequence[Question], left_out: LeftOut) -> list[Question]:
    """Return the questions that can be asked without their text, each once; others go to `left_out`."""
    by_words: defaultdict[tuple[str, ...], list[Question]] = defaultdict(list)
    for question in questions:
        if question.about.held_out:
            continue
        if question.is_specific:
            by_words[tuple(words_of(question.text))].append(question)
        else:
            left_out[f"{_TEXT_ONLY} it names no subject"].append(question)
    kept = []
    for first, *others in by_words.values():
        if any(words_of(each.answer) != words_of(first.answer) for each in others):
            left_out[f"{_TEXT_ONLY} texts answer it differently"] += [first, *others]
        else:
            kept.append(first)
            if others:
                left_out[f"{_TEXT_ONLY} it is asked about another text"] += others
    return kept


def training_pairs(corpus: str, manifest: Manifest) -> Iterator[str]:
    """Yield all pairs of a corpus, superseded ones included, because a model is trained on those too.

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    for increment in manifest.increments:
        for stream in increment.streams:
            for uri in text_uris(corpus, stream, increment.name):
                for pair in read_pairs(uri):
                    yield "\n".join([pair.instruction, *pair.options, pair.response, pair.rationale])


def overlapping(questions: Sequence[str], texts: Iterable[str], rule: DecontaminationConfig) -> set[int]:
    """Return the indices of the questions that share words in a row with a text, by plugins/task_overlap.py.

    It is the reverse of decontamination, in which a text gives way to a question.
    """
    rows = tuple(
        GenerateRow(row_id="", position=f"question:{number}", input=question, labels=())
        for number, question in enumerate(questions)
    )
    tasks = [TaskRows(name="questions", uri="", rows=rows)]
    index = TaskIndex(tasks, ngram=rule.ngram, min_words=rule.min_words, max_rows=rule.max_rows)
    return {row_number(found.row.position) for text in texts for found in index.find(text)}


def holds(text: str, words: str) -> bool:
    """True if a text holds some words in a row, whatever their case and punctuation."""
    return f" {' '.join(words_of(words))} " in f" {' '.join(words_of(text))} "


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
