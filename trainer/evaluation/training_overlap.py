"""Rows of the tasks that occur in the text a model was trained on.

    rows of all tasks ─► index of their word sequences ──┐
    manifest ─► texts of its increments, one by one ─────┴─► rows found, with the words they share

A row is found when a text holds 13 of its consecutive words, by the rule of plugins/task_overlap.py. The
numbers are those that the corpus itself was decontaminated with, or the defaults. The texts are those from
which the manifest's shards were packed. So they do not hold documents that decontamination rejected, and they
do hold documents that a later increment superseded: the model is still trained on these.

A build stores nothing for this search: an index of all word sequences of a corpus would be larger than its
text, and fixed to one number of words. The search reads the texts once for all models and evaluations of a
run, in the memory of the tasks' index and one text; ranks divide the files among them. Cost: the corpus is
decompressed and divided into words, some MB/s of text for each process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pydantic

from plugins.task_overlap import Coverage, TaskIndex, TaskRows
from plugins.tasks.rows import Row, rows_digest
from plugins.tasks.task import Task, read_rows
from schemas import storage
from schemas.content_hash import digest
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
from schemas.records import AugmentedText
from schemas.validation import read_json, read_records
from trainer.evaluation.ranks import Ranks

FoundRows: TypeAlias = "dict[str, dict[str, str]]"
"""By task, the positions of the rows that were found, each with the first words it shares."""


class _Report(pydantic.BaseModel):
    """The numbers in a corpus's report by which texts were compared."""

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
        """The texts of a manifest, `CORPUS/manifest/000003.json`, or of a corpus's newest one.

        Raises:
            ConfigError: The URI names another JSON file.
            CorpusError: There is no such corpus or manifest.
        """
        if not uri.endswith(".json"):
            return cls(uri, read_manifest(uri))
        found = parse_manifest_uri(uri)
        if found is None:
            raise ConfigError(
                f"manifest {uri!r} is no manifest; expected a corpus, or CORPUS/manifest/000003.json of it."
            )
        return cls(found[0], read_manifest(*found))

    @property
    def uri(self) -> str:
        """URI of the manifest."""
        return manifest_uri(self.corpus, self.manifest.number)

    def settings(self) -> dict[str, int]:
        """Arguments of TaskIndex by which the corpus was decontaminated last; else the defaults."""
        for name in reversed(self.manifest.names()):
            uri = decontamination_uri(increment_uri(self.corpus, name))
            if storage.exists(uri):
                report: _Report = read_json(uri, _Report)
                return report.model_dump()
        return DecontaminationConfig().model_dump(include=set(_Report.model_fields))

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

    Prints by task how many rows are too short or too common to be looked for.

    Args:
        tasks: Tasks of the evaluation. A task with unreadable rows is left out here, and fails in its run.
        texts: Where to look.
        ranks: This process among its peers, which divide the files; None is a single process.

    Raises:
        CorpusError: Texts are missing or damaged.
        TaskFailed: The same, on another rank.
    """
    ranks = ranks or Ranks()

    def mine() -> FoundRows:
        rows = _readable(tasks)
        found: FoundRows = {name: {} for name in rows}
        of_tasks = [TaskRows(name=name, uri=name, rows=tuple(of_task)) for name, of_task in rows.items()]
        for text in texts:
            index = TaskIndex(of_tasks, **text.settings())
            if ranks.rank == 0:
                _report_not_compared(index.coverage)
            for uri in text.files()[ranks.rank :: ranks.world_size]:
                for each in read_records(uri, AugmentedText):
                    for overlap in index.find(each.text):
                        _keep_least(found[overlap.row.task], overlap.row.position, overlap.words)
        return found

    whole: FoundRows = {}
    for part in ranks.gather(ranks.together(mine)):
        for name, of_task in part.items():
            for position, words in of_task.items():
                _keep_least(whole.setdefault(name, {}), position, words)
    return whole


def search_key(tasks: Sequence[Task], texts: Sequence[TrainingText]) -> str:
    """Hash of everything that the result of `find_rows` depends on."""
    rows = [f"{name} {rows_digest(of_task)}" for name, of_task in _readable(tasks).items()]
    corpora = [f"{text.uri} {text.manifest.created} {json.dumps(text.settings())}" for text in texts]
    return digest(*rows, *corpora)


def _readable(tasks: Sequence[Task]) -> Mapping[str, Sequence[Row]]:
    rows = {}
    for task in tasks:
        try:
            rows[task.name] = read_rows(task)[0]
        except (TutelageError, OSError, ValueError, ImportError):
            continue  # the run of the task reports the error
    return rows


def _report_not_compared(coverage: Iterable[Coverage]) -> None:
    """Print how many rows were not looked for: they count as unseen."""
    for task in coverage:
        if count := task.rows_too_short + task.rows_of_shared_wording:
            print(
                f"evaluation: {count} of {task.rows} rows of {task.name} were not looked for in the training "
                f"text and count as unseen: {task.rows_too_short} are too short, "
                f"{task.rows_of_shared_wording} have only words that many rows have.",
                file=sys.stderr,
                flush=True,
            )


def _keep_least(found: dict[str, str], position: str, words: str) -> None:
    """Keep the words that come first in the alphabet, so that the order of the texts does not matter."""
    found[position] = min(words, found.get(position, words))
