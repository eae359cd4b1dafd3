"""Beam job that counts the documents and chains of an increment and samples their tokens.

    files ─► take in ─► split ─► chains ─┬─► count                                   exact
             as a build does             └─► sample ─► prompts without answers       estimated

The sample of a stream is its `_SAMPLED_CHAINS` chains with the smallest hashes: the same for the same
documents, on any worker and in any order.

The counts return as Beam metrics, which every runner has and which need no storage. They are distributions,
whose maximum stays the same if a bundle is tried twice.

Cost: a build without its synthesis, rendering and packing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.increment import IncrementSpec, read_documents, split, take_in
from pipelines.increments.changed_source_files import (
    SourceFile,
    SourceFiles,
    list_files,
    parts_of,
    unread,
    with_later_files,
)
from pipelines.increments.preflight_checks import (
    check_names,
    newest_manifest,
    with_counting_tokenizer,
)
from pipelines.increments.prepared_run import check_protocol, prepared
from pipelines.planning.estimate_tokens import EstimateTokens
from pipelines.runners.progress import ProgressView
from pipelines.runners.run import make_pipeline, parse_options, run_for_metrics
from pipelines.steps.form_chains import FormChains
from pipelines.steps.tuning_texts import example_document
from pipelines.store.made_tasks import with_made_tasks
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Manifest
from schemas.records import Chain, Document

_SAMPLED_CHAINS = 300
_METRICS = "plan"


def count_files(
    config: CorpusConfig,
    beam_options: Sequence[str],
    files: SourceFiles,
    *,
    before: Manifest | None,
    view: ProgressView,
    opening: Sequence[str],
    answer_tokens: int | None,
    pairs_each: float,
) -> tuple[dict[str, Counter[str]], int]:
    """Check what a build of these files would check, say the opening lines, and count.

    Returns:
        Counts as `count_increment` gives them, and the number of tokens around each text.
    """
    options = parse_options(beam_options)
    check_protocol(config, options)
    parts = parts_of(config, files)
    view.num_parts = sum(map(len, parts.values()))
    with prepared(config, options, before=before, files=parts) as run:
        for line in opening:
            view.say(line)
        with view:
            counts = count_increment(
                run.options, run.spec, view.say, answer_tokens=answer_tokens, pairs_each=pairs_each
            )
        return counts, sum(map(len, run.around))


def count_increment(
    options: PipelineOptions,
    spec: IncrementSpec,
    say: Callable[[str], None],
    *,
    answer_tokens: int | None,
    pairs_each: float,
) -> dict[str, Counter[str]]:
    """Count what a build of an increment would do; `answer_tokens` is None without requests, and
    `pairs_each` are the pairs expected about a document.

    Returns:
        Counts by stream and name: read, new, held_out, changed, deleted, parts, split, chains, documents,
        characters; rejects by `stage/reason`; and of the sample, with `sampled_` before their names, the
        counts of EstimateTokens.
    """
    pipeline = make_pipeline(options)
    counted: list[beam.PCollection] = []
    for name, stream in spec.config.streams.items():
        read = read_documents(pipeline, spec, name)
        new = parts = take_in(spec, read)
        if stream.synthesize:
            parts = split(spec, new)
            chains = parts.ok | f"{name}/Chains" >> FormChains(spec.config.chains)
        else:
            if stream.tuning is not None:
                parts = new.then("AsExamples", beam.Map(example_document))
            chains = parts.ok | f"{name}/OneByOne" >> beam.Map(
                lambda document: Chain(chain_id=document.content_hash, documents=(document,))
            )
        estimate = EstimateTokens(
            spec.config,
            answer_tokens=answer_tokens if stream.synthesize else None,
            pairs_each=pairs_each if stream.synthesize else 0.0,
        )
        sample = (
            chains
            | f"{name}/Sample"
            >> beam.combiners.Top.Smallest(_SAMPLED_CHAINS, key=lambda chain: chain.chain_id)
            | f"{name}/EachOfSample" >> beam.FlatMap(list)
            | f"{name}/SpreadSample" >> beam.Reshuffle()
            | f"{name}/Estimate" >> beam.ParDo(estimate)
        )
        counted += [
            read.ok | f"{name}/CountRead" >> beam.Map(_one, f"{name}/read"),
            new.taken_in() | f"{name}/CountNew" >> beam.Map(_one, f"{name}/new"),
            *(each | f"{name}/CountHeldOut" >> beam.Map(_one, f"{name}/held_out") for each in new.held_out),
            *(each | f"{name}/CountChanged" >> beam.Map(_one, f"{name}/changed") for each in new.superseded),
            *(each | f"{name}/CountDeleted" >> beam.Map(_one, f"{name}/deleted") for each in new.deleted),
            parts.rejects
            | f"{name}/Rejects" >> beam.Flatten()
            | f"{name}/CountRejects"
            >> beam.Map(lambda reject, name: (f"{name}/{reject.stage}/{reject.reason}", 1), name),
            parts.ok | f"{name}/CountParts" >> beam.FlatMap(_count_parts, name),
            chains | f"{name}/CountChains" >> beam.FlatMap(_count_chain, name),
            sample
            | f"{name}/CountSample"
            >> beam.Map(lambda count, name: (f"{name}/sampled_{count[0]}", count[1]), name),
        ]
    return _run_counting(pipeline, counted, say)


def count_new(config: CorpusConfig, beam_options: Sequence[str], wanted: Callable[[SourceFile], bool]) -> int:
    """Count the documents that a build of the wanted ones of the new or changed files would take in."""
    before = newest_manifest(config)
    config, _ = with_made_tasks(with_counting_tokenizer(config))
    all_files = list_files(config, tasks=check_names(config)).files
    found = unread(all_files, config.corpus, before)
    later = {file for group in found.values() for file in group if not wanted(file)}
    files, settled = (
        {name: [file for file in group if file not in later] for name, group in each.items()}
        for each in (found, all_files)
    )
    parts = parts_of(config, with_later_files(config, files, settled))
    with prepared(config, parse_options(beam_options), before=before, files=parts) as run:
        pipeline = make_pipeline(run.options)
        counted = [
            take_in(run.spec, read_documents(pipeline, run.spec, name)).taken_in()
            | f"{name}/CountNew" >> beam.Map(_one, f"{name}/new")
            for name in config.streams
        ]
        counts = _run_counting(pipeline, counted, lambda line: None)
    return sum(each["new"] for each in counts.values())


def _run_counting(
    pipeline: beam.Pipeline, counted: list[beam.PCollection], say: Callable[[str], None]
) -> dict[str, Counter[str]]:
    """Add up counts by `stream/name` on the workers, and return the sums by stream and name."""
    (
        counted
        | "AllCounts" >> beam.Flatten()
        | "AddUp" >> beam.CombinePerKey(sum)
        | "Return" >> beam.MapTuple(lambda key, total: Metrics.distribution(_METRICS, key).update(total))
    )
    metrics = run_for_metrics(pipeline, say).query(MetricsFilter().with_namespace(_METRICS))
    counts: dict[str, Counter[str]] = {}
    for each in metrics["distributions"]:
        stream, _, name = each.key.metric.name.partition("/")
        counts.setdefault(stream, Counter())[name] = each.result.max
    return counts


def _one(_: object, key: str) -> tuple[str, int]:
    return key, 1


def _count_parts(document: Document, stream: str) -> Iterator[tuple[str, int]]:
    if document.part:
        yield f"{stream}/parts", 1
        yield f"{stream}/split", int(document.part.startswith("1/"))


def _count_chain(chain: Chain, stream: str) -> Iterator[tuple[str, int]]:
    yield f"{stream}/chains", 1
    yield f"{stream}/documents", len(chain.documents)
    yield f"{stream}/characters", sum(len(document.text) for document in chain.documents)
