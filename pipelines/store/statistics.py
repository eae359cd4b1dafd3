"""What an increment cost and gave: `stats.json`.

counts       every counter of every step, by `step/name`
synthesis    requests, tokens, rates and cache share, in all and for each endpoint
decontamination   how much of each evaluation task was found
streams, config, versions, wall time
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from apache_beam.metrics.metric import MetricResults

from pipelines.runners.counters import AT_WORK
from pipelines.steps.decontaminate import read_summary
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import Manifest, increment_uri, name_of
from schemas.validation import Count, read_json

_PACKAGES = ("apache-beam", "tokenizers", "transformers", "tutelage", "zstandard")
_OF_AN_ENDPOINT = (
    *("requests", "failed", "retried", "taken_out"),
    *("prompt_tokens", "completion_tokens", "cached_tokens"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What Beam measured in a run.

    Attributes:
        counts: Counters by `step/name`.
        synthesis_sec: From the first chain taken up to the last answer.
    """

    counts: Counter[str]
    synthesis_sec: float


class _Partly(pydantic.BaseModel):
    """What of a file is used again; what else it holds stays."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True)


_Measure = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class _Synthesis(_Partly):
    requests: Count = 0
    completion_tokens: Count = 0
    completion_tokens_per_sec: _Measure = 0


class _Task(_Partly):
    rows: Count
    rows_found: Count


class _Stats(_Partly):
    counts: dict[str, Count]
    wall_sec: _Measure = 0
    synthesis: _Synthesis = _Synthesis()
    decontamination: dict[str, _Task] = pydantic.Field(default_factory=dict)


def measured(metrics: MetricResults) -> Measured:
    """Read the metrics of a finished run."""
    found = metrics.query()
    counts: Counter[str] = Counter()
    for counter in found["counters"]:
        counts[f"{counter.key.metric.namespace}/{counter.key.metric.name}"] += counter.result
    moments = [
        each.result for each in found["distributions"] if each.key.metric.name == AT_WORK and each.result
    ]
    at_work_ms = max((each.max for each in moments), default=0) - min(
        (each.min for each in moments), default=0
    )
    return Measured(counts=counts, synthesis_sec=at_work_ms / 1000)


def synthesis_stats(counts: Mapping[str, int], seconds: float) -> dict[str, Any]:
    """Requests, tokens, rates and cache share of a synthesis; empty where nothing was asked.

    Args:
        counts: Counters by `step/name`.
        seconds: How long it took.
    """
    endpoints = sorted(
        {name.partition("@")[2] for name in counts if name.startswith("synthesize/") and "@" in name}
    )
    total = _served({name: counts.get(f"synthesize/{name}", 0) for name in _OF_AN_ENDPOINT}, seconds)
    from_journal = counts.get("synthesize/from_journal", 0)
    if not total["requests"] and not total["failed"] and not from_journal:
        return {}
    return {
        "seconds": round(seconds, 3),
        "from_journal": from_journal,
        **total,
        "endpoints": {
            endpoint: _served(
                {name: counts.get(f"synthesize/{name}@{endpoint}", 0) for name in _OF_AN_ENDPOINT}, seconds
            )
            for endpoint in endpoints
        },
    }


def _served(counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """Counts with the rates that follow from them."""
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
    """Write the statistics of an increment that is about to be published; gives them, too."""
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
        "decontamination": read_summary(increment),
        "streams": {name: shards.model_dump() for name, shards in manifest.increments[-1].streams.items()},
        "config": config.model_dump(mode="json"),
        "config_hash": manifest.config_hash,
        "versions": versions,
    }
    storage.write_bytes(
        storage.join(increment, "stats.json"), json.dumps(stats, indent=2, ensure_ascii=False).encode()
    )
    return stats


def read_stats(corpus: str, number: int) -> dict[str, Any]:
    """The statistics of a published increment.

    Raises:
        CorpusError: There are none.
    """
    return stats_of(corpus, name_of(corpus, number))


def stats_of(corpus: str, name: str) -> dict[str, Any]:
    """The statistics of an increment by its name.

    Raises:
        CorpusError: There are none.
    """
    uri = storage.join(increment_uri(corpus, name), "stats.json")
    try:
        stats: dict[str, Any] = read_json(uri, _Stats).model_dump(exclude_unset=True)
    except FileNotFoundError:
        raise CorpusError(f"{uri}: is missing; the corpus is damaged. Restore it.") from None
    return stats
