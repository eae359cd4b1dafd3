"""Plan of an increment: documents, chains, requests, tokens and hours of a build. Sends and writes nothing.

    files ─► counting_job.py ─► counts of each stream, exact ──────┬─► StreamPlan ─► IncrementPlan
                             └► tokens of a sample of its chains ──┤
    assumptions.py ─► length of an answer, speed of the servers ───┘

Documents, rejects, parts, chains and requests are counted: `synthesis.samples` requests for each document of
a chain, at most, without repairs. The other numbers are estimates:

    prompt tokens       requests × mean prompt of the sample (estimate_tokens.py)
    completion tokens   requests × mean answer, thoughts included
    requests to verify  documents × pairs a document × rules of `verify` that ask a model
    text tokens         characters × tokens a character in the sample
    pair tokens         completion tokens without thoughts, in the corpus's tokenizer; unknown for a
                        synthesizer that sends no requests, such as mined
    training tokens     text tokens, pair tokens, and BOS and EOS of each text
    texts               chains × texts a chain in the sample; another text begins where the next document and
                        its answer do not fit the row
    rows                training tokens / seq_len, as if every row were full; at least one for each text of
                        more than half a row
    hours               of synthesis: completion tokens or requests / speed

If the sample is the whole stream, text tokens are exact. In a stream with `tuning` a text is an example with
its pairs; the plan counts all examples, also those that a build would refuse for their number or length. It
does not subtract requests that the journal would answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from pipelines.increments.changed_source_files import list_files, unread, with_later_files
from pipelines.increments.preflight_checks import (
    asks_a_model,
    check_names,
    newest_manifest,
    with_counting_tokenizer,
)
from pipelines.increments.recorded_pairs import read_pairs_file, say_if_changed
from pipelines.planning.assumptions import (
    Answers,
    Speed,
    expected_answers,
    expected_pairs,
    expected_speed,
)
from pipelines.runners.progress import ProgressView
from pipelines.store.made_tasks import with_made_tasks
from schemas.corpus_config import CorpusConfig
from schemas.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """Plan of one stream, or of all together. None stands for unknown."""

    num_files: int  # new or changed files, which a build reads
    num_read: int  # documents in them
    num_new: int  # documents to take in, changed ones included
    num_changed: int  # changed ones, which supersede an older text
    num_deleted: int  # documents of the corpus that their sources delete
    num_held_out: int  # of the documents to take in, those that are kept for evaluation
    num_unchanged: int  # documents in those files that the corpus already holds, or deletions that it knows
    num_rejected: int  # records that go no further
    rejects: dict[str, dict[str, int]]  # the same by stage and reason
    num_split: int  # documents that are cut into parts
    num_parts: int  # the parts
    num_chains: int  # 0 without synthesis
    num_texts: int  # training texts, estimated
    num_cut_texts: int  # texts that go on in another row, estimated; 0 with synthesis, whose texts fit
    num_requests: int  # to the synthesizer, at most, without repairs
    num_sampled_chains: int  # chains in the sample, or without synthesis documents
    mean_document_tokens: float | None  # of a document or part, to the synthesizer
    prompt_tokens: int  # of all prompts
    cached_tokens: int  # prompt tokens that an ideal prefix cache holds
    completion_tokens: int  # generated tokens
    text_tokens: int  # of the documents, to the trained model
    pair_tokens: int | None  # of the pairs, to the trained model
    training_tokens: int  # of the training texts
    num_rows: int  # rows of `pack.seq_len` tokens for these, at least
    num_verify_requests: int  # to the models of `verify`, estimated
    verify_prompt_tokens: int  # of their prompts
    verify_cached_tokens: int  # of these, what an ideal prefix cache holds
    verify_completion_tokens: int  # generated tokens, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class IncrementPlan:
    """Plan of an increment."""

    corpus: str  # URI
    increment: int  # its number
    seq_len: int  # tokens of a row
    holdout: float  # share of new documents to hold out
    made_tasks: list[str]  # URIs of made tasks that the build keeps out
    streams: dict[str, StreamPlan]  # by name
    total: StreamPlan  # all streams together
    num_samples: int  # requests for one document
    answers: Answers | None  # assumed length of answers; None without requests
    speed: Speed | None  # assumed speed of the servers; None if unknown
    synthesis_hours: float | None  # None without a speed
    pairs_each: float  # pairs expected about a document
    pairs_source: str  # the source of this number in words

    def as_json(self) -> dict[str, Any]:
        """Return plain values under stable names."""
        return dataclasses.asdict(self)


def plan_increment(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    requests_per_sec: float | None = None,
    tokens_per_sec: float | None = None,
    quiet: bool = False,
) -> IncrementPlan:
    """Plan what `build_increment` does with the same configuration.

    Args:
        config: The corpus; it need not exist.
        beam_options: Options for Beam; without `--runner` it runs on this machine.
        requests_per_sec: Requests that all servers together answer in a second.
        tokens_per_sec: The same in generated tokens; give at most one of the two.
        quiet: Show nothing on standard error.

    Raises:
        ConfigError: A name, value or option is refused.
        InputError: The sources hold nothing that can be used.
        CorpusError: The corpus is damaged, or made with another tokenizer.
    """
    if beam_options:
        _counting_job().parse_options(beam_options)  # refuses wrong ones even if nothing is new
    config, made = with_made_tasks(with_counting_tokenizer(config))
    tasks = check_names(config)
    pairs = read_pairs_file(config)
    before = newest_manifest(config)
    known = before.names() if before else ()
    speed = expected_speed(config, known, requests_per_sec=requests_per_sec, tokens_per_sec=tokens_per_sec)
    answers = expected_answers(config, known) if asks_a_model(config) else None
    pairs_each, pairs_source = expected_pairs(config, known)
    listed = list_files(config, tasks=tasks)
    files = with_later_files(config, unread(listed.files, config.corpus, before), listed.files)
    number = before.number + 1 if before else 1
    view = ProgressView(quiet=quiet)
    opening = list(listed.left_out)
    say_if_changed(pairs, config.corpus, before, opening.append)
    opening.append(f"Planning increment {number} of {config.corpus}; nothing is sent or written.")
    counts: Mapping[str, Counter[str]] = {}
    num_ends = 0
    if any(files.values()):
        counts, num_ends = _counting_job().count_files(
            config,
            beam_options,
            files,
            before=before,
            view=view,
            opening=opening,
            answer_tokens=round(answers.mean_pair_tokens) if answers else None,
            pairs_each=pairs_each,
        )
    else:
        for line in opening:
            view.say(line)
    streams = {
        name: _plan_stream(
            counts.get(name, Counter()),
            num_files=len(files[name]),
            synthesize=stream.synthesize,
            answers=answers if stream.synthesize else None,
            num_samples=config.synthesis.samples,
            num_ends=num_ends,
            seq_len=config.pack.seq_len,
        )
        for name, stream in config.streams.items()
    }
    total = _total_of(list(streams.values()))
    _check_usable(total, known)
    hours = None if total.num_requests else 0.0
    if total.num_requests and speed is not None:
        hours = speed.hours(num_requests=total.num_requests, completion_tokens=total.completion_tokens)
    return IncrementPlan(
        corpus=config.corpus,
        increment=number,
        seq_len=config.pack.seq_len,
        holdout=config.holdout,
        made_tasks=made,
        streams=streams,
        total=total,
        num_samples=config.synthesis.samples,
        answers=answers,
        speed=speed,
        synthesis_hours=hours,
        pairs_each=pairs_each,
        pairs_source=pairs_source,
    )


def _counting_job() -> ModuleType:
    """Import the job, and Beam with it: a second that a plan without new files does not need."""
    from pipelines.runners.startup_warnings import quiet_libraries

    quiet_libraries()
    from pipelines.planning import counting_job

    return counting_job


def _plan_stream(
    counts: Counter[str],
    *,
    num_files: int,
    synthesize: bool,
    answers: Answers | None,
    num_samples: int,
    num_ends: int,
    seq_len: int,
) -> StreamPlan:
    """Plan one stream from its counts (`count_increment`); `num_ends` counts BOS and EOS around a text."""

    def scaled(name: str, by: str) -> float:
        """Scale a count of the sample to the whole stream."""
        sampled = counts[f"sampled_{by}"]
        return counts[f"sampled_{name}"] * counts[by] / sampled if sampled else 0.0

    rejects: dict[str, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        stage, slash, reason = name.partition("/")
        if slash:
            rejects.setdefault(stage, {})[reason] = count
    num_requests = counts["documents"] * num_samples if answers else 0
    completion_tokens = num_requests * answers.mean_completion_tokens if answers else 0.0
    pair_tokens: float | None = 0.0
    if synthesize:
        asked_tokens = counts["sampled_document_tokens"]
        per_token = counts["sampled_text_tokens"] / asked_tokens if asked_tokens else 1.0
        pair_tokens = num_requests * answers.mean_pair_tokens * per_token if answers else None
    text_tokens = scaled("text_tokens", "characters")
    training_tokens = round(text_tokens + (pair_tokens or 0) + num_ends * scaled("texts", "chains"))
    gone = sum(sum(reasons.values()) for stage, reasons in rejects.items() if stage != "read")
    return StreamPlan(
        num_files=num_files,
        num_read=counts["read"],
        num_new=counts["new"],
        num_changed=counts["changed"],
        num_deleted=counts["deleted"],
        num_held_out=counts["held_out"],
        num_unchanged=counts["read"] - gone - counts["new"] - counts["deleted"],
        num_rejected=sum(sum(reasons.values()) for reasons in rejects.values()),
        rejects=rejects,
        num_split=counts["split"],
        num_parts=counts["parts"],
        num_chains=counts["chains"] if synthesize else 0,
        num_texts=round(scaled("texts", "chains")),
        num_cut_texts=0 if synthesize else round(scaled("cut_texts", "chains")),
        num_requests=num_requests,
        num_sampled_chains=counts["sampled_chains"],
        mean_document_tokens=(
            counts["sampled_document_tokens"] / counts["sampled_documents"] if num_requests else None
        ),
        prompt_tokens=round(scaled("prompt_tokens", "documents")),
        cached_tokens=round(scaled("cached_tokens", "documents")),
        completion_tokens=round(completion_tokens),
        text_tokens=round(text_tokens),
        pair_tokens=None if pair_tokens is None else round(pair_tokens),
        training_tokens=training_tokens,
        num_rows=max(math.ceil(training_tokens / seq_len), round(scaled("own_rows", "chains"))),
        num_verify_requests=round(scaled("verify_requests", "documents")),
        verify_prompt_tokens=round(scaled("verify_prompt_tokens", "documents")),
        verify_cached_tokens=round(scaled("verify_cached_tokens", "documents")),
        verify_completion_tokens=round(scaled("verify_completion_tokens", "documents")),
    )


def _total_of(streams: Sequence[StreamPlan]) -> StreamPlan:
    """Add up the plans of streams. Pair tokens are unknown if they are unknown in one stream."""
    values: dict[str, Any] = {
        field.name: sum(getattr(stream, field.name) or 0 for stream in streams)
        for field in dataclasses.fields(StreamPlan)
        if field.name not in ("rejects", "mean_document_tokens")
    }
    if any(stream.pair_tokens is None for stream in streams):
        values["pair_tokens"] = None
    rejects: dict[str, dict[str, int]] = {}
    for stream in streams:
        for stage, reasons in stream.rejects.items():
            rejects[stage] = dict(Counter(rejects.get(stage, {})) + Counter(reasons))
    asked = [
        (stream.mean_document_tokens, stream.num_requests)
        for stream in streams
        if stream.mean_document_tokens is not None
    ]
    num_tokens = sum(mean * count for mean, count in asked)
    mean = num_tokens / sum(count for _, count in asked) if asked else None
    return StreamPlan(**values, rejects=rejects, mean_document_tokens=mean)


def _check_usable(total: StreamPlan, known: Iterable[str]) -> None:
    """Refuse sources that hold nothing for an empty corpus, as a build does."""
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
