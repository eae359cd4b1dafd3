"""Which rows of the tasks stand in the text that a model was trained on.

    rows of all tasks ─► index of their word sequences ──┐
    manifest ─► texts of its increments, one by one ─────┴─► rows found, with the words they share

A row is found when a text holds 13 of its words in a row, as plugins/task_overlap.py says, with the
settings that the corpus itself was decontaminated with, or the defaults. What is read are the texts that the
manifest's shards were packed from, so documents that decontamination took out are not in it, and documents
that a later increment superseded are: their rows are still trained on.

Nothing is stored when a corpus is built: an index of all of its word sequences would be larger than its text,
and bound to one number of words. Instead the texts are read here, once for all models and evaluations of a
run, in the memory of the tasks' index and one text; ranks divide the files among them. Cost: a corpus is
unpacked and cut into words, some MB/s of text for each process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pydantic

from plugins import task_overlap as decontamination
from plugins.task_overlap import Coverage, TaskIndex, TaskRow
from schemas import storage
from schemas.corpus_config import DecontaminationConfig
from schemas.corpus_layout import (
    decontamination_uri,
    increment_uri,
    manifest_uri,
    parse_manifest_uri,
    text_uris,
)
from schemas.errors import ConfigError, CorpusError, TutelageError
from schemas.limits import COUNT
from schemas.manifest import Manifest, read_manifest
from schemas.records import AugmentedText, digest
from schemas.validation import read_json, read_records
from trainer.evaluation.ranks import Ranks
from trainer.evaluation.tasks.rows import ChoiceRow, Row, rows_digest
from trainer.evaluation.tasks.task import Task, read_rows

FoundRows: TypeAlias = "dict[str, dict[str, str]]"
"""By task, the positions of the rows that were found, each with the first words it shares."""

_SETTINGS = ("ngram", "min_words", "max_rows")


class _Report(pydantic.BaseModel):
    """What of a corpus's report is used: how texts were compared."""

    model_config = pydantic.ConfigDict(extra="ignore", strict=True)
    ngram: int = pydantic.Field(ge=1, le=COUNT)
    min_words: int = pydantic.Field(ge=1, le=COUNT)
    max_rows: int = pydantic.Field(ge=1, le=COUNT)


@dataclass(frozen=True, slots=True)
class TrainingText:
    """The texts of one state of a corpus: its URI and the manifest that names them."""

    corpus: str
    manifest: Manifest

    @classmethod
    def of(cls, uri: str) -> TrainingText:
        """The text of a corpus: of a manifest, `CORPUS/manifest/000003.json`, or of its newest one.

        Raises:
            ConfigError: The URI is that of another JSON file.
            CorpusError: There is no such corpus or manifest.
        """
        if not uri.endswith(".json"):
            return cls(uri, read_manifest(uri))
        found = parse_manifest_uri(uri)
        if found is None:
            raise ConfigError(
                f"manifest {uri!r} is none; expected a corpus, or CORPUS/manifest/000003.json of it."
            )
        return cls(found[0], read_manifest(*found))

    @property
    def uri(self) -> str:
        """The manifest's own."""
        return manifest_uri(self.corpus, self.manifest.number)

    def settings(self) -> dict[str, int]:
        """How the corpus was decontaminated last: words of a sequence, and so on; else the defaults."""
        for name in reversed(self.manifest.names()):
            uri = decontamination_uri(increment_uri(self.corpus, name))
            if storage.exists(uri):
                report: _Report = read_json(uri, _Report)
                return {name: getattr(report, name) for name in _SETTINGS}
        defaults = DecontaminationConfig()
        return {name: getattr(defaults, name) for name in _SETTINGS}

    def files(self) -> list[str]:
        """The files of its texts, oldest first.

        Raises:
            CorpusError: An increment has shards of a stream and no texts of it.
        """
        found = []
        for increment in self.manifest.increments:
            for stream, shards in increment.streams.items():
                uris = text_uris(self.corpus, stream, increment.name)
                if not uris and shards.num_texts:
                    raise CorpusError(
                        f"{self.corpus}: increment {increment.number} has shards of stream {stream!r} and no "
                        "texts/ of it, so rows cannot be looked for. Restore them, or leave the manifest out."
                    )
                found += uris
        return found


def find_rows(tasks: Sequence[Task], texts: Sequence[TrainingText], ranks: Ranks | None = None) -> FoundRows:
    """Look for the rows of all tasks in training text; a collective, the same on every rank.

    How many rows say too little to be looked for is printed, by task.

    Args:
        tasks: What is evaluated. One whose rows cannot be read is left out here, and fails when it is run.
        texts: Where to look.
        ranks: This process among its peers, which divide the files; None is a single one.

    Raises:
        CorpusError: Texts are missing or damaged.
        TaskFailed: The same, on another rank.
    """
    ranks = ranks or Ranks()

    def mine() -> FoundRows:
        rows = _readable(tasks)
        found: FoundRows = {name: {} for name in rows}
        for text in texts:
            index = _index(rows, text.settings())
            if ranks.rank == 0:
                _tell_not_compared(index.coverage)
            for uri in text.files()[ranks.rank :: ranks.world_size]:
                _search(uri, index, rows, found)
        return found

    whole: FoundRows = {}
    for part in ranks.gather(ranks.together(mine)):
        for name, of_task in part.items():
            into = whole.setdefault(name, {})
            for position, words in of_task.items():
                into[position] = min(words, into.get(position, words))
    return whole


def search_key(tasks: Sequence[Task], texts: Sequence[TrainingText]) -> str:
    """Hash of all that `find_rows` depends on: while it is the same, so is what it finds."""
    rows = [f"{name} {rows_digest(of_task)}" for name, of_task in _readable(tasks).items()]
    corpora = [f"{text.uri} {text.manifest.created} {json.dumps(text.settings())}" for text in texts]
    return digest(*rows, *corpora)


def _readable(tasks: Sequence[Task]) -> dict[str, list[Row]]:
    rows = {}
    for task in tasks:
        try:
            rows[task.name] = read_rows(task)[0]
        except (TutelageError, OSError, ValueError, ImportError):
            continue  # it says so itself when it is run
    return rows


def _index(rows: Mapping[str, Sequence[Row]], settings: Mapping[str, Any]) -> TaskIndex:
    tasks = [
        decontamination.Task(
            name=name,
            uri=name,
            rows=tuple(_task_row(number, row) for number, row in enumerate(of_task)),
            refused=(),
        )
        for name, of_task in rows.items()
    ]
    return TaskIndex(tasks, **settings)


def _task_row(number: int, row: Row) -> TaskRow:
    if isinstance(row, ChoiceRow):
        inputs: Iterable[str] = dict.fromkeys(row.inputs)
        answers: Iterable[str] = dict.fromkeys(row.options[at] for at in row.gold)
    else:
        inputs, answers = (row.input,), row.labels
    return TaskRow(number=number, row_id=row.row_id, inputs=tuple(inputs), answers=tuple(answers))


def _tell_not_compared(coverage: Iterable[Coverage]) -> None:
    """A row that says too little to be looked for would pass for unseen without a word."""
    for task in coverage:
        if count := task.rows_too_short + task.rows_of_shared_wording:
            print(
                f"evaluation: {count} of {task.rows} rows of {task.name} say too little to be looked for in "
                f"the training text and count as unseen: {task.rows_too_short} are too short, "
                f"{task.rows_of_shared_wording} say only what many rows say.",
                file=sys.stderr,
                flush=True,
            )


def _search(uri: str, index: TaskIndex, rows: Mapping[str, Sequence[Row]], found: FoundRows) -> None:
    for text in read_records(uri, AugmentedText):
        for overlap in index.find(text.text):
            position = rows[overlap.row.task][overlap.row.number].position
            of_task = found[overlap.row.task]
            of_task[position] = min(overlap.words, of_task.get(position, overlap.words))
