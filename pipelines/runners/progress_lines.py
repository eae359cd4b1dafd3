"""What a run has done so far, in words: a line for each step and each endpoint that did something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schemas.manifest import ShardSet


def describe(counts: Counter[str], rates: Mapping[str, float] | None = None) -> list[tuple[str, str]]:
    """Describe counts, in the pipeline's order.

    Args:
        counts: Counters by `step/name`.
        rates: Of the same names, how fast each grows, per second.
    """
    growing = rates or {}
    documents = _number(counts, "read/documents")
    rejected = sum(count for name, count in counts.items() if "/rejected_" in name)
    endpoints = sorted({name.partition("@")[2] for name in counts if "@" in name})
    shown = [
        ("read", f"{documents} documents" if documents else ""),
        ("new", _number(counts, "ledger/new")),
        ("unchanged", _number(counts, "ledger/unchanged")),
        ("synthesized", _synthesized(counts, growing)),
        *_served(counts, growing, name="requests", where=""),
        *[
            line
            for endpoint in (endpoints if len(endpoints) > 1 else ())
            for line in _served(counts, growing, name=endpoint, where=f"@{endpoint}")
        ],
        ("tokenized", _with(_number(counts, "tokenize/tokens"), "tokens")),
        ("written", _with(_number(counts, "write/rows"), "rows")),
        ("rejected", f"{rejected:,}" if rejected else ""),
    ]
    return [(step, text) for step, text in shown if text]


def without_pairs(counts: Mapping[str, int]) -> str:
    """How many documents or parts of an increment have no pairs, failed ones apart; "" where all have some.

    Args:
        counts: Counters by `step/name` of a build, or of the rewriting of several increments.
    """
    step = "current" if "current/documents" in counts else "synthesize"
    empty, failed = (counts.get(f"{step}/{kind}_documents", 0) for kind in ("empty", "failed"))
    if not empty + failed:
        return ""
    num_documents = counts[f"{step}/documents"]
    return f"without pairs: {empty + failed:,} of {num_documents:,} documents, {failed:,} of them failed"


def parted(shards: ShardSet) -> str:
    """How many of a stream's pairs stand in a row without their whole passage, and their share."""
    if shards.num_parted_pairs is None:
        return "not counted"
    return f"{shards.num_parted_pairs:,} ({shards.num_parted_pairs / max(shards.num_pairs, 1):.1%})"


def cut_texts(shards: ShardSet) -> str:
    """How many of a stream's texts go on in another row."""
    return "not counted" if shards.num_cut_texts is None else f"{shards.num_cut_texts:,}"


def duration(seconds: float) -> str:
    """A length of time as a person says it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _number(counts: Mapping[str, int], name: str) -> str:
    return f"{counts[name]:,}" if counts.get(name) else ""


def _with(number: str, unit: str) -> str:
    return f"{number} {unit}" if number else ""


def _synthesized(counts: Mapping[str, int], rates: Mapping[str, float]) -> str:
    done, all_of_them = counts.get("synthesize/documents", 0), counts.get("chains/documents", 0)
    if not done and not counts.get("synthesize/requests"):
        return ""
    of_all = f" of {all_of_them:,}" if all_of_them > done else ""
    parts = [
        f"{done:,}{of_all} documents",
        f"{counts.get('synthesize/pairs', 0):,} pairs",
        _with(_number(counts, "synthesize/failed_documents"), "failed"),
        _with(_number(counts, "synthesize/empty_documents"), "without pairs"),
    ]
    speed = rates.get("synthesize/documents", 0.0)
    if of_all and speed > 0:
        parts.append(f"{duration((all_of_them - done) / speed)} left")
    return ", ".join(part for part in parts if part)


def _served(
    counts: Mapping[str, int], rates: Mapping[str, float], *, name: str, where: str
) -> list[tuple[str, str]]:
    """Requests and tokens of all endpoints, or of the one that `where` names."""

    def count(field: str) -> int:
        return counts.get(f"synthesize/{field}{where}", 0)

    def speed(field: str) -> str:
        rate = rates.get(f"synthesize/{field}{where}", 0.0)
        return f" at {rate:,.0f}/s" if rate >= 0.5 else ""

    requests = [
        f"{count('requests'):,} done",
        *(
            f"{count(field):,} {word}"
            for field, word in (
                ("in_flight", "in flight"),
                ("failed", "failed"),
                ("retried", "retried"),
                ("taken_out", "× taken out"),
                ("from_journal", "from the journal"),
            )
            if count(field)
        ),
    ]
    if count("prompt_tokens"):
        cached = f" ({count('cached_tokens') / count('prompt_tokens'):.0%} cached)"
        requests.append(f"{count('prompt_tokens'):,} tokens in{speed('prompt_tokens')}{cached}")
        requests.append(f"{count('completion_tokens'):,} out{speed('completion_tokens')}")
    return [(name, ", ".join(requests))] if len(requests) > 1 or count("requests") else []
