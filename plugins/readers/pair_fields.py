"""Question-answer pairs as well-known sets write them.

    {question, answers: [{text}, …]}        SQuAD
    {question, answers: {text: [text, …]}}  SQuAD on the Hugging Face hub
    {question, answer: text}                many others; `answers: [text, …]` and `answers: text` too
    {Q, A}                                  ft-instruction-synthesizer-collection

Of several answers to a question the first is taken. A pair that SQuAD 2.0 marks `is_impossible` has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.records import InstructionPair, well_formed

FIELDS = ("question", "answers", "answer", "Q", "A", "is_impossible")
"""All fields that are looked at."""

_SHOWN_CHARACTERS = 80


class BadPair(ValueError):
    """Something that is no pair: a short fixed reason, and what was found.

    Attributes:
        reason: `not_a_pair`, `no_question` or `no_answer`.
    """

    def __init__(self, reason: str, found: str):
        super().__init__(found)
        self.reason = reason


def read_pair(item: Any) -> InstructionPair:
    """Read one pair.

    Raises:
        BadPair: It is none, or its question or answer is missing or empty.
    """
    if not isinstance(item, Mapping):
        raise BadPair(
            "not_a_pair", f"found {type(item).__name__}, expected an object with question and answers"
        )
    question = _text(item, "question", "Q")
    if not question:
        raise BadPair("no_question", f"no text in field 'question' or 'Q' of an object of {_names(item)}")
    if item.get("is_impossible") is True:
        raise BadPair("no_answer", f"is marked is_impossible: {_shortened(question)!r}")
    answer = _text(item, "answers", "answer", "A")
    if not answer:
        raise BadPair("no_answer", f"no text in field 'answers', 'answer' or 'A': {_shortened(question)!r}")
    return InstructionPair(instruction=question, response=answer)


def _text(item: Mapping[str, Any], *names: str) -> str:
    """The first text in the first of the fields that is there, or ""."""
    for name in names:
        if item.get(name) is not None:
            return well_formed(_first(item[name])).strip()
    return ""


def _first(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _first(value.get("text"))
    if isinstance(value, list):
        return next((text for each in value if (text := _first(each)).strip()), "")
    return ""


def _names(item: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, item))) or "no fields"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
