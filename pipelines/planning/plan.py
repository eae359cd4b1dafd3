"""What a build would do: documents, chains, requests, tokens, hours. Sends nothing and writes nothing.

    files ─► take in ─► split ─► chains ─┬─► count                                   exact
             as a build does             └─► sample ─► prompts without answers       estimated

Counted are documents, rejects, parts, chains and requests: one request for each document of a chain, at
most, repairs not included. Estimated are tokens, from the `_SAMPLED_CHAINS` chains of a stream with the
smallest hashes: the same sample for the same documents, wherever and in whatever order they are read.

    prompt tokens       requests × mean of the sample's prompts (transforms/estimate.py)
    completion tokens   requests × mean answer (assumptions.py)
    text tokens         characters × the sample's tokens a character
    pair tokens         completion tokens, in the corpus's tokenizer; not known for a synthesizer that is
                        not asked over the wire, such as mined
    training tokens     text and pair tokens, and BOS and EOS of each text
    texts               the sample's texts a chain; where the next document of a chain and an answer do not
                        fit into its row, another text begins
    rows                training tokens / seq_len, as if every row were full; at least one for each text of
                        more than half a row
    hours               of synthesis: completion tokens or requests / speed (assumptions.py)

A sample that is the whole stream makes text tokens exact. In a stream with `tuning` a text is an example,
pairs included; all are counted, also those that a build would refuse for their number or length. What the
journal would answer is not taken off.

The counts come home as Beam metrics, which every runner has and which need no place to write to: as
distributions, whose maximum is the same where a bundle was tried twice.

Cost: a build without its synthesis, rendering and packing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricResults, MetricsFilter

from pipelines.increment import IncrementSpec, split, take_in
from pipelines.increments.changed_source_files import (
    SourceFile,
    list_files,
    parts_of,
    unread,
    with_later_files,
)
from pipelines.increments.preflight_checks import (
    asks_a_model,
    check_names,
    check_protocol,
    newest_manifest,
    prepared,
)
from pipelines.planning.assumptions import expected_answers, expected_speed
from pipelines.planning.estimate_tokens import EstimateTokens
from pipelines.planning.estimates import IncrementPlan, StreamPlan, plan_stream, synthesis_hours, total_of
from pipelines.runners.progress import ProgressView
from pipelines.runners.run import make_pipeline, parse_options, run_for_metrics
from pipelines.steps.base import REJECTS
from pipelines.steps.form_chains import FormChains
from pipelines.steps.tuning_texts import example_document
from schemas.corpus_config import CorpusConfig
from schemas.errors import InputError
from schemas.records import Chain, Document, Reject

_SAMPLED_CHAINS = 300
_METRICS = "plan"


def plan_increment(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    requests_per_sec: float | None = None,
    tokens_per_sec: float | None = None,
    quiet: bool = False,
) -> IncrementPlan:
    """Say what `build_increment` would do with the same configuration.

    Args:
        config: The corpus; it need not exist.
        beam_options: Options for Beam; without `--runner` it runs on this machine.
        requests_per_sec: Requests that all servers together answer in a second.
        tokens_per_sec: The same in generated tokens; at most one of the two.
        quiet: Show nothing on standard error.

    Raises:
        ConfigError: A name, value or option is refused.
        InputError: The sources hold nothing that can be used.
        CorpusError: The corpus is damaged, or made with another tokenizer.
    """
    options = parse_options(beam_options)
    tasks = check_names(config)
    before = newest_manifest(config)
    known = before.names() if before else ()
    speed = expected_speed(config, known, requests_per_sec=requests_per_sec, tokens_per_sec=tokens_per_sec)
    answers = expected_answers(config, known) if asks_a_model(config) else None
    listed = list_files(config, tasks=tasks)
    files = with_later_files(config, unread(listed.files, config.corpus, before), listed.files)
    check_protocol(config, options)
    with prepared(config, options, before=before, files=parts_of(config, files)) as run:
        spec = run.spec
        view = ProgressView(spec.progress_dir, quiet=quiet)
        for line in listed.left_out:
            view.say(line)
        view.say(f"Planning increment {spec.number} of {config.corpus}; nothing is sent or written.")
        pipeline = make_pipeline(run.options)
        _add_plan(pipeline, spec, answer_tokens=round(answers.mean_completion_tokens) if answers else None)
        with view:
            counts = _counts_of(run_for_metrics(pipeline, view.say))
    streams = {
        name: plan_stream(
            counts.get(name, {}),
            num_files=spec.num_files(name),
            synthesize=stream.synthesize,
            answers=answers if stream.synthesize else None,
            num_ends=sum(map(len, run.around)),
            seq_len=config.pack.seq_len,
        )
        for name, stream in config.streams.items()
    }
    total = total_of(streams.values())
    _check_usable(total, known)
    return IncrementPlan(
        corpus=config.corpus,
        increment=spec.number,
        seq_len=config.pack.seq_len,
        streams=streams,
        total=total,
        answers=answers,
        speed=speed,
        synthesis_hours=synthesis_hours(total, speed),
    )


def count_new(config: CorpusConfig, beam_options: Sequence[str], wanted: Callable[[SourceFile], bool]) -> int:
    """Count the documents that a build of some files would take in.

    Args:
        config: The corpus.
        beam_options: Options for Beam.
        wanted: Which of the new or changed files.
    """
    before = newest_manifest(config)
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
        _bring_home_sums(
            [
                take_in(pipeline, run.spec, name).new | f"{name}/CountNew" >> beam.Map(_one, f"{name}/new")
                for name in config.streams
            ]
        )
        found_counts = _counts_of(run_for_metrics(pipeline, lambda line: None))
    return sum(counts["new"] for counts in found_counts.values())


def _add_plan(pipeline: beam.Pipeline, spec: IncrementSpec, *, answer_tokens: int | None) -> None:
    """Add all that a plan counts to a pipeline; the sums become metrics."""
    counted: list[beam.PCollection] = []
    for name, stream in spec.config.streams.items():
        found = take_in(pipeline, spec, name)
        if stream.synthesize:
            cut = split(spec, name, found.new)
            parts, rejects = cut.ok, (*found.rejects, cut[REJECTS])
            chains = parts | f"{name}/Chains" >> FormChains(spec.config.chains, spec.progress_dir)
            asked_tokens = answer_tokens
        else:
            parts, rejects = found.new, found.rejects
            if stream.tuning is not None:
                parts = parts | f"{name}/AsExamples" >> beam.Map(example_document)
            chains = parts | f"{name}/OneByOne" >> beam.Map(_alone)
            asked_tokens = None
        sample = (
            chains
            | f"{name}/Sample" >> beam.combiners.Top.Smallest(_SAMPLED_CHAINS, key=_chain_id)
            | f"{name}/EachOfSample" >> beam.FlatMap(list)
            | f"{name}/SpreadSample" >> beam.Reshuffle()
            | f"{name}/Estimate" >> beam.ParDo(EstimateTokens(spec.config, answer_tokens=asked_tokens))
        )
        counted += [
            found.read | f"{name}/CountRead" >> beam.Map(_one, f"{name}/read"),
            found.new | f"{name}/CountNew" >> beam.Map(_one, f"{name}/new"),
            found.superseded | f"{name}/CountChanged" >> beam.Map(_one, f"{name}/changed"),
            rejects
            | f"{name}/Rejects" >> beam.Flatten()
            | f"{name}/CountRejects" >> beam.Map(_rejected, name),
            parts | f"{name}/CountParts" >> beam.FlatMap(_parts, name),
            chains | f"{name}/CountChains" >> beam.FlatMap(_chain, name),
            sample | f"{name}/CountSample" >> beam.Map(_sampled, name),
        ]
    _bring_home_sums(counted)


def _bring_home_sums(counted: list[beam.PCollection]) -> None:
    """Add up counts by key, and make the sums metrics."""
    (
        counted
        | "AllCounts" >> beam.Flatten()
        | "AddUp" >> beam.CombinePerKey(sum)
        | "BringHome" >> beam.Map(_bring_home)
    )


def _alone(document: Document) -> Chain:
    return Chain(chain_id=document.content_hash, documents=(document,))


def _chain_id(chain: Chain) -> str:
    return chain.chain_id


def _one(_: object, key: str) -> tuple[str, int]:
    return key, 1


def _rejected(reject: Reject, stream: str) -> tuple[str, int]:
    return f"{stream}/{reject.stage}/{reject.reason}", 1


def _parts(document: Document, stream: str) -> Iterator[tuple[str, int]]:
    if document.part:
        yield f"{stream}/parts", 1
        yield f"{stream}/split", int(document.part.startswith("1/"))


def _chain(chain: Chain, stream: str) -> Iterator[tuple[str, int]]:
    yield f"{stream}/chains", 1
    yield f"{stream}/documents", len(chain.documents)
    yield f"{stream}/characters", sum(len(document.text) for document in chain.documents)


def _sampled(count: tuple[str, int], stream: str) -> tuple[str, int]:
    return f"{stream}/sampled_{count[0]}", count[1]


def _bring_home(total: tuple[str, int]) -> None:
    Metrics.distribution(_METRICS, total[0]).update(total[1])


def _counts_of(metrics: MetricResults) -> dict[str, Counter[str]]:
    """By stream, the counts by name, those of rejects by `stage/reason`."""
    found = metrics.query(MetricsFilter().with_namespace(_METRICS))
    counts: dict[str, Counter[str]] = {}
    for each in found["distributions"]:
        stream, _, what = each.key.metric.name.partition("/")
        counts.setdefault(stream, Counter())[what] = each.result.max
    return counts


def _check_usable(total: StreamPlan, known: Iterable[str]) -> None:
    """Refuse what a build would refuse: sources that hold nothing for a corpus that holds nothing."""
    if total.num_new or total.num_unchanged or any(known):
        return
    if not total.num_rejected:
        raise InputError("the sources hold no documents.")
    reasons = ", ".join(
        f"{count:,} {stage}: {reason}"
        for stage, by_reason in total.rejects.items()
        for reason, count in by_reason.items()
    )
    raise InputError(f"no document of the sources can be used. Rejects: {reasons}.")
