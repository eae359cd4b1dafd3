"""Decontamination: documents and pairs that overlap with evaluation tasks stay out of the corpus.

    documents ─► DecontaminateDocuments ─► documents that overlap with no row
                     └──────────┬─► rejects `task_overlap`: task, row and the words they share
    chains ────► DecontaminatePairs ────► the same without the pairs that overlap with a row
                     └──────────┼─► rejects `pair_task_overlap`
                                ▼
                          Contaminations ─► WriteReport ─► decontamination.json

The text of a pair is its instruction, options, response and rationale in a row. Only the pair itself is
lost. A document without other pairs goes on as raw text, and the chain's text is cut before and after it, as
if the synthesizer had found no question. Later rounds may have seen the lost pairs as examples; this stays.

A contaminated document does not reach MarkSuperseded, so a changed document that is contaminated now does not
supersede its old text. A document that came in before its task was named is rejected when it is read again;
the corpus keeps its old text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from pipelines.steps.base import REJECTS, StepFn, guarded
from pipelines.steps.check_pairs import keep_pairs
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
    """A document or pair that overlaps with a row."""

    row: tuple[str, int, str]  # name of the task, number of the row, its id
    words: str  # the first words that they share
    stream: str
    document_id: str  # the document, or the document of the pair
    part: str  # its part, or ""
    pair: int  # number of the pair from 1, or 0 for the document itself


class SharedTasks:
    """Index of the configured tasks, made once in a worker process for all steps of a run."""

    def __init__(self, config: DecontaminationConfig):
        self.config = config
        self._shared = Shared()

    def index(self) -> TaskIndex:
        """Return the index; it lives as long as somebody holds it."""
        index: TaskIndex = self._shared.acquire(self._read)
        return index

    def _read(self) -> TaskIndex:
        config, tasks = self.config, read_tasks(self.config.tasks)
        return TaskIndex(tasks, ngram=config.ngram, min_words=config.min_words, max_rows=config.max_rows)


@dataclasses.dataclass(eq=False)
class _Decontaminate(StepFn):
    step = "decontaminate"
    tags = (REJECTS, CONTAMINATIONS)
    tasks: SharedTasks
    stream: str

    def setup(self) -> None:
        super().setup()
        self._index = self.tasks.index()

    def _refuse(
        self, document: Document, overlaps: Sequence[Overlap], *, pair: int = 0, instruction: str = ""
    ) -> Iterator[beam.pvalue.TaggedOutput]:
        """Yield the reject of a document or pair, and a Contamination for each row."""
        first, *others = overlaps
        found = f"pair {pair} {_shortened(instruction)!r}: " if pair else ""
        found += f"{_name(first.row)}: {_shortened(first.words)!r}"
        found += f"; and {len(others)} more rows" if others else ""
        yield self.reject("pair_task_overlap" if pair else "task_overlap", document, found)
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

    Raises:
        ConfigError: A task file is missing, cannot be read, or has no valid row.
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
    """Remove pairs that overlap with a row of a task; outputs and errors as in DecontaminateDocuments."""

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
        yield keep_pairs(chain, kept)


@beam.ptransform_fn
def WriteReport(contaminations: beam.PCollection, tasks: SharedTasks, increment: str) -> beam.PCollection:
    """Write `decontamination.json`: how much of each task is in the documents and pairs of all streams.

        {"ngram": 13, "min_words": 8, "max_rows": 10, "tasks": {"bio_choice": {
            "uri": …, "rows": 72, "rows_refused": 0, "first_refused": "", "rows_too_short": 4,
            "rows_of_shared_wording": 0, "rows_found": 1, "rows_found_in_documents": 1,
            "rows_found_in_pairs": 0, "share_found": 0.0139,
            "found": [{"row": 12, "id": …, "words": …, "num_documents": 1, "num_pairs": 0,
                       "documents": [{"stream": …, "document_id": …}], "pairs": []}]}}}

    A document or pair counts once for a row, however often a bundle was tried. The report names the first ten
    of each row in the order of their names, and of a pair also its number, from 1.
    """
    found = (
        contaminations
        | "KeyByRow" >> beam.Map(lambda each: (each.row, each))
        | "GroupByRow" >> beam.GroupByKey()
        | "SumUpRow" >> beam.MapTuple(_found_row)
    )
    return (
        contaminations.pipeline
        | "OneReport" >> beam.Create([None])
        | "Write"
        >> beam.Map(
            lambda _, found: _write_report(found, tasks, decontamination_uri(increment)),
            beam.pvalue.AsList(found),
        )
    )


def _write_report(found: Sequence[tuple[str, dict[str, Any]]], shared: SharedTasks, uri: str) -> None:
    tasks: dict[str, dict[str, Any]] = {}
    for task in shared.index().coverage:
        rows = sorted((row for name, row in found if name == task.name), key=lambda row: row["row"])
        tasks[task.name] = {
            **{key: value for key, value in dataclasses.asdict(task).items() if key != "name"},
            "rows_found": len(rows),
            "rows_found_in_documents": sum(row["num_documents"] > 0 for row in rows),
            "rows_found_in_pairs": sum(row["num_pairs"] > 0 for row in rows),
            "share_found": round(len(rows) / task.rows, 4),
            "found": rows,
        }
    report = {**shared.config.model_dump(include={"ngram", "min_words", "max_rows"}), "tasks": tasks}
    storage.write_bytes(uri, json.dumps(report, indent=2, ensure_ascii=False).encode())


def _found_row(
    row: tuple[str, int, str], contaminations: Iterable[Contamination]
) -> tuple[str, dict[str, Any]]:
    """Return the name of the task, and the report's entry of one of its rows."""
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
