"""Rows of the tasks, in the format that `tutelage eval` and `domain_eval` read.

Each row holds its provenance: document, part, source, stream, author, and the span of the answer in the text
of the document or part.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.task_making.questions import BLANK, Question, SourceText
from schemas.content_hash import digest

QUESTION_TASKS = {
    "closed_book_choice": "questions without their text, four options",
    "closed_book_short": "questions without their text, short answers",
    "reading_choice": "questions with their text, four options",
    "reading_short": "questions with their text, short answers",
    "heldout_reading_choice": "questions about held-out documents, with their text, four options",
    "heldout_reading_short": "questions about held-out documents, with their text, short answers",
}
PERPLEXITY = "heldout_perplexity_"
"""Names of the tasks of held-out documents begin so, and end in their stream."""

_PASSAGE_CHARACTERS = 3000
_NUMBER = re.compile(r"(\d+(?:[.,]\d+)*)\s*(\D+)")

Row = dict[str, Any]


def question_rows(
    questions: Sequence[Question], closed_book: Sequence[Question], options: Mapping[str, Sequence[str]]
) -> dict[str, list[Row]]:
    """Make the rows of verified questions by task, without empty tasks.

    Args:
        questions: All of them; each is asked with its passage.
        closed_book: Those that are asked without it, too.
        options: By question_id; a question without options is only asked for a short answer.
    """
    tasks: dict[str, list[Row]] = {name: [] for name in QUESTION_TASKS}
    asked = [(each, "closed_book", "") for each in closed_book]
    for each in questions:
        asked.append((each, "heldout_reading" if each.about.held_out else "reading", _passage(each)))
    for question, prefix, passage in asked:
        row = _row(question, passage)
        tasks[f"{prefix}_short"].append(row | {"label": accepted(question.answer)})
        if found := options.get(question.question_id):
            tasks[f"{prefix}_choice"].append(row | _choice(question, found))
    return {name: rows for name, rows in tasks.items() if rows}


def perplexity_rows(texts: Sequence[SourceText]) -> dict[str, list[Row]]:
    """Make a row of each held-out document, by task: one task a stream."""
    tasks: defaultdict[str, list[Row]] = defaultdict(list)
    for text in texts:
        name = digest(text.stream, text.document_id, size_bytes=6)
        row = {"id": name, "text": text.text, "provenance": _origin(text)}
        tasks[f"{PERPLEXITY}{text.stream}"].append(row)
    return tasks


def closed_book_row(question: Question, options: Sequence[str]) -> Row:
    """Make a row whose options a model compares without the passage."""
    return _row(question, "") | _choice(question, options)


def bare_row(question: Question) -> Row:
    """Make a row of the question alone, without passage and prompt."""
    return {"id": question.question_id, "input": question.text, "label": accepted(question.answer)}


def accepted(answer: str) -> list[str]:
    """The answer and its variants: `20 mg` may be written `20mg` or `20`, and `beta-blocker` without hyphen.

    Case, punctuation and articles need no variant: the metrics of short answers ignore them.
    """
    if found := _NUMBER.fullmatch(answer):
        return list(dict.fromkeys((answer, found[1] + found[2], found[1])))
    return [answer, answer.replace("-", " ")] if "-" in answer else [answer]


def provenance(question: Question) -> Row:
    """The text of a question, the span of its answer there, and its author."""
    start, end = question.span
    return _origin(question.about) | {"start": start, "end": end, "author": question.author}


def _row(question: Question, passage: str) -> Row:
    name = "Fill in the blank" if BLANK in question.text else "Question"
    prompt = f"{passage}{name}: {question.text}\nAnswer:"
    return {"id": question.question_id, "input": prompt, "provenance": provenance(question)}


def _choice(question: Question, options: Sequence[str]) -> Row:
    return {"options": list(options), "gold_index": options.index(question.answer)}


def _passage(question: Question) -> str:
    """The text, or 3,000 characters around the answer, in whole words."""
    text, (start, _) = question.about.text, question.span
    opening = max(0, min(start - _PASSAGE_CHARACTERS // 2, len(text) - _PASSAGE_CHARACTERS))
    closing = opening + _PASSAGE_CHARACTERS
    passage = text[opening:closing]
    if opening:
        passage = re.sub(r"\A\S{,100}\s", "", passage)
    if closing < len(text):
        passage = re.sub(r"\s\S{,100}\Z", "", passage)
    return f"Text: {passage}\n\n"


def _origin(text: SourceText) -> Row:
    part = {"part": text.part} if text.part else {}
    return {"document_id": text.document_id, **part, "source": text.source, "stream": text.stream}
