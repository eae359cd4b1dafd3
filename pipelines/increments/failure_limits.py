"""Limits on failures: when a run ends with an error and publishes nothing.

synthesis.max_failure_share   documents whose requests failed
synthesis.max_empty_share     documents without pairs
1 %, and 10 of them           documents or files with an unexpected exception: a bug or wrong use
none left                     sources of which no document can be used
5 in a row                    failed increments of `corpus watch`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipelines.increment import IncrementSpec
from pipelines.increments.preflight_checks import asks_a_model
from pipelines.store.statistics import dropped_by_rule
from schemas import storage
from schemas.corpus_layout import rejects_uri
from schemas.errors import InputError, SynthesisError
from schemas.manifest import ShardSet
from schemas.records import UNEXPECTED, Reject, from_json

WATCH_FAILURES = 5
"""Failures in a row that end `corpus watch`."""

_SHOWN = 3
_FEW = 10
_MOST_SHARE = 0.01
_TOO_FEW_TO_JUDGE = 50
_BEFORE_SYNTHESIS = ("read", "clean", "filter", "dedup", "decontaminate", "ledger", "tuning")


def refuse_failed(spec: IncrementSpec, counts: Mapping[str, int]) -> None:
    """Raise a SynthesisError if more than `synthesis.max_failure_share` of the documents or pairs failed."""
    allowed = spec.config.synthesis.max_failure_share
    for step, unit, ending in (("synthesize", "documents", ""), ("verify", "pairs", "_failed")):
        asked, failed = counts[f"{step}/{unit}"], counts[f"{step}/failed_{unit}"]
        if asked and failed / asked > allowed:
            raise SynthesisError(
                f"{failed} of {asked} {unit} failed, more than synthesis.max_failure_share {allowed:g}; "
                f"nothing was published. First failures: {_first(spec.increment, [step], ending=ending)}"
            )


def refuse_unexpected(increment: str, counts: Mapping[str, int], *, few: int = _FEW) -> None:
    """End a run with too many unexpected exceptions; `counts` are by `step/name`.

    Raises:
        InputError: All documents, or more than `few` and more than 1 % of them, or as many files cut short.
    """
    suffix = f"/rejected_{UNEXPECTED}"
    stages = [name.removesuffix(suffix) for name in counts if name.endswith(suffix)]
    failed = sum(counts[f"{stage}{suffix}"] for stage in stages)
    num_documents = counts.get("read/documents", 0) + counts.get(f"read{suffix}", 0)
    cut_short = counts.get("read/files_cut_short", 0)
    for found, of, what in (
        (failed, num_documents, "documents"),
        (cut_short, counts.get("read/files", 0), "files"),
    ):
        most = max(few, int(_MOST_SHARE * of))
        if found > most or (found and failed >= num_documents):
            raise InputError(
                f"{found} of {of} {what} led to unexpected errors; at most {most} may, and not all. Nothing "
                f"was published. First: {_first(increment, stages, UNEXPECTED)}"
            )


def refuse_useless_sources(spec: IncrementSpec, counts: Mapping[str, int]) -> None:
    """Raise an InputError if no document got through the first build of a corpus."""
    if counts["ledger/unchanged"] or spec.known:
        return
    if not counts["read/documents"] and not any("/rejected_" in name for name in counts):
        raise InputError("the sources hold no documents; nothing was published.")
    raise InputError(
        f"no document of the sources can be used; nothing was published. {first_rejects(spec.increment)}"
    )


def refuse_without_pairs(
    spec: IncrementSpec, counts: Mapping[str, int], streams: Mapping[str, ShardSet]
) -> None:
    """End a run in which too few documents got pairs.

    A corpus may later get a few documents without anything to ask about, and rules may find nothing in a few
    documents at any time. `--retry-empty` asks mostly about such documents.

    Raises:
        SynthesisError: None of them, or more than `synthesis.max_empty_share` are without pairs.
    """
    asked, failed = counts["synthesize/documents"], counts["synthesize/failed_documents"]
    most = spec.config.synthesis.max_empty_share
    are_few = asked < _TOO_FEW_TO_JUDGE and not failed and not spec.attempt
    if not asked or most == 1 or (are_few and (spec.known or not asks_a_model(spec.config))):
        return
    # Pairs may exist and fit no row.
    fits = any(shards.num_pairs for name, shards in streams.items() if spec.config.streams[name].synthesize)
    answered = counts["synthesize/documents_with_pairs"] if fits else 0
    if not answered or ((asked - answered) / asked > most and not spec.attempt):
        if not fits and counts["verify/pairs"] and not counts["verify/kept"]:
            dropped = ", ".join(f"{name} {count:,}" for name, count in dropped_by_rule(counts).items())
            raise SynthesisError(
                f"verify dropped all {counts['verify/pairs']:,} pairs ({dropped}); nothing was published. "
                f"First: {_first(spec.increment, ['verify'])} Check the synthesizer, or lower min_score "
                "of the rule; `verify: {}` checks nothing."
            )
        raise SynthesisError(
            f"{asked - answered} of {asked} documents got no pairs, more than synthesis.max_empty_share "
            f"{most:g} allows; nothing was published. Check the synthesizer (model, protocol, prompt) and "
            "run again. Answers so far are in the journal: if the settings stay the same, add --retry-empty. "
            "If there is nothing to ask about such documents, set synthesis.max_empty_share: 1."
        )


def first_rejects(increment: str) -> str:
    """The first rejects of the steps before synthesis, as a sentence of a message."""
    return f"First rejects: {_first(increment, _BEFORE_SYNTHESIS)}"


def _first(increment: str, stages: Iterable[str], reason: str | None = None, *, ending: str = "") -> str:
    """The first rejects of some steps, in order; with a reason or its ending, only those of it."""
    shown: list[str] = []
    for stage in stages:
        uri = rejects_uri(increment, stage)
        if storage.exists(uri):
            for line in storage.read_lines_zst(uri):
                reject = from_json(Reject, line)
                if reason in (None, reject.reason) and reject.reason.endswith(ending):
                    shown.append(f"{reject.source}: {reject.reason} ({reject.detail})")
    more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return "; ".join(shown[:_SHOWN]) + more + "."
