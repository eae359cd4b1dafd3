"""Overlap of questions with the pairs or texts that a corpus trains on; plugins/task_overlap.py has the rule.

It is the reverse of decontamination: there a document or pair gives way to a question, here a question gives
way to what increments have already. Every increment counts, superseded versions included, because a model is
trained on those too. Cost: one pass over the pairs, or over the texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.store.pair_files import read_pairs
from plugins.task_overlap import TaskIndex, TaskRows
from plugins.tasks.rows import GenerateRow, row_number
from schemas.corpus_config import DecontaminationConfig
from schemas.corpus_layout import text_uris
from schemas.manifest import Manifest
from schemas.records import AugmentedText
from schemas.validation import read_records


def training_overlaps(
    corpus: str,
    manifest: Manifest,
    questions: Sequence[str],
    rule: DecontaminationConfig,
    *,
    in_texts: bool = False,
) -> set[int]:
    """Return the indices of the questions that share words in a row with a training pair, or with a text.

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    rows = tuple(
        GenerateRow(row_id="", position=f"question:{number}", input=question, labels=())
        for number, question in enumerate(questions)
    )
    tasks = [TaskRows(name="questions", uri="", rows=rows)]
    index = TaskIndex(tasks, ngram=rule.ngram, min_words=rule.min_words, max_rows=rule.max_rows)
    found: set[int] = set()
    for increment in manifest.increments:
        for uri in (each for name in increment.streams for each in text_uris(corpus, name, increment.name)):
            for text in _texts_in(uri) if in_texts else _pairs_in(uri):
                found.update(row_number(overlap.row.position) for overlap in index.find(text))
    return found


def _texts_in(uri: str) -> Iterator[str]:
    yield from (each.text for each in read_records(uri, AugmentedText))


def _pairs_in(uri: str) -> Iterator[str]:
    for pair in read_pairs(uri):
        yield "\n".join([pair.instruction, *pair.options, pair.response, pair.rationale])
