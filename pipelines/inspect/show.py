"""`corpus show`: the streams of a corpus, sample texts, packed rows, and clusters of dropped copies.

(default)      a table of all streams, some texts with their lineage, some packed rows
--row          one packed row, segment by segment, with the texts and documents of each segment
--duplicates   documents that the newest increment kept, and the copies dropped for them
--pairs        pairs with their passages and verdicts (show_pairs.py)
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.inspect.lineage import Row, Segment, find_row, parse_row, texts_of
from pipelines.inspect.show_pairs import show_pairs
from pipelines.runners.progress import cut_texts, held_out, parted, without_pairs
from pipelines.steps.loss_spans import spans_within
from pipelines.store.duplicate_records import Cluster, find_clusters
from pipelines.store.packed_rows import read_rows
from pipelines.store.statistics import dropped_phrase, stats_of
from plugins.console import Console
from plugins.corpus_tokenizer import load_corpus_tokenizer
from schemas.errors import ConfigError, CorpusError, unknown_name
from schemas.manifest import Manifest, read_manifest
from schemas.records import Passage
from schemas.shard_index import LOSS_SPANS

_SHOWN_CHARACTERS = 2000
_SHOWN_COPIES = 20
_PAGES_AT_THE_END = re.compile(r":pages? [\d-]+$")


def show(arguments: argparse.Namespace) -> int:
    """Run `corpus show`; return the exit status.

    Raises:
        ConfigError: There is no such stream or row, or a number is too small.
        CorpusError: A file of the corpus is missing or damaged.
    """
    for option, least in (("texts", 0), ("rows", 0), ("duplicates", 1), ("pairs", 1)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ConfigError(f"--{option} is {value}; expected at least {least}.")
    if arguments.pairs is None and (arguments.rule is not None or arguments.worst):
        raise ConfigError("--rule and --worst choose pairs; add --pairs N.")
    chosen = [name for name in ("pairs", "duplicates", "row") if getattr(arguments, name) is not None]
    if len(chosen) > 1:
        raise ConfigError(f"--{chosen[0]} and --{chosen[1]} show different things; give one of them.")
    manifest = read_manifest(arguments.uri, arguments.manifest)
    if arguments.row is not None:
        _show_row(arguments, manifest)
        return 0
    streams = manifest.stream_names()
    if arguments.stream is not None:
        if arguments.stream not in streams:
            raise ConfigError(unknown_name("stream", arguments.stream, streams))
        streams = [arguments.stream]
    if arguments.pairs is not None:
        show_pairs(arguments, manifest, streams)
    elif arguments.duplicates is not None:
        _show_duplicates(arguments, manifest, streams)
    elif arguments.json:
        print(manifest.model_dump_json(indent=2))
    else:
        _show_corpus(arguments, manifest, streams)
    return 0


def _show_corpus(arguments: argparse.Namespace, manifest: Manifest, streams: Sequence[str]) -> None:
    """Print the table of streams, and texts and rows of the first of `streams`."""
    console = Console(highlight=False)
    console.print(Text(f"{arguments.uri}, manifest {manifest.number}"), soft_wrap=True)
    console.print(_overview(manifest))
    for increment in manifest.increments:
        counts = stats_of(arguments.uri, increment.name)["counts"]
        for line in filter(None, (held_out(increment), without_pairs(counts), dropped_phrase(counts))):
            console.print(Text(f"increment {increment.number}, {line}"), soft_wrap=True)
    if not streams:
        return
    for text in itertools.islice(texts_of(arguments.uri, manifest, streams[0]), arguments.texts):
        lineage = f"{text.num_pairs} pairs, {text.template}, from {', '.join(text.document_ids)}"
        shown = Text(beginning_of(text.text, whole=arguments.whole))
        console.print(Panel(shown, title=Text(f"text {text.text_id[:8]}"), subtitle=Text(lineage)))
    if not arguments.rows:
        return
    tokenizer = load_corpus_tokenizer(arguments.uri, manifest)
    rows = (row for shards in manifest.shard_sets(streams[0]) for row in read_rows(arguments.uri, shards))
    for number, row in enumerate(itertools.islice(rows, arguments.rows)):
        heads = [f"── {length} tokens" for length in row["segment_lengths"].tolist()]
        console.print(_panel(row, tokenizer, heads, f"{streams[0]} row {number}", whole=arguments.whole))


def _overview(manifest: Manifest) -> Table:
    table = Table(
        caption="parted: pairs without their whole passage in the row; cut: texts that continue in another"
    )
    headings = ("increment", "stream", "texts", "rows", "tokens", "filled", "pairs", "parted", "cut")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stream" else "right")
    for increment in manifest.increments:
        for name, shards in increment.streams.items():
            filled = shards.num_tokens / max(shards.num_samples * manifest.seq_len, 1)
            table.add_row(
                *(str(increment.number), name, f"{shards.num_texts:,}", f"{shards.num_samples:,}"),
                *(f"{shards.num_tokens:,}", f"{filled:.1%}", f"{shards.num_pairs:,}"),
                *(parted(shards), cut_texts(shards)),
            )
    return table


def _show_row(arguments: argparse.Namespace, manifest: Manifest) -> None:
    if not manifest.stream_names():
        raise ConfigError(f"--row {arguments.row}: {arguments.uri} has no rows.")
    row = find_row(arguments.uri, manifest, *parse_row(arguments.row, manifest))
    shards = next(each for each in manifest.shard_sets(row.stream) if each.path == row.shards)
    sample = next(read_rows(arguments.uri, shards, row.index_in_shards))
    lengths = [segment.end - segment.start for segment in row.segments]
    stored = sample["segment_lengths"].tolist()
    if stored != lengths:
        raise CorpusError(
            f"{arguments.uri}: row {row.stream}:{row.index} has segments of {stored} tokens, its "
            f"lineage says {lengths}. One of the two is damaged: restore the increment of {row.shards}."
        )
    tokenizer = load_corpus_tokenizer(arguments.uri, manifest)
    if arguments.json:
        print(json.dumps(_as_json(row, sample, tokenizer), indent=2, ensure_ascii=False))
        return
    heads = [
        f"── tokens {each.start} to {each.end} of {each.num_tokens} of text {each.text.text_id}"
        for each in row.segments
    ]
    title, notes = f"{row.stream} row {row.index}", [_origin(segment) for segment in row.segments]
    panel = _panel(sample, tokenizer, heads, title, notes, whole=arguments.whole)
    Console(highlight=False).print(panel)


def _panel(
    sample: dict[str, Any],
    tokenizer: Any,
    heads: Sequence[str],
    title: str,
    notes: Sequence[str] | None = None,
    *,
    whole: bool,
) -> Panel:
    """Decode a row segment by segment, each below its head and note."""
    body, at = Text(), 0
    for number, length in enumerate(sample["segment_lengths"].tolist()):
        head = f"{heads[number]}{_loss_note(sample, at, at + length)} ──\n"
        body.append(head + (notes[number] if notes else ""), style="dim")
        text = tokenizer.decode(sample["tokens"][at : at + length])
        body.append(f"{beginning_of(text, whole=whole)}\n")
        at += length
    num_tokens = len(sample["tokens"])
    return Panel(body, title=Text(title), subtitle=f"{num_tokens - at} of {num_tokens} padding")


def _loss_note(row: dict[str, Any], start: int, end: int) -> str:
    """Number of tokens with loss between two positions of a row; "" for a row whose tokens all have loss."""
    if LOSS_SPANS not in row:
        return ""
    spans = spans_within(row[LOSS_SPANS], start, end)
    return f", loss on {int((spans[1::2] - spans[0::2]).sum())}"


def _origin(segment: Segment) -> str:
    text, place = segment.text, segment.place
    lines = [
        f"{text.template}, {text.num_pairs} pairs; increment {place.increment}, "
        f"group {place.group}, text {place.position}",
        *map(passage_line, text.passages),
    ]
    return "".join(f"   {line}\n" for line in lines)


def _as_json(row: Row, sample: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    segments, at = [], 0
    for segment in row.segments:
        length = segment.end - segment.start
        decoded = tokenizer.decode(sample["tokens"][at : at + length])
        segments.append({**dataclasses.asdict(segment), "decoded": decoded})
        at += length
    return {**dataclasses.asdict(row), "segments": segments, "padding": len(sample["tokens"]) - at}


def _show_duplicates(arguments: argparse.Namespace, manifest: Manifest, streams: Sequence[str]) -> None:
    newest, most = manifest.increments[-1], arguments.duplicates
    clusters = [each for name in streams for each in find_clusters(arguments.uri, newest.name, name, most)]
    clusters.sort(key=lambda cluster: (-len(cluster.copies), cluster.kept_id, cluster.kept_content))
    del clusters[most:]
    if arguments.json:
        found = {"increment": newest.number, "clusters": [dataclasses.asdict(each) for each in clusters]}
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if not clusters:
        console.print(Text(f"Increment {newest.number} dropped no copies of documents."))
    for cluster in clusters:
        count = len(cluster.copies)
        copies = f"{count:,} {'copy' if count == 1 else 'copies'}"
        title = f"{cluster.stream}: kept {_kept(cluster)}; dropped {copies}"
        table = Table(title=Text(title), title_justify="left")
        for heading in ("copy", "source", "kind", "similarity"):
            table.add_column(heading, justify="right" if heading == "similarity" else "left", overflow="fold")
        for copy in cluster.copies[:_SHOWN_COPIES]:
            alike = "" if copy.similarity is None else f"{copy.similarity:.2f}"
            table.add_row(Text(copy.document_id), Text(copy.source), copy.kind, alike)
        console.print(table)
        if count > _SHOWN_COPIES:
            console.print(Text(f"and {count - _SHOWN_COPIES:,} more; --json shows them all"))


def _kept(cluster: Cluster) -> str:
    if not cluster.kept_id:
        return f"content {cluster.kept_content} of increment {cluster.kept_in}"
    since = f", of increment {cluster.kept_in}" if cluster.kept_in else ""
    return f"{cluster.kept_id!r} from {cluster.kept_source}{since}"


def passage_line(passage: Passage) -> str:
    """One line about a document's share of a text: name, part, pages, source, pairs, generation."""
    part = f" part {passage.part}" if passage.part else ""
    if pages := named_pages([passage.pages]):
        file = posixpath.basename(_PAGES_AT_THE_END.sub("", passage.source.removesuffix(part)))
        part += f", {pages} of {file},"
    made = [f"{passage.num_pairs} pairs"]
    if passage.generation:
        made.append(f"generation {passage.generation}")
    if passage.failure:
        made.append(f"no answer: {passage.failure}")
    return f"{passage.document_id}{part} from {passage.source}, {', '.join(made)}"


def named_pages(ranges: Iterable[str]) -> str:
    """`page 12` for `12`, `pages 11 to 13` for `11-12` and `12-13`, "" without pages."""
    numbers = [int(number) for each in ranges for number in each.split("-") if number]
    first, last = min(numbers, default=0), max(numbers, default=0)
    return f"pages {first} to {last}" if first < last else f"page {first}" if numbers else ""


def beginning_of(text: str, *, whole: bool) -> str:
    """The first 2,000 characters of a text and the number of the others; the whole text if `whole`."""
    rest = len(text) - _SHOWN_CHARACTERS
    if whole or rest <= 0:
        return text
    return f"{text[:_SHOWN_CHARACTERS]} …\n[{rest:,} characters more; --whole shows them]"
