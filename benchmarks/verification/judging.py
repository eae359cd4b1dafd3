"""A rule of `verify` that asks a model, on the labelled pairs: its verdicts, and what they cost.

The pairs of each passage go through the real step, in a Beam run of one worker process, to a real SGLang
server. Then the same server writes pairs about the same passages, for the cost of synthesis beside it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import apache_beam as beam

from benchmarks.real_server import empty_cache
from benchmarks.verification.labelled import Labelled
from benchmarks.verification.measure import Refusals
from pipelines.runners.run import make_pipeline, parse_options
from pipelines.steps.base import REJECTS
from pipelines.steps.synthesize import SynthesizeChains
from pipelines.steps.verify_pairs import VerifyPairs
from pipelines.store.statistics import Measured, measured, synthesis_stats
from plugins.verifiers.rules import make_rules
from schemas.corpus_config import CleanConfig
from schemas.records import Chain, Document, SynthesizedDocument, to_json
from schemas.synthesis_config import SynthesisConfig

_OPTIONS = ("--direct_running_mode=multi_processing", "--direct_num_workers=1")


def ask(
    rows: Sequence[Labelled], rule: str, options: dict[str, Any], config: SynthesisConfig
) -> tuple[list[Refusals], dict[str, Any]]:
    """Let a model judge pairs; returns what it refuses, and the statistics of the step.

    Raises:
        SystemExit: A pair has no verdict, because its request failed.
    """
    empty_cache(config.endpoints[0])
    chains = [
        (SynthesizedDocument(document=_document(rest[0]), pairs=tuple(row.pair for row in rest)),)
        for _, rest in _passages(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        step = VerifyPairs(
            config, rules={rule: {**options, "action": "mark"}}, seed=1, journal=f"{folder}/journal"
        )
        found = _run(chains, step, len(rows), Path(folder))
        judged = [
            json.loads(line)
            for file in sorted(Path(folder).glob("out*"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
    verdicts = {
        done["document"]["document_id"]: [pair["verdicts"][0] for pair in done["pairs"]] for done in judged
    }
    least = make_rules({rule: options}, config, seed=1)[rule].options.min_score
    refusals = []
    for passage, rest in _passages(rows):
        if len(found_here := verdicts.get(passage, [])) != len(rest):
            raise SystemExit(f"{passage}: {len(found_here)} verdicts on {len(rest)} pairs; requests failed")
        refusals += [
            Refusals(row, {rule: verdict["reason"]} if verdict["score"] < least else {})
            for row, verdict in zip(rest, found_here, strict=True)
        ]
    return refusals, synthesis_stats(found.counts, found.verification_sec, "verify")


def write_pairs(rows: Sequence[Labelled], config: SynthesisConfig) -> dict[str, Any]:
    """Statistics of a synthesis about the passages of pairs."""
    empty_cache(config.endpoints[0])
    chains = [Chain(chain_id=passage, documents=(_document(rest[0]),)) for passage, rest in _passages(rows)]
    with tempfile.TemporaryDirectory() as folder:
        step = SynthesizeChains(config, clean=CleanConfig(), seed=1, journal=f"{folder}/journal")
        found = _run(chains, step, len(chains), Path(folder))
    pairs = found.counts["synthesize/pairs"]
    return {**synthesis_stats(found.counts, found.synthesis_sec), "pairs": pairs}


def _passages(rows: Sequence[Labelled]) -> Iterator[tuple[str, list[Labelled]]]:
    for passage, rest in groupby(rows, key=lambda row: row.passage):
        yield passage, list(rest)


def _document(row: Labelled) -> Document:
    return Document.of(row.passage, row.text, source="labelled")


def _run(values: Sequence[Any], step: Any, num_expected: int, folder: Path) -> Measured:
    pipeline = make_pipeline(parse_options(list(_OPTIONS)))
    (
        (
            pipeline
            | beam.Create(values)
            | beam.Reshuffle()
            | beam.ParDo(step, num_expected).with_outputs(REJECTS, main="ok")
        ).ok
        | beam.FlatMap(lambda chain: map(to_json, chain))
        | beam.io.WriteToText(str(folder / "out"))
    )
    result = pipeline.run()
    result.wait_until_finish()
    return measured(result.metrics())
