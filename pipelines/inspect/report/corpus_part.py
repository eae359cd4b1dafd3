"""Part of a report about a corpus: counts of its manifest and stats.json, and a sample of what it holds.

    manifest, stats.json of each increment ─► funnel, rejects, verification, growth, cost, configuration
    rejects/, duplicates/                  ─► examples, clusters of copies
    texts/, pairs/, shards/, lineage/      ─► sampled_texts.py: lengths, kinds of pairs, texts, packed rows

Nothing is counted again that stats.json has. Cost: it reads the statistics of the newest 100 increments, at
most 5,000 rejects of a step and 5,000 texts, so that a large corpus takes seconds, too.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.inspect.report.sampled_texts import Sample, sample_texts, shown_rows
from pipelines.runners.progress import cut_texts, held_out, parted
from pipelines.store.duplicate_records import find_clusters
from pipelines.store.statistics import dropped_by_rule, stats_of
from plugins.progress import duration
from plugins.readers.presets import presets
from plugins.report.blocks import Block, Cell, Facts, Note, Part, Section, Table
from plugins.report.page import place_name, render
from plugins.report.settings import settings_of
from schemas import storage
from schemas.corpus_layout import increment_uri, rejects_uris, report_uri
from schemas.manifest import Increment, Manifest, read_manifest
from schemas.records import Reject
from schemas.secrets import public_uri
from schemas.validation import read_records

_READ_INCREMENTS = 100
_READ_REJECTS = 5000
_EXAMPLES = 2
_CLUSTERS, _COPIES = 12, 3
_GROUPED_COPIES = 1_000_000
_FUNNEL = (
    ("read/documents", "documents read"),
    ("clean/documents", "documents that passed cleaning"),
    ("taken_in", "documents taken in: new or changed, no copies, no evaluation rows"),
    ("synthesize/documents", "documents and parts asked about"),
    ("synthesize/documents_with_pairs", "documents and parts with pairs"),
)

_SIZES = {"texts": "training texts", "pairs": "pairs in them", "samples": "packed rows", "tokens": "tokens"}

Stats = Mapping[str, Any]
_Found = Sequence[tuple[Increment, Stats]]


def write_report(corpus: str, manifest: Manifest) -> None:
    """Write the report of the newest increment of a published manifest; a failure is a warning.

    The increment is whole without it, and `tutelage report` writes it at any time.
    """
    uri = report_uri(increment_uri(corpus, manifest.increments[-1].name))
    try:
        name = place_name(public_uri(corpus))
        storage.write_bytes(uri, render(f"Corpus {name}", [corpus_part(corpus, manifest)]))
    except Exception as error:  # texts of strangers must not fail a published build
        print(
            f"Warning: {uri} is not written: {type(error).__name__}: {error}. The increment is published and "
            f"whole; `tutelage report {corpus} --output report.html` makes the report.",
            file=sys.stderr,
            flush=True,
        )


def corpus_part(corpus: str, manifest: Manifest | None = None) -> Part:
    """Describe a corpus at a manifest, by default the newest.

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    manifest = manifest or read_manifest(corpus)
    newest = manifest.increments[-_READ_INCREMENTS:]
    found = [(each, stats_of(corpus, each.name)) for each in newest]
    sample = sample_texts(corpus, manifest)
    sections: dict[str, Sequence[Block]] = {
        "At a glance": _overview(corpus, manifest),
        "From documents to tokens": _funnel(manifest, found),
        "Rejects": _rejects(corpus, found),
        "Lengths": _lengths(manifest, sample),
        "Sources and licences": _sources(found[-1][1] if found else {}),
        "Copies": _copies(corpus, found),
        "Verification of pairs": _verification(found),
        "Kinds of pairs": _kinds(manifest, sample),
        "Texts": sample.blocks,
        "Packed rows": shown_rows(corpus, manifest),
        "Growth": _growth(manifest),
        "Cost": _cost(found),
        "Configuration and versions": _configuration(found),
    }
    title = f"Corpus {place_name(public_uri(corpus))}"
    return Part(title=title, sections=[Section(title=name, blocks=of) for name, of in sections.items()])


def _overview(corpus: str, manifest: Manifest) -> list[Block]:
    sets = _shard_sets(manifest)
    totals = {field: sum(getattr(each, f"num_{field}") for each in sets) for field in _SIZES}
    facts: list[tuple[str, Cell]] = [
        ("documents taken in", sum(each.num_documents for each in manifest.increments)),
        *((words, totals[field]) for field, words in _SIZES.items()),
    ]
    rows: list[Sequence[Cell]] = []
    for name in manifest.stream_names():
        sizes = [sum(getattr(each, f"num_{field}") for each in manifest.shard_sets(name)) for field in _SIZES]
        rows.append((name, *sizes, f"{sizes[-1] / max(sizes[-2] * manifest.seq_len, 1):.1%}"))
    when = manifest.created[:16].replace("T", " ")
    where = f"{public_uri(corpus)}, manifest {manifest.number}, published {when} UTC."
    head = ("stream", *_SIZES.values(), "filled")
    caption = f"Rows of {manifest.seq_len:,} tokens of {manifest.tokenizer_name}"
    table = Table(caption=caption, head=head, rows=rows, bars=(4,)) if rows else Note(text="It has no rows.")
    return [Note(text=where), Facts(facts=facts), table]


def _funnel(manifest: Manifest, found: _Found) -> list[Block]:
    counts = _total(found)
    counts["taken_in"] = sum(each.num_documents for each, _ in _built(found))
    rows: list[Sequence[Cell]] = [(words, counts[name]) for name, words in _FUNNEL if counts[name]]
    notes: list[Block] = []
    if not counts["read/documents"]:
        notes.append(Note(text="No increment of this manifest counts documents that it read."))
    if rewritten := [each for each, stats in found if each.replaces]:
        numbers = ", ".join(str(each.number) for each in rewritten)
        notes.append(
            Note(text=f"Increment {numbers} rewrites earlier ones; what those read and refused is not here.")
        )
    left_out = len(manifest.increments) - len(found)
    if left_out:
        notes.append(Note(text=f"The oldest {left_out:,} increments are not counted here and below."))
    notes += [
        Note(text=f"Increment {each.number}: {line}.") for each, _ in found[-10:] if (line := held_out(each))
    ]
    head = ("step", "number")
    documents = (
        [Table(caption="Documents, over all increments", head=head, rows=rows, bars=(1,))] if rows else []
    )
    made = [
        (words, sum(getattr(each, f"num_{field}") for each in _shard_sets(manifest)))
        for field, words in _SIZES.items()
    ]
    return [*documents, Table(caption="What they became", head=head, rows=made), *notes]


def _rejects(corpus: str, found: _Found) -> list[Block]:
    reasons: Counter[tuple[str, str]] = Counter()
    for name, count in _total(found).items():
        step, _, reason = name.partition("/rejected_")
        if reason and count:
            reasons[step, reason] += count
    if not reasons:
        return [Note(text="Nothing was refused.")]
    examples: dict[tuple[str, str], list[str]] = {}
    for increment, stats in reversed(found[-10:]):
        if any("/rejected_" in name for name in stats["counts"]):
            for uri in rejects_uris(increment_uri(corpus, increment.name)):
                for each in itertools.islice(read_records(uri, Reject), _READ_REJECTS):
                    of = examples.setdefault((each.stage, each.reason), [])
                    if len(of) < _EXAMPLES:
                        of.append(_example(each))
    rows = [
        (step, reason, count, " ‖ ".join(examples.get((step, reason), ())) or "no example among those read")
        for (step, reason), count in reasons.most_common()
    ]
    head = ("step", "reason", "records", "examples")
    return [
        Table(
            caption="Records that a step refused: documents, pairs or files", head=head, rows=rows, bars=(2,)
        )
    ]


def _example(reject: Reject) -> str:
    where = reject.document_id or public_uri(reject.source)
    said = [f"{pair.instruction} → {pair.response}" for pair in reject.pairs]
    return ": ".join(part for part in (where, reject.detail, *said) if part)[:300]


def _lengths(manifest: Manifest, sample: Sample) -> list[Block]:
    if not sample.lengths:
        return [Note(text="There are no texts.")]
    sizes = Counter(max(length, 1).bit_length() for length in sample.lengths)
    rows = [
        (f"{2 ** (bits - 1):,} to {2**bits - 1:,}", sizes[bits]) for bits in range(min(sizes), max(sizes) + 1)
    ]
    means = [
        (name, sum(each.num_tokens for each in sets) / max(sum(each.num_texts for each in sets), 1))
        for name in manifest.stream_names()
        if (sets := manifest.shard_sets(name))
    ]
    caption = f"Characters of {len(sample.lengths):,} sampled texts of {sample.num_texts:,}"
    return [
        Table(caption=caption, head=("characters", "texts"), rows=rows, bars=(1,)),
        Table(caption="Mean over all texts", head=("stream", "tokens a text"), rows=means),
    ]


def _sources(stats: Stats) -> list[Block]:
    streams = stats.get("config", {}).get("streams", {})
    rows = []
    for name, stream in streams.items():
        for source in stream.get("sources", ()):
            preset = source.get("preset")
            known = presets()[preset].license if preset in presets() else None
            kind = preset or source.get("reader") or "folder"
            rows.append((name, kind, public_uri(source.get("uri", "")), known or "not known to Tutelage"))
    if not rows:
        return [Note(text="The statistics of the newest increment name no sources.")]
    caption = "Sources of the newest configuration; licences are what publishers of known sets say"
    return [Table(caption=caption, head=("stream", "reader or set", "source", "licence"), rows=rows)]


def _copies(corpus: str, found: _Found) -> list[Block]:
    if not found:
        return [Note(text="There are no increments.")]
    increment, stats = found[-1]
    kinds = {kind: stats["counts"].get(f"dedup/rejected_{kind}_duplicate", 0) for kind in ("exact", "near")}
    number = f"The newest increment, {increment.number},"
    if not sum(kinds.values()):
        return [Note(text=f"{number} dropped no copies of documents.")]
    said = Note(
        text=f"{number} dropped {kinds['exact']:,} exact and {kinds['near']:,} near copies of documents."
    )
    if sum(kinds.values()) > _GROUPED_COPIES:
        return [said, Note(text="`tutelage corpus show URI --duplicates 20` shows the largest clusters.")]
    names = stats.get("config", {}).get("streams") or increment.streams
    clusters = [each for name in names for each in find_clusters(corpus, increment.name, name, _CLUSTERS)]
    clusters.sort(key=lambda each: -len(each.copies))
    rows = []
    for each in clusters[:_CLUSTERS]:
        shown = [
            f"{copy.document_id} ({copy.kind}{f' {copy.similarity:.2f}' if copy.similarity else ''})"
            for copy in each.copies[:_COPIES]
        ]
        more = len(each.copies) - len(shown)
        kept = each.kept_id or f"content {each.kept_content} of increment {each.kept_in}"
        rows.append((kept, len(each.copies), ", ".join(shown) + (f" and {more:,} more" if more else "")))
    caption = "Largest clusters: the document that was kept, and its copies with their similarity"
    return [said, Table(caption=caption, head=("kept", "copies", "dropped"), rows=rows, bars=(1,))]


def _verification(found: _Found) -> list[Block]:
    counts = _total(found)
    checked = counts["verify/pairs"]
    if not checked:
        return [Note(text="No pair was verified.")]
    rows: list[Sequence[Cell]] = [("kept", counts["verify/kept"], f"{counts['verify/kept'] / checked:.1%}")]
    rows += [
        (f"dropped by {rule}", count, f"{count / checked:.1%}")
        for rule, count in dropped_by_rule(counts).items()
    ]
    rows += [
        (f"kept with a mark of {name.removeprefix('verify/marked_')}", count, f"{count / checked:.1%}")
        for name, count in sorted(counts.items())
        if name.startswith("verify/marked_")
    ]
    lost = counts["verify/documents_without_pairs"]
    caption = f"{checked:,} pairs, checked against their passages"
    table = Table(caption=caption, head=("verdict", "pairs", "share"), rows=rows, bars=(1,))
    return [table, *([Note(text=f"{lost:,} documents lost all pairs.")] if lost else [])]


def _kinds(manifest: Manifest, sample: Sample) -> list[Block]:
    if not sample.kinds:
        made = sum(each.num_pairs for each in _shard_sets(manifest))
        return [
            Note(text="There are no pairs." if not made else f"Its {made:,} pairs are only inside its texts.")
        ]
    total = sample.kinds.total()
    rows = [(kind, count, f"{count / total:.1%}") for kind, count in sample.kinds.most_common()]
    caption = f"{total:,} pairs of the sampled texts"
    return [Table(caption=caption, head=("kind", "pairs", "share"), rows=rows, bars=(1,))]


def _growth(manifest: Manifest) -> list[Block]:
    rows, so_far = [], 0
    for each in manifest.increments:
        sets = each.streams.values()
        texts, pairs, tokens = (
            sum(getattr(one, f"num_{of}") for one in sets) for of in ("texts", "pairs", "tokens")
        )
        so_far += tokens
        apart = (
            ", ".join(f"{name} {parted(one)}" for name, one in each.streams.items() if one.num_pairs) or None
        )
        cut = ", ".join(f"{name} {cut_texts(one)}" for name, one in each.streams.items() if one.num_cut_texts)
        rows.append((str(each.number), each.num_documents, texts, pairs, tokens, so_far, apart, cut or None))
    head = (
        "increment",
        "documents",
        "texts",
        "pairs",
        "tokens",
        "tokens so far",
        "parted pairs",
        "cut texts",
    )
    left_out = len(rows) - _READ_INCREMENTS
    notes = (
        [Note(text=f"The oldest {left_out:,} increments are left out of the table.")] if left_out > 0 else []
    )
    caption = "Increments; parted pairs stand in a row without their whole passage"
    return [Table(caption=caption, head=head, rows=rows[-_READ_INCREMENTS:], bars=(5,)), *notes]


def _cost(found: _Found) -> list[Block]:
    rows: list[Sequence[Cell]] = []
    for increment, stats in found:
        for step in ("synthesis", "verification"):
            asked = stats.get(step) or {}
            if asked.get("requests") is not None:
                fields = ("requests", "from_journal", "failed", "prompt_tokens", "completion_tokens")
                share = f"{asked.get('cache_share', 0):.1%}"
                rows.append(
                    (
                        f"{increment.number}: {step}",
                        *(asked.get(name) for name in fields),
                        share,
                        _gpu_hours(stats, asked),
                    )
                )
    times = [
        (str(increment.number), duration(stats.get("wall_sec", 0.0)), stats.get("wall_sec"))
        for increment, stats in found
    ]
    head = (
        "step",
        "requests",
        "from journal",
        "failed",
        "prompt tokens",
        "generated tokens",
        "cached",
        "GPU hours",
    )
    asked_blocks: list[Block] = [Note(text="No increment asked a model.")]
    if rows:
        caption = "Requests to models; GPU hours are known where workers started the servers"
        asked_blocks = [Table(caption=caption, head=head, rows=rows, bars=(5,))]
    walls = Table(caption="Time of builds", head=("increment", "time", "seconds"), rows=times, bars=(2,))
    return [*asked_blocks, walls]


def _gpu_hours(stats: Stats, asked: Stats) -> float | None:
    server = (stats.get("config", {}).get("synthesis") or {}).get("server")
    if not server:
        return None
    gpus = server.get("gpus_per_server", 1) * len(asked.get("endpoints", ()))
    return float(round(gpus * asked.get("seconds", 0.0) / 3600, 3))


def _configuration(found: _Found) -> list[Block]:
    if not found:
        return [Note(text="There are no increments.")]
    stats = found[-1][1]
    settings = list(settings_of(stats.get("config", {})).items())
    blocks: list[Block] = [
        Table(caption="Versions", head=("package", "version"), rows=list(stats.get("versions", {}).items())),
    ]
    if settings:
        caption = f"Configuration {stats.get('config_hash', '')} of the newest increment"
        blocks.append(Table(caption=caption, head=("key", "value"), rows=settings, is_open=False))
    return blocks


def _total(found: _Found) -> Counter[str]:
    total: Counter[str] = Counter()
    for _, stats in _built(found):
        total.update(stats["counts"])
    return total


def _built(found: _Found) -> _Found:
    """Increments that were built from sources, in contrast to rewritten ones."""
    return [(each, stats) for each, stats in found if not each.replaces]


def _shard_sets(manifest: Manifest) -> list[Any]:
    return [shards for each in manifest.increments for shards in each.streams.values()]
