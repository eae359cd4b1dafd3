"""What is in a corpus, readable."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.inspect.excerpt import beginning_of
from pipelines.inspect.lineage import texts_of
from pipelines.inspect.show_duplicates import show_duplicates
from pipelines.inspect.show_row import show_row
from pipelines.runners.progress import cut_texts, parted, without_pairs
from pipelines.store.packed_rows import loss_note, read_rows
from pipelines.store.statistics import read_stats
from plugins.console import Console
from plugins.corpus_tokenizer import load_corpus_tokenizer
from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest, read_manifest


def show_corpus(arguments: argparse.Namespace) -> int:
    """Print a corpus: its streams, some texts with their lineage, some packed rows; the exit status."""
    for option in ("texts", "rows"):
        if getattr(arguments, option) < 0:
            raise ConfigError(f"--{option} is {getattr(arguments, option)}; expected at least 0.")
    manifest = read_manifest(arguments.uri, arguments.manifest)
    if arguments.duplicates is not None:
        show_duplicates(arguments, manifest)
        return 0
    if arguments.row is not None:
        show_row(arguments, manifest)
        return 0
    if arguments.json:
        print(manifest.model_dump_json(indent=2))
        return 0
    names = manifest.stream_names()
    if arguments.stream is not None and arguments.stream not in names:
        raise ConfigError(unknown_name("stream", arguments.stream, names))
    console = Console(highlight=False)
    console.print(Text(f"{arguments.uri}, manifest {manifest.number}"), soft_wrap=True)
    console.print(_overview(manifest))
    for number in manifest.numbers():
        if line := without_pairs(read_stats(arguments.uri, number)["counts"]):
            console.print(Text(f"increment {number}, {line}"), soft_wrap=True)
    if not names:
        return 0
    stream = arguments.stream or names[0]
    for text in itertools.islice(texts_of(arguments.uri, manifest, stream), arguments.texts):
        lineage = f"{text.num_pairs} pairs, {text.template}, from {', '.join(text.document_ids)}"
        shown = Text(beginning_of(text.text, whole=arguments.whole))
        console.print(Panel(shown, title=Text(f"text {text.text_id[:8]}"), subtitle=Text(lineage)))
    if arguments.rows:
        _show_rows(console, arguments, manifest, stream)
    return 0


def _overview(manifest: Manifest) -> Table:
    table = Table(
        caption="parted: pairs without their whole passage in the row; cut: texts that go on in another"
    )
    headings = ("increment", "stream", "texts", "rows", "tokens", "filled", "pairs", "parted", "cut")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stream" else "right")
    for increment in manifest.increments:
        for name, shards in increment.streams.items():
            filled = shards.num_tokens / max(shards.num_samples * manifest.seq_len, 1)
            table.add_row(
                str(increment.number),
                name,
                f"{shards.num_texts:,}",
                f"{shards.num_samples:,}",
                f"{shards.num_tokens:,}",
                f"{filled:.1%}",
                f"{shards.num_pairs:,}",
                parted(shards),
                cut_texts(shards),
            )
    return table


def _show_rows(console: Console, arguments: argparse.Namespace, manifest: Manifest, stream: str) -> None:
    tokenizer = load_corpus_tokenizer(arguments.uri, manifest)
    rows = (row for shards in manifest.shard_sets(stream) for row in read_rows(arguments.uri, shards))
    for number, row in enumerate(itertools.islice(rows, arguments.rows)):
        console.print(_row(row, tokenizer, title=f"{stream} row {number}", whole=arguments.whole))


def _row(sample: dict[str, Any], tokenizer: Any, *, title: str, whole: bool) -> Panel:
    body = Text()
    at = 0
    for length in sample["segment_lengths"].tolist():
        body.append(f"── {length} tokens{loss_note(sample, at, at + length)} ──\n", style="dim")
        text = tokenizer.decode(sample["tokens"][at : at + length])
        body.append(beginning_of(text, whole=whole) + "\n")
        at += length
    return Panel(
        body, title=title, subtitle=f"{len(sample['tokens']) - at} of {len(sample['tokens'])} padding"
    )
