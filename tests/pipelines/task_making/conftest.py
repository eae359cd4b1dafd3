"""Texts and a vocabulary for tests of task making."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.task_making.cloze import Vocabulary
from pipelines.task_making.questions import SourceText


def make_texts(*texts: str) -> list[SourceText]:
    """Texts of documents d0, d1, …"""
    return [
        SourceText(document_id=f"d{at}", stream="domain", text=text, source=f"raw.jsonl:{at}")
        for at, text in enumerate(texts)
    ]


def vocabulary_of(texts: Sequence[SourceText]) -> Vocabulary:
    """A vocabulary whose tokenizer cuts words of more than ten letters in two."""
    return Vocabulary(texts, lambda word: 1 + (len(word) > 10))
