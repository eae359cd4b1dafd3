"""Verification of shards before training starts: every file exists, with its size and hash.

If a shard is missing or cut short, Streaming ends the epoch early without an error, or waits for ever when
it reads with worker processes. So every file is checked against its stream's index before anything heavy is
imported. The cost is one listing of each shard directory and, for a local corpus, one read of each file whose
index gives a hash (hundreds of MB/s). The files of a remote corpus are hashed when they are fetched, because
hashing them here would download the corpus twice; `tutelage corpus verify` hashes them and reads every row.
Cached files are hashed when a run first opens them.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas import storage
from schemas.manifest import ShardSet
from schemas.shard_index import Damage, directory_damage, hash_mismatch, read_index
from trainer.data.resolve_streams import ResolvedStream

_CHUNK_BYTES = 1 << 22


def verify_streams(streams: Iterable[ResolvedStream]) -> None:
    """Verify the shard directories of all streams; raises as `verify_shards` does."""
    for stream in streams:
        for shard_set in stream.shard_sets:
            verify_shards(stream.corpus, shard_set)


def verify_shards(corpus: str, shard_set: ShardSet) -> None:
    """Check that every file of an index exists with the size and, if given, the hash that the index says.

    Raises:
        CorpusError: A shard is missing or damaged, or the index disagrees with the manifest.
    """
    index = read_index(corpus, shard_set)
    for damage in directory_damage(corpus, shard_set, index):
        raise damage.error()
    uri = storage.join(corpus, shard_set.path)
    if not storage.is_local(uri):
        return
    fs, root = storage.filesystem(uri)
    for file in index.shards:
        if file.stored.hashes:
            with fs.open(f"{root}/{file.stored.basename}", "rb") as stream:
                chunks = iter(lambda stream=stream: stream.read(_CHUNK_BYTES), b"")  # type: ignore[misc, unused-ignore]
                finding = hash_mismatch(chunks, file.stored.hashes)
                if finding is not None:
                    raise Damage(file=f"{uri}/{file.stored.basename}", finding=finding).error()
