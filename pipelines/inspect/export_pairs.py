"""`corpus export-pairs`: the instruction pairs of a corpus in formats of other trainers.

    pairs/ of each increment ─► pairs of current documents ─► jsonl | alpaca | messages

The export has each pair of a current document once. It skips and counts pairs of superseded and withdrawn
documents. One pair is in memory at a time; with passages, one training text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.store.ledger import DELETED, WITHDRAWN, Ledger
from pipelines.store.pair_files import read_pairs, read_texts
from plugins.progress import tracked
from schemas import storage
from schemas.corpus_layout import PAIRS, increment_uri, text_uris
from schemas.errors import ConfigError, CorpusError, unknown_name
from schemas.manifest import Manifest, ShardSet, read_manifest
from schemas.process import drop_output
from schemas.records import StoredPair, to_json
from schemas.scratch_folder import scratch


def export_pairs(arguments: argparse.Namespace) -> int:
    """Run `corpus export-pairs`; return the exit status.

    Raises:
        ConfigError: There is no such stream.
        CorpusError: The corpus stores no pairs, or a file of it is damaged.
    """
    manifest = read_manifest(arguments.uri, arguments.manifest)
    names = manifest.stream_names()
    if arguments.stream is not None and arguments.stream not in names:
        raise ConfigError(unknown_name("stream", arguments.stream, names))
    wanted = [arguments.stream] if arguments.stream else names
    made, stored = (
        sum(getattr(shards, field) for name in wanted for shards in manifest.shard_sets(name))
        for field in ("num_pairs", "num_stored_pairs")
    )
    if made and not stored:
        raise CorpusError(f"{arguments.uri}: its {made:,} pairs are only inside its texts. {_CURE}")
    counts: Counter[str] = Counter()
    lines: Iterator[str] = (
        FORMATS[arguments.format](pair, passage)
        for name in wanted
        for pair, passage in current_pairs(
            arguments.uri, manifest, name, counts, with_passage=arguments.with_passage
        )
    )
    if arguments.output or not sys.stdout.isatty():
        lines = tracked(lines, "export-pairs", unit="pairs", total=stored)
    try:
        _write(lines, arguments.output, counts)
    except BrokenPipeError:  # the reader has enough
        drop_output()
    left_out = ", ".join(
        f"{counts[reason]:,} of {reason} documents"
        for reason in ("superseded", "withdrawn")
        if counts[reason]
    )
    print(
        f"{arguments.uri}, manifest {manifest.number}: {counts['written']:,} pairs written"
        + (f"; left out: {left_out}" if left_out else "")
        + (f". {made - stored:,} more are only inside texts. {_CURE}" if made > stored else "."),
        file=sys.stderr,
    )
    return 0


_CURE = (
    "Older versions of Tutelage did not store pairs by themselves. To export them, build a new corpus from "
    "the same YAML and copy this one's journal/ into it first, so that no answer is asked for again."
)


def current_pairs(
    corpus: str, manifest: Manifest, stream: str, counts: Counter[str], *, with_passage: bool = False
) -> Iterator[tuple[StoredPair, str]]:
    """Yield the pairs of a stream whose documents are current in a manifest, oldest increment first.

    Each comes with its passage, or "" without `with_passage`. `counts` gets the numbers of skipped pairs, as
    `superseded` and `withdrawn`.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    ledger = Ledger.open(corpus, stream, manifest.names())
    document, content = "", None
    for increment in manifest.increments:
        if stream not in increment.streams:
            continue
        shards = increment.streams[stream]
        num_read = 0
        for texts in text_uris(corpus, stream, increment.name):
            found = (
                _with_passages(texts, shards) if with_passage else ((each, "") for each in read_pairs(texts))
            )
            for pair, passage in found:
                num_read += 1
                if document != pair.document_id:
                    document, content = pair.document_id, ledger.content_of(pair.document_id)
                if content == pair.content_hash:
                    yield pair, passage
                else:
                    counts["withdrawn" if content in (WITHDRAWN, DELETED) else "superseded"] += 1
        if num_read != shards.num_stored_pairs:
            raise CorpusError(
                f"{increment_uri(corpus, increment.name)}/{PAIRS}: is damaged: it holds {num_read} pairs of "
                f"stream {stream!r}, the manifest says {shards.num_stored_pairs}. Restore it."
            )


def _with_passages(texts: str, shards: ShardSet) -> Iterator[tuple[StoredPair, str]]:
    for text in read_texts(texts, shards):
        shares = {(each.document_id, each.part): text.text[each.start : each.end] for each in text.passages}
        for pair in text.pairs:
            start, end = pair.passage_span or (0, 0)
            yield pair, shares[pair.document_id, pair.part][start:end]


def _jsonl(pair: StoredPair, passage: str) -> str:
    if not passage:
        return to_json(pair)
    return json.dumps({**json.loads(to_json(pair)), "passage": passage}, ensure_ascii=False, sort_keys=True)


def _alpaca(pair: StoredPair, passage: str) -> str:
    row = {"instruction": _question(pair), "input": passage, "output": _answer(pair)}
    return json.dumps(row, ensure_ascii=False)


def _messages(pair: StoredPair, passage: str) -> str:
    asked = f"{passage}\n\n{_question(pair)}" if passage else _question(pair)
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": _answer(pair)}]
    return json.dumps({"messages": turns}, ensure_ascii=False)


FORMATS: Mapping[str, Callable[[StoredPair, str], str]] = {
    "jsonl": _jsonl,
    "alpaca": _alpaca,
    "messages": _messages,
}
"""By format, a function that writes a pair and its passage, or "", as a line of JSON."""


def _question(pair: StoredPair) -> str:
    """The instruction with its options as A, B, C; as numbers from the 27th on."""
    names = [*string.ascii_uppercase, *map(str, range(27, len(pair.options) + 1))]
    named = zip(names, pair.options, strict=False)
    return "\n".join([pair.instruction, *(f"{name}. {option}" for name, option in named)])


def _answer(pair: StoredPair) -> str:
    return f"{pair.rationale}\n\n{pair.response}" if pair.rationale else pair.response


def _write(lines: Iterator[str], output: str | None, counts: Counter[str]) -> None:
    """Write lines to standard output, or to a file or URI that appears whole or not at all."""
    with contextlib.ExitStack() as stack:
        file: Any = sys.stdout.buffer
        if output is not None:
            file = stack.enter_context(open(f"{stack.enter_context(scratch('pairs'))}/pairs", "wb"))
        for line in lines:
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")  # JSON escapes for lone surrogates
            counts["written"] += 1
        file.flush()
        if output is not None:
            try:
                storage.upload(file.name, output)
            except OSError as error:
                raise ConfigError(f"--output {output!r} cannot be written: {error}.") from error
