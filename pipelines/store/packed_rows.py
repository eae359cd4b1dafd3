"""Reading packed rows from the shards of a corpus, one shard in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.mds import rows_of
from schemas.shard_index import Damage, read_index, read_shard, row_fault


def read_rows(corpus: str, shard_set: ShardSet, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard directory in order, from row number `start` on.

    Raises:
        CorpusError: A file is missing or damaged, or a row breaks the rules of rows.
    """
    uri = storage.join(corpus, shard_set.path)
    at = 0
    for file in read_index(corpus, shard_set).shards:
        first, at = at, at + file.samples
        if at <= start:
            continue
        data = read_shard(uri, file)
        begin = max(start - first, 0)
        try:
            for number, row in enumerate(rows_of(data, file.column_names, begin), begin):
                if fault := row_fault(row, len(row["tokens"])):
                    raise CorpusError(f"row {number} {fault}")
                yield row
        except CorpusError as error:
            name = storage.join(uri, file.stored.basename)
            raise Damage(file=name, finding=f"shard is damaged: {error}").error() from None
