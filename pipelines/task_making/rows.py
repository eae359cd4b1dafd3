"""Rows of the tasks, in the format that `tutelage eval` and `domain_eval` read.

    closed_book_choice, closed_book_short                the question alone
    reading_choice, reading_short                        with its passage: up to 3,000 characters
    heldout_reading_choice, heldout_reading_short        the same about held-out documents
    heldout_perplexity_<stream>                          held-out documents

Each row holds its provenance: document, part, source, stream, author, and the span of the answer in the text
of the document or part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.task_making.questions import BLANK, Question, SourceText
from schemas.content_hash import digest

_PASSAGE_CHARACTERS = 3000
_NUMBER = re.compile(r"(\d+(?:[.,]\d+)*)\s*(\D+)")

Row = dict[str, Any]


def question_rows(
    questions: Sequence[Question], closed_book: Sequence[Question], options: Mapping[str, tuple[str, ...]]
) -> dict[str, list[Row]]:
    """Make the rows of verified questions by task, without empty tasks.

    Args:
        questions: All of them; each is asked with its passage.
        closed_book: Those that are asked without it, too.
        options: By question_id; a question without options is only asked for a short answer.
    """
    tasks: dict[str, list[Row]] = {}
    for prefix, asked in (
        ("closed_book", closed_book),
        ("reading", [each for each in questions if not each.about.held_out]),
        ("heldout_reading", [each for each in questions if each.about.held_out]),
    ):
        with_passage = prefix != "closed_book"
        tasks[f"{prefix}_choice"] = [
            choice_row(each, options[each.question_id], with_passage=with_passage)
            for each in asked
            if each.question_id in options
        ]
        tasks[f"{prefix}_short"] = [_short_row(each, with_passage=with_passage) for each in asked]
    return {name: rows for name, rows in tasks.items() if rows}


def perplexity_rows(texts: Sequence[SourceText]) -> dict[str, list[Row]]:
    """Make a row of each held-out document, by task: one task a stream."""
    tasks: dict[str, list[Row]] = {}
    for text in texts:
        if text.held_out:
            span = {"start": 0, "end": len(text.text)}
            row: Row = {"id": digest(text.stream, text.document_id, size_bytes=6), "text": text.text}
            row["provenance"] = _provenance(text) | span
            tasks.setdefault(f"heldout_perplexity_{text.stream}", []).append(row)
    return tasks


def choice_row(question: Question, options: Sequence[str], *, with_passage: bool) -> Row:
    """Make a row whose options a model compares."""
    return {
        "id": question.question_id,
        "input": _prompt(question, with_passage=with_passage),
        "options": list(options),
        "gold_index": options.index(question.answer),
        "provenance": origin(question),
    }


def bare_row(question: Question) -> Row:
    """Make a row of the question alone, without passage and prompt, to be kept out of training text."""
    return {"id": question.question_id, "input": question.text, "label": accepted(question.answer)}


def accepted(answer: str) -> list[str]:
    """The answer and its variants: `20 mg` may be written `20mg` or `20`, and `beta-blocker` without hyphen.

    Case, punctuation and articles need no variant: the metrics of short answers ignore them.
    """
    variants = [answer]
    if found := _NUMBER.fullmatch(answer):
        variants += [found[1] + found[2], found[1]]
    elif "-" in answer:
        variants.append(answer.replace("-", " "))
    return list(dict.fromkeys(variants))


def _short_row(question: Question, *, with_passage: bool) -> Row:
    return {
        "id": question.question_id,
        "input": _prompt(question, with_passage=with_passage),
        "label": accepted(question.answer),
        "provenance": origin(question),
    }


def _prompt(question: Question, *, with_passage: bool) -> str:
    name = "Fill in the blank" if BLANK in question.text else "Question"
    passage = f"Text: {_passage(question)}\n\n" if with_passage else ""
    return f"{passage}{name}: {question.text}\nAnswer:"


def _passage(question: Question) -> str:
    """The text, or as much of it as fits around the answer, in whole words."""
    text, (start, end) = question.about.text, question.span
    if len(text) <= _PASSAGE_CHARACTERS:
        return text
    opening = max(0, min(start - _PASSAGE_CHARACTERS // 2, len(text) - _PASSAGE_CHARACTERS))
    closing = min(len(text), max(end, opening + _PASSAGE_CHARACTERS))
    opening = (
        next((found.end() for found in re.finditer(r"\s", text[:start]) if found.end() >= opening), 0)
        if opening
        else 0
    )
    closing = max(
        (found.start() for found in re.finditer(r"\s", text[:closing]) if found.start() >= end), default=end
    )
    return text[opening:closing]


def origin(question: Question) -> Row:
    """Provenance of a question: its text, the span of its answer there, and its author."""
    start, end = question.span
    return _provenance(question.about) | {"start": start, "end": end, "author": question.author}


def _provenance(text: SourceText) -> Row:
    part = {"part": text.part} if text.part else {}
    return {"document_id": text.document_id, **part, "source": text.source, "stream": text.stream}
