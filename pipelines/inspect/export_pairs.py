"""Pairs of a corpus for other trainers: `tutelage corpus export-pairs`.

    pairs/ of each increment ─► those of current documents ─► jsonl | alpaca | messages

A pair goes out once, as its document stands in the manifest: pairs of superseded and withdrawn documents are
left out and counted. One pair is in memory at a time; with passages, one training text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipelines.store.ledger import WITHDRAWN, Ledger
from pipelines.store.pair_files import read_pairs, read_texts
from schemas import storage
from schemas.errors import ConfigError, CorpusError, unknown_name
from schemas.manifest import Manifest, ShardSet, increment_uri, read_manifest, text_uris
from schemas.records import StoredPair, to_json
from schemas.scratch_folder import scratch


def export_pairs(arguments: argparse.Namespace) -> int:
    """Write the pairs of a corpus, and say on standard error how many those are; the exit status.

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
        raise CorpusError(f"{arguments.uri}: its {made:,} pairs are not stored as such. {_CURE}")
    counts: Counter[str] = Counter()
    lines = (
        FORMATS[arguments.format](pair, passage)
        for name in wanted
        for pair, passage in current_pairs(
            arguments.uri, manifest, name, counts, with_passage=arguments.with_passage
        )
    )
    try:
        _write(lines, arguments.output, counts)
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    left_out = ", ".join(
        f"{counts[reason]:,} of {reason} documents"
        for reason in ("superseded", "withdrawn")
        if counts[reason]
    )
    print(
        f"{arguments.uri}, manifest {manifest.number}: {counts['written']:,} pairs written"
        + (f"; left out: {left_out}" if left_out else "")
        + (f". {made - stored:,} more are not stored as such. {_CURE}" if made > stored else "."),
        file=sys.stderr,
    )
    return 0


_CURE = (
    "Increments built before pairs were kept hold them only inside their texts. To have them, build a new "
    "corpus from the same YAML, with this one's journal/ copied into it first: no answer is asked for again."
)


def current_pairs(
    corpus: str, manifest: Manifest, stream: str, counts: Counter[str], *, with_passage: bool = False
) -> Iterator[tuple[StoredPair, str]]:
    """The pairs of a stream whose documents are current in a manifest, oldest increment first.

    Args:
        corpus: The corpus.
        manifest: The state of it.
        stream: The stream.
        counts: Gets the number of those left out, by `superseded` and `withdrawn`.
        with_passage: Whether their passages are wanted, for which texts are read.

    Yields:
        Each with its passage, or "".

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
                    counts["withdrawn" if content == WITHDRAWN else "superseded"] += 1
        if num_read != shards.num_stored_pairs:
            raise CorpusError(
                f"{increment_uri(corpus, increment.name)}/pairs: is damaged: it holds {num_read} pairs of "
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
"""Line of JSON of a pair and its passage, or "", by format."""


def _question(pair: StoredPair) -> str:
    """The instruction with its options, in the order given, as A, B, C; from the 27th on as numbers."""
    names = [*string.ascii_uppercase, *map(str, range(27, len(pair.options) + 1))]
    named = zip(names, pair.options, strict=False)
    return "\n".join([pair.instruction, *(f"{name}. {option}" for name, option in named)])


def _answer(pair: StoredPair) -> str:
    return f"{pair.rationale}\n\n{pair.response}" if pair.rationale else pair.response


def _write(lines: Iterator[str], output: str | None, counts: Counter[str]) -> None:
    """Write lines to standard output, or to a file or URI that is seen whole or not at all."""
    with contextlib.ExitStack() as stack:
        file: Any = sys.stdout.buffer
        if output is not None:
            file = stack.enter_context(open(f"{stack.enter_context(scratch('pairs'))}/pairs", "wb"))
        for line in lines:
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")  # half an emoji, as JSON writes it
            counts["written"] += 1
        file.flush()
        if output is not None:
            try:
                storage.upload(file.name, output)
            except OSError as error:
                raise ConfigError(f"--output {output!r} cannot be written: {error}.") from error
