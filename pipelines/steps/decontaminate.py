"""Keep the evaluation tasks out of the corpus: documents, then the pairs written about them.

    documents ─► DecontaminateDocuments ─► documents that overlap with no row
                     └──────────┬─► rejects `task_overlap`: task, row and the words they share
    chains ────► DecontaminatePairs ────► the same without the pairs that overlap with a row
                     └──────────┼─► rejects `pair_task_overlap`
                                ▼
                          Contaminations ─► WriteReport ─► decontamination.json

A pair is its instruction, options, response and rationale, one after the other. It loses only itself; a
document left without pairs goes on as raw text, and the chain's text is cut before and after it, as if the
synthesizer had found nothing to ask. What later rounds learned from the lost pairs as examples is not undone.

Documents are compared before the ledger is asked, since a changed one that is contaminated now must not
supersede what the corpus holds. A document that came in before its task was named is rejected here as well,
where it is read again; the corpus keeps what it holds of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.steps.base import StepFn, guarded
from pipelines.steps.clean_pairs import with_pairs
from plugins.task_overlap import IndexedRow, Overlap, TaskIndex
from plugins.tasks.decontamination_rows import read_tasks
from plugins.tasks.rows import row_number
from schemas import storage
from schemas.corpus_config import DecontaminationConfig
from schemas.corpus_layout import decontamination_uri
from schemas.records import Document, InstructionPair, SynthesizedDocument

CONTAMINATIONS = "contaminations"

_SHOWN_CHARACTERS = 80
_NAMED = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """A document or pair that overlaps with a row.

    Attributes:
        row: Name of the task, number of the row, its id.
        words: The first words they share.
        stream: Stream of the document.
        document_id: The document, or that of the pair.
        part: Its part, or "".
        pair: Number of the pair from 1, or 0 for the document itself.
    """

    row: tuple[str, int, str]
    words: str
    stream: str
    document_id: str
    part: str
    pair: int


class SharedTasks:
    """The tasks of a configuration, indexed once in a worker process for all steps of a run."""

    def __init__(self, config: DecontaminationConfig):
        self.config = config
        self._shared = Shared()

    def index(self) -> TaskIndex:
        """The index; hold on to it."""
        index: TaskIndex = self._shared.acquire(self._read)
        return index

    def _read(self) -> TaskIndex:
        config = self.config
        tasks = read_tasks(config.tasks)
        return TaskIndex(tasks, ngram=config.ngram, min_words=config.min_words, max_rows=config.max_rows)


class _Decontaminate(StepFn):
    def __init__(self, tasks: SharedTasks, stream: str, progress_dir: str | None):
        super().__init__("decontaminate", progress_dir)
        self.tasks = tasks
        self.stream = stream

    def setup(self) -> None:
        super().setup()
        self._index = self.tasks.index()

    def _refuse(
        self, document: Document, overlaps: Sequence[Overlap], *, pair: int = 0, instruction: str = ""
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        """Give the reject of a document or pair, and each row it overlaps with."""
        first, *others = overlaps
        yield self.reject(
            "pair_task_overlap" if pair else "task_overlap",
            document_id=document.document_id,
            source=document.source,
            detail=(f"pair {pair} {_shortened(instruction)!r}: " if pair else "")
            + f"{_name(first.row)}: {_shortened(first.words)!r}"
            + (f"; and {len(others)} more rows" if others else ""),
        )
        for overlap in overlaps:
            row = overlap.row
            contamination = Contamination(
                row=(row.task, row_number(row.position), row.row_id),
                words=overlap.words,
                stream=self.stream,
                document_id=document.document_id,
                part=document.part,
                pair=pair,
            )
            yield beam.pvalue.TaggedOutput(CONTAMINATIONS, contamination)


class DecontaminateDocuments(_Decontaminate):
    """Reject documents that overlap with a row of a task; the rows go to the `contaminations` output.

    Args:
        tasks: The tasks.
        stream: Name of the documents' stream.
        progress_dir: See Counters.

    Raises:
        ConfigError: A task file is not there, cannot be read, or has no good row.
    """

    @guarded
    def process(self, document: Document) -> Iterator[Any]:
        self.counters.add("documents")
        overlaps = self._index.find(document.text)
        if overlaps:
            yield from self._refuse(document, overlaps)
        else:
            yield document


class DecontaminatePairs(_Decontaminate):
    """Take pairs that overlap with a row of a task from the documents of each chain.

    Arguments, outputs and errors as in DecontaminateDocuments.
    """

    @guarded
    def process(self, chain: Sequence[SynthesizedDocument]) -> Iterator[Any]:
        kept: list[list[InstructionPair]] = []
        for done in chain:
            pairs = []
            for number, pair in enumerate(done.pairs, start=1):
                self.counters.add("pairs")
                overlaps = self._index.find(_pair_text(pair))
                if overlaps:
                    yield from self._refuse(
                        done.document, overlaps, pair=number, instruction=pair.instruction
                    )
                else:
                    pairs.append(pair)
            self.counters.add("documents_without_pairs", bool(done.pairs) and not pairs)
            kept.append(pairs)
        yield with_pairs(chain, kept)


class WriteReport(beam.PTransform):
    """Write how much of each task was found, from the contaminations of all streams.

        {"ngram": 13, "min_words": 8, "max_rows": 10, "tasks": {"bio_choice": {
            "uri": …, "rows": 72, "rows_refused": 0, "first_refused": "", "rows_too_short": 4,
            "rows_of_shared_wording": 0, "rows_found": 1, "rows_found_in_documents": 1,
            "rows_found_in_pairs": 0, "share_found": 0.0139,
            "found": [{"row": 12, "id": …, "words": …, "num_documents": 1, "num_pairs": 0,
                       "documents": [{"stream": …, "document_id": …}], "pairs": []}]}}}

    Documents and pairs are counted each once for a row, however often a bundle was tried. Of each row the
    first ten are named, in the order of their names; of a pair also its number, from 1.

    Args:
        tasks: The tasks.
        increment: URI of the increment's directory, where `decontamination.json` is written.
    """

    def __init__(self, tasks: SharedTasks, increment: str):
        super().__init__()
        self.tasks = tasks
        self.uri = decontamination_uri(increment)

    def expand(self, contaminations: beam.PCollection) -> beam.PCollection:
        found = (
            contaminations
            | "KeyByRow" >> beam.Map(lambda each: (each.row, each))
            | "GroupByRow" >> beam.GroupByKey()
            | "SumUpRow" >> beam.MapTuple(_found_row)
        )
        return (
            contaminations.pipeline
            | "OneReport" >> beam.Create([None])
            | "Write" >> beam.ParDo(_WriteReport(self.tasks, self.uri), beam.pvalue.AsList(found))
        )


class _WriteReport(beam.DoFn):
    def __init__(self, tasks: SharedTasks, uri: str):
        self.tasks = tasks
        self.uri = uri

    def process(self, _: None, found: list[tuple[str, dict[str, Any]]]) -> None:
        config = self.tasks.config
        tasks: dict[str, dict[str, Any]] = {}
        for task in self.tasks.index().coverage:
            rows = sorted((row for name, row in found if name == task.name), key=lambda row: row["row"])
            tasks[task.name] = {
                **{key: value for key, value in dataclasses.asdict(task).items() if key != "name"},
                "rows_found": len(rows),
                "rows_found_in_documents": sum(row["num_documents"] > 0 for row in rows),
                "rows_found_in_pairs": sum(row["num_pairs"] > 0 for row in rows),
                "share_found": round(len(rows) / task.rows, 4),
                "found": rows,
            }
        report = {**config.model_dump(include={"ngram", "min_words", "max_rows"}), "tasks": tasks}
        storage.write_bytes(self.uri, json.dumps(report, indent=2, ensure_ascii=False).encode())


def read_summary(increment: str) -> dict[str, dict[str, Any]]:
    """The report of an increment by task, without the rows found; empty where no task was named."""
    uri = decontamination_uri(increment)
    if not storage.exists(uri):
        return {}
    tasks: dict[str, dict[str, Any]] = json.loads(storage.read_bytes(uri))["tasks"]
    return {
        name: {key: value for key, value in task.items() if key != "found"} for name, task in tasks.items()
    }


def _found_row(
    row: tuple[str, int, str], contaminations: Iterable[Contamination]
) -> tuple[str, dict[str, Any]]:
    """Name of the task, and what the report says of one of its rows."""
    task, number, row_id = row
    words = []
    places: tuple[set[tuple[str, str, str, int]], set[tuple[str, str, str, int]]] = (set(), set())
    for each in contaminations:
        words.append(each.words)
        places[each.pair > 0].add((each.stream, each.document_id, each.part, each.pair))
    documents, pairs = map(sorted, places)
    return task, {
        "row": number,
        "id": row_id,
        "words": min(words),
        "num_documents": len(documents),
        "num_pairs": len(pairs),
        "documents": [_place(*each) for each in documents[:_NAMED]],
        "pairs": [_place(*each) for each in pairs[:_NAMED]],
    }


def _place(stream: str, document_id: str, part: str, pair: int) -> dict[str, Any]:
    place = {"stream": stream, "document_id": document_id, "part": part, "pair": pair}
    return {key: value for key, value in place.items() if value}


def _pair_text(pair: InstructionPair) -> str:
    return "\n".join([pair.instruction, *pair.options, pair.response, pair.rationale])


def _name(row: IndexedRow) -> str:
    return f"task {row.task} row {row_number(row.position)}" + (f" ({row.row_id})" if row.row_id else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
