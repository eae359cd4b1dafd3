"""Statistics of an increment: `stats.json`.

counts            every counter of every step, by `step/name`
synthesis         requests, tokens, rates and cache share, in total and for each endpoint
verification      pairs, and the share that each rule of `verify` dropped; requests, tokens and rates as above
decontamination   rows found of each evaluation task
streams, held_out, config, versions, wall time
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from pipelines.runners.counters import AT_WORK
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import decontamination_uri, increment_uri, stats_uri
from schemas.errors import CorpusError
from schemas.manifest import Manifest
from schemas.validation import Count, read_json

if TYPE_CHECKING:
    from apache_beam.metrics.metric import MetricResults

_PACKAGES = ("apache-beam", "tokenizers", "transformers", "tutelage", "zstandard")
_OF_AN_ENDPOINT = (
    *("requests", "failed", "retried", "taken_out"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Metrics of a run."""

    counts: Counter[str]  # by `step/name`
    synthesis_sec: float  # from the start of the first chain to the last answer
    verification_sec: float = 0.0  # the same of `verify`


class _Partly(pydantic.BaseModel):
    """Keys of a file that a reader uses; the file may have others."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True)


_Measure = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class _Synthesis(_Partly):
    requests: Count = 0
    from_journal: Count = 0
    failed: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    completion_tokens_per_sec: _Measure = 0
    cache_share: _Measure = 0
    seconds: _Measure = 0
    endpoints: dict[str, Any] = pydantic.Field(default_factory=dict)


class _Source(_Partly):
    uri: str = ""
    reader: str | None = None
    preset: str | None = None


class _Stream(_Partly):
    sources: list[_Source] = pydantic.Field(default_factory=list)


class _Server(_Partly):
    gpus_per_server: Count = 1


class _SynthesisConfig(_Partly):
    server: _Server | None = None


class _Config(_Partly):
    streams: dict[str, _Stream] = pydantic.Field(default_factory=dict)
    synthesis: _SynthesisConfig = _SynthesisConfig()


class _Task(_Partly):
    rows: Count
    rows_found: Count


class _Stats(_Partly):
    counts: dict[str, Count]
    wall_sec: _Measure = 0
    synthesis: _Synthesis = _Synthesis()
    verification: _Synthesis = _Synthesis()
    config: _Config = _Config()
    config_hash: str = ""
    versions: dict[str, str] = pydantic.Field(default_factory=dict)
    decontamination: dict[str, _Task] = pydantic.Field(default_factory=dict)


def measured(metrics: MetricResults) -> Measured:
    """Read the metrics of a finished run."""
    found = metrics.query()
    counts: Counter[str] = Counter()
    for counter in found["counters"]:
        counts[f"{counter.key.metric.namespace}/{counter.key.metric.name}"] += counter.result
    moments: dict[str, list[Any]] = {}
    for each in found["distributions"]:
        if each.key.metric.name == AT_WORK and each.result:
            moments.setdefault(each.key.metric.namespace, []).append(each.result)
    seconds = {
        step: (max(each.max for each in of_step) - min(each.min for each in of_step)) / 1000
        for step, of_step in moments.items()
    }
    return Measured(
        counts=counts,
        synthesis_sec=seconds.get("synthesize", 0.0),
        verification_sec=seconds.get("verify", 0.0),
    )


def dropped_by_rule(counts: Mapping[str, int]) -> dict[str, int]:
    """Pairs that each rule of `verify` dropped, and as `RULE_failed` those without a verdict of it."""
    names = {name: name.removeprefix("verify/rejected_") for name in sorted(counts)}
    return {rule: counts[name] for name, rule in names.items() if rule not in (name, "damaged_journal_line")}


def dropped_phrase(counts: Mapping[str, int]) -> str:
    """Phrase the pairs of a build that `verify` checked and dropped, by rule; "" without verification."""
    checked = counts.get("verify/pairs", 0)
    if not checked:
        return ""
    marked = {
        name.removeprefix("verify/marked_"): count
        for name, count in sorted(counts.items())
        if name.startswith("verify/marked_")
    }

    def by_rule(found: Mapping[str, int]) -> str:
        return ", ".join(
            f"{rule} {count:,} ({count / checked:.1%})" for rule, count in found.items() if count
        )

    dropped = dropped_by_rule(counts)
    total = sum(dropped.values())
    phrase = f"verified: {checked:,} pairs, {total:,} dropped ({total / checked:.1%})"
    phrase += f": {by_rule(dropped)}" if total else ""
    phrase += f"; kept with a mark: {by_rule(marked)}" if marked else ""
    lost = counts.get("verify/documents_without_pairs", 0)
    return phrase + (f"; {lost:,} documents lost all pairs" if lost else "")


def _verification_stats(found: Measured) -> dict[str, Any]:
    """Pairs, shares by rule, and requests of `verify`; empty if nothing was verified."""
    counts = found.counts
    checked = counts["verify/pairs"]
    if not checked:
        return {}
    dropped = dropped_by_rule(counts)
    return {
        "pairs": checked,
        "kept": counts["verify/kept"],
        "dropped": dropped,
        "share_dropped": {rule: round(count / checked, 4) for rule, count in dropped.items()},
        **synthesis_stats(counts, found.verification_sec, step="verify"),
    }


def synthesis_stats(counts: Mapping[str, int], seconds: float, step: str = "synthesize") -> dict[str, Any]:
    """Requests, tokens, rates and cache share of a step; empty if no model was asked."""
    endpoints = sorted(
        {name.partition("@")[2] for name in counts if name.startswith(f"{step}/") and "@" in name}
    )
    total = _served({name: counts.get(f"{step}/{name}", 0) for name in _OF_AN_ENDPOINT}, seconds)
    from_journal = counts.get(f"{step}/from_journal", 0)
    if not total["requests"] and not total["failed"] and not from_journal:
        return {}
    return {
        "seconds": round(seconds, 3),
        "from_journal": from_journal,
        **total,
        "endpoints": {
            endpoint: _served(
                {name: counts.get(f"{step}/{name}@{endpoint}", 0) for name in _OF_AN_ENDPOINT}, seconds
            )
            for endpoint in endpoints
        },
    }


def _served(counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """Counts with their rates."""
    share = counts["cached_tokens"] / counts["prompt_tokens"] if counts["prompt_tokens"] else 0.0
    rates = {
        f"{name}_per_sec": round(counts[name] / seconds, 3)
        for name in ("requests", "prompt_tokens", "completion_tokens")
        if seconds > 0
    }
    return {**counts, "cache_share": round(share, 4), **rates}


def write_stats(
    increment: str, config: CorpusConfig, manifest: Manifest, found: Measured, *, wall_sec: float
) -> dict[str, Any]:
    """Write the statistics of an increment before its publication, and return them."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    stats: dict[str, Any] = {
        "number": manifest.number,
        "created": manifest.created,
        "wall_sec": round(wall_sec, 3),
        "counts": {name: count for name, count in sorted(found.counts.items()) if "@" not in name},
        "synthesis": synthesis_stats(found.counts, found.synthesis_sec),
        **({"verification": verification} if (verification := _verification_stats(found)) else {}),
        "decontamination": _decontamination(increment),
        "streams": {name: shards.model_dump() for name, shards in manifest.increments[-1].streams.items()},
        "held_out": manifest.increments[-1].num_held_out,
        "config": config.model_dump(mode="json"),
        "config_hash": manifest.config_hash,
        "versions": versions,
    }
    storage.write_bytes(stats_uri(increment), json.dumps(stats, indent=2, ensure_ascii=False).encode())
    return stats


def stats_of(corpus: str, name: str) -> dict[str, Any]:
    """Statistics of a published increment, by its name.

    Raises:
        CorpusError: The file is missing or damaged.
    """
    uri = stats_uri(increment_uri(corpus, name))
    try:
        stats: dict[str, Any] = read_json(uri, _Stats).model_dump(exclude_unset=True)
    except FileNotFoundError:
        raise CorpusError(f"{uri}: is missing; the corpus is damaged. Restore it.") from None
    return stats


def _decontamination(increment: str) -> dict[str, dict[str, Any]]:
    """Read the report of an increment by task, without the rows; empty if no task was named."""
    uri = decontamination_uri(increment)
    if not storage.exists(uri):
        return {}
    tasks: dict[str, dict[str, Any]] = json.loads(storage.read_bytes(uri))["tasks"]
    return {
        name: {key: value for key, value in task.items() if key != "found"} for name, task in tasks.items()
    }
