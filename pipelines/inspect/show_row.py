"""One packed row, decoded, with all that it is made of."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from rich.panel import Panel
from rich.text import Text

from pipelines.inspect.excerpt import beginning_of
from pipelines.inspect.lineage import Row, Segment, find_row, parse_row
from pipelines.store.packed_rows import loss_note, read_rows
from plugins.console import Console
from plugins.corpus_tokenizer import load_corpus_tokenizer
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Manifest
from schemas.records import Passage


def show_row(arguments: argparse.Namespace, manifest: Manifest) -> None:
    """Print a row segment by segment: its tokens as text, the training text they are of, and its documents.

    Raises:
        ConfigError: There is no such row.
        CorpusError: A file of the corpus is missing or damaged.
    """
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
    decoded, notes, at = [], [], 0
    for length in lengths:
        notes.append(loss_note(sample, at, at + length))
        decoded.append(tokenizer.decode(sample["tokens"][at : at + length]))
        at += length
    if arguments.json:
        print(json.dumps(_as_json(row, decoded, manifest.seq_len - at), indent=2, ensure_ascii=False))
        return
    body = Text()
    for segment, note, text in zip(row.segments, notes, decoded, strict=True):
        body.append(_heading(segment, note), style="dim")
        body.append(f"{beginning_of(text, whole=arguments.whole)}\n")
    Console(highlight=False).print(
        Panel(
            body,
            title=Text(f"{row.stream} row {row.index}"),
            subtitle=f"{manifest.seq_len - at} of {manifest.seq_len} padding",
        )
    )


def passage_line(passage: Passage) -> str:
    """A document's share of a text in one line: name, part, source, pairs, generation."""
    part = f" part {passage.part}" if passage.part else ""
    made = [f"{passage.num_pairs} pairs"]
    if passage.generation:
        made.append(f"generation {passage.generation}")
    if passage.failure:
        made.append(f"no answer: {passage.failure}")
    return f"{passage.document_id}{part} from {passage.source}, {', '.join(made)}"


def _heading(segment: Segment, note: str) -> str:
    text, place = segment.text, segment.place
    lines = [
        f"── tokens {segment.start} to {segment.end} of {segment.num_tokens} of text {text.text_id}{note} ──",
        f"   {text.template}, {text.num_pairs} pairs; increment {place.increment}, "
        f"group {place.group}, text {place.position}",
        *(f"   {passage_line(passage)}" for passage in text.passages),
    ]
    return "".join(f"{line}\n" for line in lines)


def _as_json(row: Row, decoded: list[str], padding: int) -> dict[str, Any]:
    segments = [
        {**dataclasses.asdict(segment), "decoded": text}
        for segment, text in zip(row.segments, decoded, strict=True)
    ]
    return {**dataclasses.asdict(row), "segments": segments, "padding": padding}
