"""Shard directory of a corpus as a stream of Streaming: fetched, checked and decompressed into a cache.

The corpus itself is never written to: Streaming alone would decompress a local corpus in place.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

from streaming import Stream

from schemas import storage
from schemas.content_hash import digest
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.shard_index import ShardFile, check_unpacked, read_index, read_shard
from trainer.data.cache_folder import private_folder


class ShardStream(Stream):  # type: ignore[misc, unused-ignore]
    """A shard directory of a corpus, fetched through fsspec into a cache directory.

    Streaming sees a local stream without a `remote`. This class supplies missing files: it fetches a file
    from any file system, checks size, hash and the table of rows, and renames it into place once it is whole,
    so that two runs may share a cache. A run checks a cached shard in the same way when it first opens it.

    Args:
        corpus: URI of the corpus.
        shard_set: The directory.
        cache_dir: Parent of the cache, a folder named after the content of the index.
        num_rows: Rows that an epoch takes.
        name_row: Returns the place of a row in the corpus, given its number in the directory.
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
        self._files = {file.raw_data.basename: file for file in index.shards}
        announced = json.dumps(index.model_dump(mode="json"), sort_keys=True)
        local = os.path.join(cache_dir, digest(self.uri, size_bytes=8) + "-" + digest(announced)[:16])
        super().__init__(local=private_folder(local), choose=num_rows)
        # Streaming reads the index that was checked, not the bytes of the corpus.
        write_whole(os.path.join(local, "index.json"), announced.encode())

    def apply_default(self, default: dict[str, Any]) -> None:
        """Take the dataset's defaults, but keep no compressed files."""
        super().apply_default(default)
        self.safe_keep_zip = False

    def set_up_local(self, shards: list[Any], cache_usage_per_shard: Any) -> None:
        """Report no shard as present, so that a run checks each when it first opens it."""
        cache_usage_per_shard[:] = 0

    def _prepare_shard_part(self, raw_info: Any, zip_info: Any = None, compression: str | None = None) -> int:
        """Check a cached shard file, or fetch it; return its size in bytes."""
        file = self._files[raw_info.basename]
        path = os.path.join(self.local, file.raw_data.basename)
        if os.path.realpath(path) != os.path.join(os.path.realpath(self.local), file.raw_data.basename):
            raise CorpusError(f"{path}: leads out of the cache. Remove {self.local}.")
        if os.path.exists(path) and file.raw_data.hashes:  # without a hash nothing says that it is the same
            finding = _damage(path, file)
            if finding is None:
                return file.raw_data.bytes
            print(f"{path}: cached {finding}; fetched again from {self.uri}.", file=sys.stderr, flush=True)
        data = read_shard(self.uri, file)
        write_whole(path, data)
        return len(data)


def _damage(path: str, file: ShardFile) -> str | None:
    """Return the fault of a cached shard, or None."""
    try:
        data = storage.read_bytes(path, limit=file.raw_data.bytes)
        check_unpacked(data, file)
    except CorpusError as error:
        return f"shard {error}"
    except OSError as error:
        return f"shard cannot be read: {error}"
    return None


def write_whole(path: str, data: bytes) -> None:
    """Write a file atomically: other processes see it whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
