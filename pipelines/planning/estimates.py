"""What a plan answers: counts of each stream, and the estimates that follow from them and a sample."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.planning.assumptions import Answers, Speed


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What a build would do for one stream, or for all of them. None is what cannot be known.

    Attributes:
        num_files: Files to read: new or changed ones.
        num_read: Documents in them.
        num_new: Documents that would be taken in, changed ones included.
        num_changed: Those of them that supersede an older text.
        num_unchanged: Documents in those files that the corpus holds already.
        num_rejected: Records that go no further.
        rejects: The same by stage and reason.
        num_split: Documents that are cut into parts.
        num_parts: The parts.
        num_chains: Chains; 0 without synthesis.
        num_texts: Training texts, estimated.
        num_cut_texts: Those of them that are longer than a row and go on in another one, estimated; 0 with
            synthesis, which makes its texts fit.
        num_requests: Requests to the synthesizer, at most, repairs not included.
        num_sampled_chains: Chains, or without synthesis documents, that tokens are estimated from.
        mean_document_tokens: Of a document or part, to the synthesizer.
        prompt_tokens: Tokens of all prompts.
        cached_tokens: Those of them that an ideal prefix cache has.
        completion_tokens: Tokens generated.
        text_tokens: Tokens of the documents, to the model that is trained.
        pair_tokens: Tokens of the pairs, to the same.
        training_tokens: Tokens of the training texts.
        num_rows: Rows of `pack.seq_len` tokens that these fill, at least.
    """

    num_files: int
    num_read: int
    num_new: int
    num_changed: int
    num_unchanged: int
    num_rejected: int
    rejects: dict[str, dict[str, int]]
    num_split: int
    num_parts: int
    num_chains: int
    num_texts: int
    num_cut_texts: int
    num_requests: int
    num_sampled_chains: int
    mean_document_tokens: float | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    text_tokens: int
    pair_tokens: int | None
    training_tokens: int
    num_rows: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class IncrementPlan:
    """What a build would do.

    Attributes:
        corpus: URI of the corpus.
        increment: Number of the increment.
        seq_len: Tokens of a row.
        streams: By stream.
        total: Of all streams.
        answers: How long answers are taken to be; None where nothing is asked.
        speed: How fast they are taken to come; None where nothing says so.
        synthesis_hours: How long the synthesis takes; None where no speed is known.
    """

    corpus: str
    increment: int
    seq_len: int
    streams: dict[str, StreamPlan]
    total: StreamPlan
    answers: Answers | None
    speed: Speed | None
    synthesis_hours: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values under stable names."""
        return dataclasses.asdict(self)


def plan_stream(
    counts: Mapping[str, int],
    *,
    num_files: int,
    synthesize: bool,
    answers: Answers | None,
    num_ends: int,
    seq_len: int,
) -> StreamPlan:
    """Work out one stream.

    Args:
        counts: What was counted, and what was measured of the sample, as `plan.py` names it;
            rejects by `stage/reason`.
        num_files: Files of the stream.
        synthesize: Whether pairs are written about its documents.
        answers: How long answers are taken to be; None where nothing is asked.
        num_ends: Tokens put around a training text: BOS, EOS.
        seq_len: Tokens of a row.
    """

    def scaled(name: str, by: str) -> float:
        """What the sample says of `name`, for all of the stream."""
        sampled = counts.get(f"sampled_{by}", 0)
        return counts.get(f"sampled_{name}", 0) * counts.get(by, 0) / sampled if sampled else 0.0

    rejects: dict[str, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        stage, slash, reason = name.partition("/")
        if slash:
            rejects.setdefault(stage, {})[reason] = count
    num_requests = counts.get("documents", 0) if answers else 0
    completion_tokens = num_requests * answers.mean_completion_tokens if answers else 0.0
    pair_tokens: float | None = 0.0
    if synthesize:
        asked_tokens = counts.get("sampled_document_tokens", 0)
        per_token = counts.get("sampled_text_tokens", 0) / asked_tokens if asked_tokens else 1.0
        pair_tokens = completion_tokens * per_token if answers else None
    text_tokens = scaled("text_tokens", "characters")
    training_tokens = round(text_tokens + (pair_tokens or 0) + num_ends * scaled("texts", "chains"))
    gone = sum(sum(reasons.values()) for stage, reasons in rejects.items() if stage != "read")
    return StreamPlan(
        num_files=num_files,
        num_read=counts.get("read", 0),
        num_new=counts.get("new", 0),
        num_changed=counts.get("changed", 0),
        num_unchanged=counts.get("read", 0) - gone - counts.get("new", 0),
        num_rejected=sum(sum(reasons.values()) for reasons in rejects.values()),
        rejects=rejects,
        num_split=counts.get("split", 0),
        num_parts=counts.get("parts", 0),
        num_chains=counts.get("chains", 0) if synthesize else 0,
        num_texts=round(scaled("texts", "chains")),
        num_cut_texts=0 if synthesize else round(scaled("cut_texts", "chains")),
        num_requests=num_requests,
        num_sampled_chains=counts.get("sampled_chains", 0),
        mean_document_tokens=(
            counts.get("sampled_document_tokens", 0) / counts["sampled_documents"] if num_requests else None
        ),
        prompt_tokens=round(scaled("prompt_tokens", "documents")),
        cached_tokens=round(scaled("cached_tokens", "documents")),
        completion_tokens=round(completion_tokens),
        text_tokens=round(text_tokens),
        pair_tokens=None if pair_tokens is None else round(pair_tokens),
        training_tokens=training_tokens,
        num_rows=max(math.ceil(training_tokens / seq_len), round(scaled("own_rows", "chains"))),
    )


def total_of(streams: Iterable[StreamPlan]) -> StreamPlan:
    """Add streams up. Pair tokens that are not known of one stream are not known of all."""
    each = list(streams)
    values: dict[str, Any] = {
        field.name: sum(getattr(stream, field.name) or 0 for stream in each)
        for field in dataclasses.fields(StreamPlan)
        if field.name not in ("rejects", "mean_document_tokens", "pair_tokens")
    }
    rejects: dict[str, dict[str, int]] = {}
    for stream in each:
        for stage, reasons in stream.rejects.items():
            for reason, count in reasons.items():
                rejects.setdefault(stage, {}).setdefault(reason, 0)
                rejects[stage][reason] += count
    asked = [stream for stream in each if stream.mean_document_tokens is not None]
    known = [stream.pair_tokens for stream in each if stream.pair_tokens is not None]
    return StreamPlan(
        **values,
        rejects=rejects,
        mean_document_tokens=(
            sum((stream.mean_document_tokens or 0) * stream.num_requests for stream in asked)
            / sum(stream.num_requests for stream in asked)
            if asked
            else None
        ),
        pair_tokens=sum(known) if len(known) == len(each) else None,
    )


def synthesis_hours(total: StreamPlan, speed: Speed | None) -> float | None:
    """How long the synthesis takes, or None where nothing says how fast."""
    if not total.num_requests:
        return 0.0
    if speed is None:
        return None
    return speed.hours(num_requests=total.num_requests, completion_tokens=total.completion_tokens)
