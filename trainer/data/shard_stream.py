"""A shard directory of a corpus as Streaming reads it.

The corpus is only ever read. Shards are fetched through fsspec, checked and decompressed into a
cache directory of their own, because Streaming would decompress a local corpus in place.
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
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.records import digest
from schemas.shard_index import ShardFile, check_unpacked, read_index, read_shard
from trainer.data.cache_folder import private_folder


class ShardStream(Stream):  # type: ignore[misc, unused-ignore]
    """A shard directory of a corpus, fetched through fsspec into a cache directory.

    Streaming sees a stream that is wholly local (no `remote`), whose missing files this class
    supplies: from any file system, checked for size, hash and the table of their rows, written whole under
    their final name, so that two runs may share a cache. A shard that is cached is checked in the same way
    when it is first opened in a run.

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
        self._files = {file.raw_data.basename: file for file in index.shards}
        announced = json.dumps(index.model_dump(mode="json"), sort_keys=True)
        local = os.path.join(cache_dir, digest(self.uri, size_bytes=8) + "-" + digest(announced)[:16])
        super().__init__(local=private_folder(local), choose=num_rows)
        # What Streaming reads is what was checked, not the corpus's own bytes.
        index_path = os.path.join(local, "index.json")
        if not _holds(index_path, announced.encode()):
            write_whole(index_path, announced.encode())

    def apply_default(self, default: dict[str, Any]) -> None:
        """Take the dataset's defaults; compressed files are never kept."""
        super().apply_default(default)
        self.safe_keep_zip = False

    def set_up_local(self, shards: list[Any], cache_usage_per_shard: Any) -> None:
        """Let Streaming see no shard as present: each is checked when it is first opened in a run."""
        cache_usage_per_shard[:] = 0

    def _prepare_shard_part(self, raw_info: Any, zip_info: Any = None, compression: str | None = None) -> int:
        """Check a cached shard file, or fetch it; returns its bytes."""
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
    """What is wrong with a cached shard; None for nothing."""
    try:
        data = storage.read_bytes(path, limit=file.raw_data.bytes)
        check_unpacked(data, file)
    except CorpusError as error:
        return f"shard {error}"
    except OSError as error:
        return f"shard cannot be read: {error}"
    return None


def _holds(path: str, data: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read() == data
    except FileNotFoundError:
        return False


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that other processes see it whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
