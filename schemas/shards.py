"""Shard directories of a corpus: what their index announces, and whether the files are as it says.

    index.json ─► stored_files ─► directory_damage (one listing)
                              └─► hash_mismatch    (reads the file)

Neither Streaming nor torch is needed for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import ShardSet

COLUMNS = {"tokens": "ndarray:int32", "segment_lengths": "ndarray:int32"}
"""Columns that every row has, by name, and their encoding; see `schemas.records.PackedSample`."""

LOSS_SPANS = "loss_spans"
"""One more, of the same encoding, in streams of synthesizer tuning data."""

CURE = "Restore it from a copy, or pin an older manifest."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One file of a shard directory as its index announces it.

    Attributes:
        basename: Name below the directory; may hold one sub-folder.
        num_bytes: Its size.
        hashes: Digests by algorithm; often empty.
        num_samples: Rows in it.
        raw_bytes: Its size without compression.
        compression: As Streaming names it (`zstd:3`); null where the file is not compressed.
        columns: Encoding by column, in the order in which a row holds them.
    """

    basename: str
    num_bytes: int
    hashes: Mapping[str, str]
    num_samples: int
    raw_bytes: int
    compression: str | None
    columns: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A file of a corpus that is not as it was published.

    Attributes:
        file: Its URI.
        finding: What was found there, and what was expected.
    """

    file: str
    finding: str

    def error(self) -> CorpusError:
        """The damage as an error, with what to do about it."""
        return CorpusError(f"{self.file}: {self.finding}. {CURE}")


def read_index(corpus: str, shard_set: ShardSet) -> dict[str, Any]:
    """The parsed `index.json` of a shard directory.

    Raises:
        CorpusError: It is missing or not an index.
    """
    uri = storage.join(corpus, shard_set.path, "index.json")
    try:
        index = json.loads(storage.read_bytes(uri))
        stored_files(index)
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: is missing, so its shards cannot be read. Restore it from a copy."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{uri}: is no index of shards: {error!r}. Restore it from a copy.") from error
    return dict(index)


def stored_files(index: Mapping[str, Any]) -> list[ShardFile]:
    """The files that lie in a shard directory: the compressed ones where there is compression."""
    return [_stored_file(shard) for shard in index["shards"]]


def _stored_file(shard: Mapping[str, Any]) -> ShardFile:
    raw, zipped = shard["raw_data"], shard["zip_data"]
    stored = zipped or raw
    return ShardFile(
        basename=stored["basename"],
        num_bytes=int(stored["bytes"]),
        hashes=stored.get("hashes") or {},
        num_samples=int(shard["samples"]),
        raw_bytes=int(raw["bytes"]),
        compression=shard["compression"] if zipped else None,
        columns=dict(zip(shard["column_names"], shard["column_encodings"], strict=True)),
    )


def directory_damage(corpus: str, shard_set: ShardSet, index: Mapping[str, Any]) -> Iterator[Damage]:
    """Compare an index with its manifest, and the files that lie there with the index, by one listing.

    Args:
        corpus: URI of the corpus, on any fsspec file system.
        shard_set: One shard directory of it, as the manifest names it.
        index: Its parsed index.

    Yields:
        What is missing, or has a size or a number of rows that was not announced.
    """
    uri = storage.join(corpus, shard_set.path)
    files = stored_files(index)
    num_samples = sum(file.num_samples for file in files)
    if num_samples != shard_set.num_samples:
        yield Damage(
            file=f"{uri}/index.json",
            finding=f"announces {num_samples} rows, the manifest {shard_set.num_samples}: the directory was "
            "changed after it was published",
        )
    fs, root = storage.filesystem(uri)
    fs.invalidate_cache()
    found = {path[len(root) :].strip("/"): entry for path, entry in fs.find(root, detail=True).items()}
    for file in files:
        name = f"{uri}/{file.basename}"
        if file.basename not in found:
            yield Damage(file=name, finding="shard is missing")
            continue
        size = int(found[file.basename]["size"])
        if size != file.num_bytes:
            yield Damage(
                file=name,
                finding=f"shard has {size} bytes, its index says {file.num_bytes}: it is truncated or not "
                "the one that was published",
            )


def hash_mismatch(chunks: Iterable[bytes], hashes: Mapping[str, str]) -> str | None:
    """Compare bytes with the first of `hashes` whose algorithm is known here.

    Returns:
        How the digests differ; None where they agree or where there is none to compare with.
    """
    for algorithm, expected in sorted(hashes.items()):
        state = _hasher(algorithm)
        if state is None:
            continue
        for chunk in chunks:
            state.update(chunk)
        found = state.hexdigest()
        return None if found == expected else f"shard has {algorithm} {found}, its index says {expected}"
    return None


def _hasher(algorithm: str) -> Any:
    """A running hash of an algorithm by Streaming's name for it, or None."""
    if algorithm in hashlib.algorithms_available:
        return hashlib.new(algorithm)
    import xxhash

    return getattr(xxhash, algorithm)() if algorithm in xxhash.algorithms_available else None
