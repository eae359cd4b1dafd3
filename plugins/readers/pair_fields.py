"""Question-answer pairs out of the fields of well-known sets.

    {question, answers: [{text}, …]}        SQuAD
    {question, answers: {text: [text, …]}}  SQuAD on the Hugging Face hub
    {question, answer: text}                many others; `answers: [text, …]` and `answers: text` too
    {Q, A}                                  ft-instruction-synthesizer-collection

The first of several answers counts. A pair that SQuAD 2.0 marks `is_impossible` has no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugins.readers.field_paths import names_of
from schemas.records import InstructionPair

FIELDS = ("question", "answers", "answer", "Q", "A", "is_impossible")
"""All fields that `read_pair` reads."""

_SHOWN_CHARACTERS = 80


class BadPair(ValueError):
    """A value is no pair; `reason` is `not_a_pair`, `no_question` or `no_answer`."""

    def __init__(self, reason: str, found: str):
        super().__init__(found)
        self.reason = reason


def read_pair(item: Any) -> InstructionPair:
    """Read one pair.

    Raises:
        BadPair: It is no pair, or its question or answer is missing or empty.
    """
    if not isinstance(item, Mapping):
        raise BadPair(
            "not_a_pair", f"found {type(item).__name__}, expected an object with question and answers"
        )
    question = _text(item, "question", "Q")
    if not question:
        raise BadPair("no_question", f"no text in field 'question' or 'Q' of an object of {names_of(item)}")
    if item.get("is_impossible") is True:
        raise BadPair("no_answer", f"is marked is_impossible: {_shortened(question)!r}")
    answer = _text(item, "answers", "answer", "A")
    if not answer:
        raise BadPair("no_answer", f"no text in field 'answers', 'answer' or 'A': {_shortened(question)!r}")
    return InstructionPair(instruction=question, response=answer)


def _text(item: Mapping[str, Any], *names: str) -> str:
    """Return the first text in the first field that the pair has, or ""."""
    for name in names:
        if item.get(name) is not None:
            return _first(item[name]).strip()
    return ""


def _first(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _first(value.get("text"))
    if isinstance(value, list):
        return next((text for each in value if (text := _first(each)).strip()), "")
    return ""


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
