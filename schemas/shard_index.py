"""Shard directories of a corpus: validation of their `index.json`, and of the files against it.

    index.json ─► read_index ─► ShardIndex.shards ─► directory_damage (one listing)
                                                 └─► read_shard       (reads, hashes, unpacks a file)

Validation comes before any file is opened: names cannot lead out of the directory, and columns have the one
encoding that this package writes. Streaming would decode every encoding that an index names, pickles
included, so it gets validated indexes only. This module imports neither Streaming nor torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from schemas import limits, storage
from schemas.corpus_layout import index_uri
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.mds import check_table, decompress, new_hash
from schemas.validation import Count, Strict, read_json

COLUMNS = ("tokens", "segment_lengths")
"""Columns that every row has; see `schemas.records.PackedSample`."""

LOSS_SPANS = "loss_spans"
"""A further column of the same encoding, in streams of synthesizer tuning data."""

CURE = "Restore it from a copy, or pin an older manifest."

Algorithm = Literal["blake2b", "md5", "sha1", "sha256", "xxh128", "xxh3_64", "xxh64"]
Hashes = Annotated[dict[Algorithm, str], pydantic.Field(max_length=7)]
"""Hex digests by algorithm. This package writes xxh64; Streaming's writers may use the others."""


class FileEntry(Strict):
    """A file of a shard, compressed or not."""

    basename: str = pydantic.Field(
        pattern=r"^([0-9]{1,12}/)?shard\.[0-9]{5,12}\.mds(\.(br|bz2|gz|snappy|zstd))?$"
    )
    bytes: int = pydantic.Field(ge=0, le=limits.SHARD_BYTES)
    hashes: Hashes


class ShardFile(Strict):
    """A shard in an index, as Streaming's MDSWriter writes it."""

    column_encodings: tuple[Literal["ndarray:int32"], ...]
    column_names: tuple[str, ...]
    column_sizes: tuple[None, ...]
    compression: str | None = pydantic.Field(pattern=r"^(br|bz2|gz|snappy|zstd)(:[0-9]{1,2})?$")
    format: Literal["mds"]
    hashes: tuple[str, ...]
    raw_data: FileEntry
    samples: Count
    size_limit: Count | None
    version: Literal[2]
    zip_data: FileEntry | None

    @property
    def stored(self) -> FileEntry:
        """The file in the directory: the compressed one if there is one."""
        return self.zip_data or self.raw_data

    @pydantic.model_validator(mode="after")
    def _agrees_with_itself(self) -> ShardFile:
        names = self.column_names
        if not len(names) == len(set(names)) == len(self.column_encodings) == len(self.column_sizes):
            raise ValueError("has columns without a name, an encoding or a size")
        if set(names) not in (set(COLUMNS), {*COLUMNS, LOSS_SPANS}):
            raise ValueError(
                f"has the columns {', '.join(map(ascii, names))}; expected {' and '.join(COLUMNS)}, and at "
                f"most {LOSS_SPANS} beside them"
            )
        if (self.compression is None) != (self.zip_data is None):
            raise ValueError("has only one of compression and zip_data")
        suffix = f".{self.compression.partition(':')[0]}" if self.compression else ""
        expected = f"{self.raw_data.basename}{suffix}"
        if self.raw_data.basename[-4:] != ".mds" or self.stored.basename != expected:
            raise ValueError(f"has compression {self.compression}, so its file must be named {expected!r}")
        if 4 * (self.samples + 2) > self.raw_data.bytes:
            raise ValueError(f"{self.raw_data.bytes} bytes cannot hold {self.samples} rows")
        return self


class ShardIndex(Strict):
    """An `index.json`."""

    version: Literal[2]
    shards: tuple[ShardFile, ...]

    @pydantic.model_validator(mode="after")
    def _names_are_different(self) -> ShardIndex:
        names = [shard.raw_data.basename for shard in self.shards]
        if len(names) != len(set(names)):
            raise ValueError("has two shards of one name")
        return self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A file of a corpus that differs from the published one."""

    file: str  # its URI
    finding: str  # the fault, and what was expected

    def error(self) -> CorpusError:
        """The damage as an error with its cure."""
        return CorpusError(f"{self.file}: {self.finding}. {CURE}")


def read_index(corpus: str, shard_set: ShardSet) -> ShardIndex:
    """Read and validate the `index.json` of a shard directory.

    Raises:
        CorpusError: The file is missing, is not an index, or names files or columns that no corpus holds.
    """
    uri = index_uri(storage.join(corpus, shard_set.path))
    try:
        index: ShardIndex = read_json(uri, ShardIndex)
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: is missing, so its shards cannot be read. Restore it from a copy."
        ) from None
    return index


def read_shard(uri: str, file: ShardFile) -> bytes:
    """Read a shard file of a directory, check its size, hash and row offsets, and unpack it.

    Raises:
        CorpusError: The file is missing, or differs from its index.
    """
    name = storage.join(uri, file.stored.basename)
    try:
        data = storage.read_bytes(name, limit=file.stored.bytes)
    except FileNotFoundError:
        raise Damage(file=name, finding="shard is missing").error() from None
    except OSError as error:
        raise CorpusError(f"{name}: shard cannot be read: {error}.") from error
    finding = None
    if len(data) != file.stored.bytes:
        finding = f"shard has {len(data)} bytes, its index says {file.stored.bytes}"
    finding = finding or hash_mismatch([data], file.stored.hashes)
    if finding is None:
        try:
            data = unpack(data, file)
        except CorpusError as error:
            finding = f"shard {error}"
    if finding is not None:
        raise Damage(file=name, finding=finding).error()
    return data


def unpack(data: bytes, file: ShardFile) -> bytes:
    """Unpack a shard file and check its content.

    Raises:
        CorpusError: The content differs from the index; the message leaves out the file's name.
    """
    if file.compression is not None:
        data = decompress(data, file.compression, limit=file.raw_data.bytes)
    check_unpacked(data, file)
    return data


def check_unpacked(data: bytes, file: ShardFile) -> None:
    """Check the size, row offsets and hash of an unpacked shard.

    Raises:
        CorpusError: One of them differs from the index; the message leaves out the file's name.
    """
    if len(data) != file.raw_data.bytes:
        size = f"more than {file.raw_data.bytes}" if len(data) > file.raw_data.bytes else len(data)
        raise CorpusError(f"unpacks to {size} bytes, its index says {file.raw_data.bytes}")
    check_table(data, file.samples, len(file.column_names))
    mismatch = hash_mismatch([data], file.raw_data.hashes)
    if mismatch is not None:
        raise CorpusError(mismatch.removeprefix("shard "))


def row_fault(row: Mapping[str, Any], seq_len: int) -> str | None:
    """The first rule that a row of int32 columns, each of one dimension, breaks; None if it breaks none."""
    tokens_T, segment_lengths, loss_spans = row["tokens"], row["segment_lengths"], row.get(LOSS_SPANS)
    if len(tokens_T) != seq_len:
        return f"has {len(tokens_T)} tokens, the manifest says rows of {seq_len}"
    if not len(segment_lengths) or int(segment_lengths.min()) < 1:
        return f"has texts of {segment_lengths.tolist()} tokens, expected one or more of at least one token"
    used = int(segment_lengths.sum(dtype=np.int64))
    if used > seq_len:
        return f"has texts of {used} tokens together, more than its {seq_len}"
    if int(tokens_T.min()) < 0:
        return f"holds token id {int(tokens_T.min())}"
    if loss_spans is not None and not _are_spans(loss_spans, used):
        return (
            f"has loss spans {loss_spans.tolist()}, expected a first token and an end for each of at least "
            f"one, in order, within its {used} tokens of texts"
        )
    return None


def _are_spans(loss_spans: Any, num_tokens: int) -> bool:
    if not len(loss_spans) or len(loss_spans) % 2:
        return False
    starts, ends = loss_spans[0::2], loss_spans[1::2]
    return bool(
        starts[0] >= 0
        and (starts < ends).all()
        and (ends[:-1] <= starts[1:]).all()
        and ends[-1] <= num_tokens
    )


def directory_damage(corpus: str, shard_set: ShardSet, index: ShardIndex) -> Iterator[Damage]:
    """Yield missing files and wrong sizes of a directory, and a number of rows that is not the manifest's."""
    uri = storage.join(corpus, shard_set.path)
    files = index.shards
    num_samples = sum(file.samples for file in files)
    if num_samples != shard_set.num_samples:
        yield Damage(
            file=index_uri(uri),
            finding=f"announces {num_samples} rows, the manifest {shard_set.num_samples}: the directory was "
            "changed after it was published",
        )
    fs, root = storage.filesystem(uri)
    fs.invalidate_cache()
    found = {path[len(root) :].strip("/"): entry for path, entry in fs.find(root, detail=True).items()}
    for file in files:
        name = f"{uri}/{file.stored.basename}"
        if file.stored.basename not in found:
            yield Damage(file=name, finding="shard is missing")
            continue
        size = int(found[file.stored.basename]["size"])
        if size != file.stored.bytes:
            yield Damage(
                file=name,
                finding=f"shard has {size} bytes, its index says {file.stored.bytes}: it is truncated or not "
                "the one that was published",
            )


def hash_mismatch(chunks: Iterable[bytes], hashes: Mapping[Algorithm, str]) -> str | None:
    """Compare bytes with the first of `hashes`: the difference, or None if they agree or there is no hash."""
    for algorithm, expected in sorted(hashes.items()):
        state = new_hash(algorithm)
        for chunk in chunks:
            state.update(chunk)
        found = state.hexdigest()
        return None if found == expected else f"shard has {algorithm} {found}, its index says {expected}"
    return None
