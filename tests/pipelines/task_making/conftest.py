"""Fixtures of task making: texts, and stand-ins for the store's modules where this checkout lacks them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipelines.store.pair_files import read_pairs
from pipelines.task_making import seam
from pipelines.task_making.cloze import Vocabulary
from pipelines.task_making.questions import SourceText
from plugins.task_overlap import TaskIndex, TaskRows
from plugins.tasks.rows import GenerateRow, row_number
from schemas.corpus_layout import text_uris


def make_texts(*texts: str) -> list[SourceText]:
    """Texts of documents d0, d1, …"""
    return [
        SourceText(document_id=f"d{at}", stream="domain", text=text, source=f"raw.jsonl:{at}")
        for at, text in enumerate(texts)
    ]


def vocabulary_of(texts: Sequence[SourceText]) -> Vocabulary:
    """A vocabulary whose tokenizer cuts words of more than ten letters in two."""
    return Vocabulary(texts, lambda word: 1 + (len(word) > 10))


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Files of registrations by name, where `pipelines.store.made_tasks` does not write them itself."""
    registered: dict[str, Any] = {}
    if importlib.util.find_spec("pipelines.store.made_tasks") is None:
        found: dict[str, Callable[..., Any]] = {
            "read_held_out": lambda corpus, manifest: iter(()),
            "training_overlaps": _overlaps,
            "register": lambda corpus, name, files: registered.update({name: files}),
        }
        monkeypatch.setattr(seam, "_of_store", lambda module, name: found[name])
    return registered


def _overlaps(
    corpus: str, manifest: Any, questions: Sequence[str], *, texts: bool = False, **rules: int
) -> dict[int, str]:
    rows = tuple(
        GenerateRow(row_id="", position=f"question:{at}", input=question, labels=())
        for at, question in enumerate(questions)
    )
    rules = {"ngram": 13, "min_words": 8, "max_rows": 10} | rules
    index = TaskIndex([TaskRows(name="questions", uri="", rows=rows)], **rules)
    found: dict[int, str] = {}
    for increment in manifest.increments:
        for stream in increment.streams:
            for uri in text_uris(corpus, stream, increment.name):
                for pair in [] if texts else read_pairs(uri):
                    for overlap in index.find(f"{pair.instruction}\n{pair.response}"):
                        found[row_number(overlap.row.position)] = overlap.words
    return found
