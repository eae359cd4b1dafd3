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

_DEFAULT = DecontaminationConfig()


def training_overlaps(
    corpus: str,
    manifest: Manifest,
    questions: Sequence[str],
    *,
    ngram: int = _DEFAULT.ngram,
    min_words: int = _DEFAULT.min_words,
    max_rows: int = _DEFAULT.max_rows,
    texts: bool = False,
) -> dict[int, str]:
    """Find the questions that share words in a row with a training pair.

    Args:
        corpus: The corpus.
        manifest: The state of it.
        questions: The questions, without options and answers.
        ngram: Words in a row that both have.
        min_words: A question of fewer than `ngram` words is compared as a whole if it has this many; shorter
            ones are not compared.
        max_rows: Words in a row that more questions have are their common wording, and ignored.
        texts: True compares with whole training texts, False with their pairs.

    Returns:
        By index of a question, the first words in the alphabet that it shares.

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    rows = tuple(
        GenerateRow(row_id="", position=f"question:{number}", input=question, labels=())
        for number, question in enumerate(questions)
    )
    index = TaskIndex(
        [TaskRows(name="questions", uri="", rows=rows)], ngram=ngram, min_words=min_words, max_rows=max_rows
    )
    found: dict[int, str] = {}
    for text in _trained_on(corpus, manifest, texts=texts):
        for overlap in index.find(text):
            number = row_number(overlap.row.position)
            found[number] = min(overlap.words, found.get(number, overlap.words))
    return dict(sorted(found.items()))


def _trained_on(corpus: str, manifest: Manifest, *, texts: bool) -> Iterator[str]:
    for increment in manifest.increments:
        for stream in increment.streams:
            for uri in text_uris(corpus, stream, increment.name):
                if texts:
                    yield from (each.text for each in read_records(uri, AugmentedText))
                else:
                    yield from (
                        "\n".join([pair.instruction, *pair.options, pair.response, pair.rationale])
                        for pair in read_pairs(uri)
                    )
