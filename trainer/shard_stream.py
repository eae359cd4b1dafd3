"""A shard directory of a corpus as Streaming reads it.

The corpus is only ever read. Shards are fetched through fsspec, checked and decompressed into a
cache directory of their own, because Streaming would decompress a local corpus in place.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

from streaming import Stream
from streaming.base.compression import decompress

from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.records import digest
from schemas.shards import read_index
from trainer.shards import check_hash, index_fingerprint


class ShardStream(Stream):  # type: ignore[misc, unused-ignore]
    """A shard directory of a corpus, fetched through fsspec into a cache directory.

    Streaming sees a stream that is wholly local (no `remote`), whose missing files this class
    supplies: from any file system, checked for size and hash, written whole under their final name,
    so that two runs may share a cache.

    Args:
        corpus: URI of the corpus.
        shard_set: The directory in it.
        cache_dir: Under which shards are cached, in a folder named after the index's content.
        num_rows: Rows an epoch takes.
        name_row: Says of a row, by its number in the directory, where in the corpus it lies.
    """

    def __init__(
        self,
        corpus: str,
        shard_set: ShardSet,
        *,
        cache_dir: str,
        num_rows: int,
        name_row: Callable[[int], str] = str,
    ):
        self.name_row = name_row
        self.uri = storage.join(corpus, shard_set.path)
        index = read_index(corpus, shard_set)
        local = os.path.join(cache_dir, digest(self.uri, size_bytes=8) + "-" + index_fingerprint(index)[:16])
        super().__init__(local=local, choose=num_rows)
        index_path = os.path.join(local, "index.json")
        if not os.path.exists(index_path):
            write_whole(index_path, storage.read_bytes(storage.join(self.uri, "index.json")))

    def apply_default(self, default: dict[str, Any]) -> None:
        """Take the dataset's defaults; compressed files are never kept."""
        super().apply_default(default)
        self.safe_keep_zip = False

    def set_up_local(self, shards: list[Any], cache_usage_per_shard: Any) -> None:
        """Drop cached files of a wrong size, then let Streaming see what is there."""
        for raw, _ in (pair for shard in shards for pair in shard.file_pairs):
            path = os.path.join(self.local, raw.basename)
            if os.path.exists(path) and os.path.getsize(path) != raw.bytes:
                os.unlink(path)
        super().set_up_local(shards, cache_usage_per_shard)

    def _prepare_shard_part(self, raw_info: Any, zip_info: Any = None, compression: str | None = None) -> int:
        """Fetch one shard file if the cache lacks it; returns the bytes by which the cache grew."""
        path = os.path.join(self.local, raw_info.basename)
        if os.path.exists(path):
            return 0
        info = zip_info or raw_info
        name = f"{self.uri}/{info.basename}"
        try:
            data = storage.read_bytes(name)
        except OSError as error:
            raise CorpusError(f"{name}: shard cannot be read: {error}.") from error
        if len(data) != info.bytes:
            raise CorpusError(f"{name}: shard has {len(data)} bytes, its index says {info.bytes}.")
        check_hash(name, [data], info.hashes or {})
        if zip_info is not None:
            try:
                data = decompress(compression, data)
            except Exception as error:  # each compression library raises its own
                raise CorpusError(
                    f"{name}: shard cannot be decompressed ({compression}): {error}."
                ) from error
        if len(data) != raw_info.bytes:
            raise CorpusError(f"{name}: shard unpacks to {len(data)} bytes, its index says {raw_info.bytes}.")
        write_whole(path, data)
        return len(data)


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that other processes see it whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
