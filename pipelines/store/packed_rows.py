"""Packed rows as they are stored, read one shard at a time, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.steps.loss_spans import spans_within
from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.mds import rows_of
from schemas.shard_index import LOSS_SPANS, Damage, read_index, read_shard, row_fault, stored_files


def read_rows(corpus: str, shard_set: ShardSet, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard directory in order, from one on.

    Args:
        corpus: The corpus.
        shard_set: One of its shard directories.
        start: The first row wanted.

    Raises:
        CorpusError: A file is missing or damaged, or a row breaks the rules of rows.
    """
    uri = storage.join(corpus, shard_set.path)
    at = 0
    for file in stored_files(read_index(corpus, shard_set)):
        first, at = at, at + file.num_samples
        if at <= start:
            continue
        data = read_shard(uri, file)
        begin = max(start - first, 0)
        try:
            for number, row in enumerate(rows_of(data, file.columns, begin), begin):
                if fault := row_fault(row, len(row["tokens"])):
                    raise CorpusError(f"row {number} {fault}")
                yield row
        except CorpusError as error:
            name = storage.join(uri, file.basename)
            raise Damage(file=name, finding=f"shard is damaged: {error}").error() from None


def loss_note(row: dict[str, Any], start: int, end: int) -> str:
    """How many of some of a row's tokens carry loss, in words; "" where all do."""
    if LOSS_SPANS not in row:
        return ""
    spans = spans_within(row[LOSS_SPANS], start, end)
    return f", loss on {int((spans[1::2] - spans[0::2]).sum())}"
