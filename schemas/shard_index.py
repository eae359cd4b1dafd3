"""Shard directories of a corpus: what their index announces, and whether the files are as it says.

    index.json ─► read_index ─► stored_files ─► directory_damage (one listing)
                                            └─► read_shard       (reads, hashes, unpacks it)

An index of a corpus is checked before anything that it names is looked at: names cannot lead out of the
directory, and columns have the one encoding that we write. So Streaming, which would open and decode what an
index says, pickles included, sees checked ones only. Neither Streaming nor torch is needed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from schemas import limits, storage
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.mds import check_table, decompress, new_hash
from schemas.validation import Count, Strict, read_json

COLUMNS = ("tokens", "segment_lengths")
"""Columns that every row has; see `schemas.records.PackedSample`."""

LOSS_SPANS = "loss_spans"
"""One more, of the same encoding, in streams of synthesizer tuning data."""

CURE = "Restore it from a copy, or pin an older manifest."

Hashes = Annotated[
    dict[Literal["blake2b", "md5", "sha1", "sha256", "xxh128", "xxh3_64", "xxh64"], str],
    pydantic.Field(max_length=7),
]
"""Digests in hex by algorithm. We write xxh64; the others are such as Streaming's writers are told to use."""


class FileEntry(Strict):
    """A file of a shard: the packed one or the unpacked one."""

    basename: str = pydantic.Field(
        pattern=r"^([0-9]{1,12}/)?shard\.[0-9]{5,12}\.mds(\.(br|bz2|gz|snappy|zstd))?$"
    )
    bytes: int = pydantic.Field(ge=0, le=limits.SHARD_BYTES)
    hashes: Hashes


class ShardEntry(Strict):
    """A shard in an index, as `schemas.mds.MdsWriter` and Streaming's MDSWriter write it."""

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

    @pydantic.model_validator(mode="after")
    def _agrees_with_itself(self) -> ShardEntry:
        names = self.column_names
        if not len(names) == len(set(names)) == len(self.column_encodings) == len(self.column_sizes):
            raise ValueError("columns do not have a name, an encoding and a size each")
        if set(names) not in (set(COLUMNS), {*COLUMNS, LOSS_SPANS}):
            raise ValueError(
                f"has the columns {', '.join(map(ascii, names))}; expected {' and '.join(COLUMNS)}, and at "
                f"most {LOSS_SPANS} beside them"
            )
        if (self.compression is None) != (self.zip_data is None):
            raise ValueError("compression and zip_data do not go together")
        suffix = f".{self.compression.partition(':')[0]}" if self.compression else ""
        expected = f"{self.raw_data.basename}{suffix}"
        if self.raw_data.basename[-4:] != ".mds" or (self.zip_data or self.raw_data).basename != expected:
            raise ValueError(f"is compressed as {self.compression}, and its file is not named {expected!r}")
        if 4 * (self.samples + 2) > self.raw_data.bytes:
            raise ValueError(f"{self.raw_data.bytes} bytes cannot hold {self.samples} rows")
        return self


class ShardIndex(Strict):
    """An `index.json`."""

    version: Literal[2]
    shards: tuple[ShardEntry, ...]

    @pydantic.model_validator(mode="after")
    def _names_are_different(self) -> ShardIndex:
        names = [shard.raw_data.basename for shard in self.shards]
        if len(names) != len(set(names)):
            raise ValueError("two of its shards have one name")
        return self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One file of a shard directory as its index announces it.

    Attributes:
        basename: Name below the directory; may hold one sub-folder.
        num_bytes: Its size.
        hashes: Digests by algorithm; often empty.
        num_samples: Rows in it.
        raw_basename: Its name without compression.
        raw_bytes: Its size without compression.
        raw_hashes: Digests of what it unpacks to.
        compression: As Streaming names it (`zstd:3`); null where the file is not compressed.
        columns: In the order in which a row holds them.
    """

    basename: str
    num_bytes: int
    hashes: Mapping[str, str]
    num_samples: int
    raw_basename: str
    raw_bytes: int
    raw_hashes: Mapping[str, str]
    compression: str | None
    columns: tuple[str, ...]


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


def read_index(corpus: str, shard_set: ShardSet) -> ShardIndex:
    """The checked `index.json` of a shard directory.

    Raises:
        CorpusError: It is missing, not an index, or names what no corpus holds.
    """
    uri = storage.join(corpus, shard_set.path, "index.json")
    try:
        index: ShardIndex = read_json(uri, ShardIndex)
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: is missing, so its shards cannot be read. Restore it from a copy."
        ) from None
    return index


def stored_files(index: ShardIndex) -> list[ShardFile]:
    """The files that lie in a shard directory: the compressed ones where there is compression."""
    return [_stored_file(shard) for shard in index.shards]


def _stored_file(shard: ShardEntry) -> ShardFile:
    stored = shard.zip_data or shard.raw_data
    return ShardFile(
        basename=stored.basename,
        num_bytes=stored.bytes,
        hashes={str(name): value for name, value in stored.hashes.items()},
        num_samples=shard.samples,
        raw_basename=shard.raw_data.basename,
        raw_bytes=shard.raw_data.bytes,
        raw_hashes={str(name): value for name, value in shard.raw_data.hashes.items()},
        compression=shard.compression,
        columns=shard.column_names,
    )


def read_shard(uri: str, file: ShardFile) -> bytes:
    """A shard file of a directory, unpacked, after all checks: size, hash, and where its rows lie.

    Raises:
        CorpusError: It is missing, or not as its index announces.
    """
    name = storage.join(uri, file.basename)
    try:
        data = storage.read_bytes(name, limit=file.num_bytes)
    except FileNotFoundError:
        raise Damage(file=name, finding="shard is missing").error() from None
    except OSError as error:
        raise CorpusError(f"{name}: shard cannot be read: {error}.") from error
    finding = None
    if len(data) != file.num_bytes:
        finding = f"shard has {len(data)} bytes, its index says {file.num_bytes}"
    finding = finding or hash_mismatch([data], file.hashes)
    if finding is None:
        try:
            data = unpack(data, file)
        except CorpusError as error:
            finding = f"shard {error}"
    if finding is not None:
        raise Damage(file=name, finding=finding).error()
    return data


def unpack(data: bytes, file: ShardFile) -> bytes:
    """Unpack a shard file and check what is in it.

    Raises:
        CorpusError: It is not what the index announces; says why, without the file's name.
    """
    if file.compression is not None:
        data = decompress(data, file.compression, limit=file.raw_bytes)
    check_unpacked(data, file)
    return data


def check_unpacked(data: bytes, file: ShardFile) -> None:
    """Check an unpacked shard: size, where its rows lie, hash.

    Raises:
        CorpusError: It is not what the index announces; says why, without the file's name.
    """
    if len(data) != file.raw_bytes:
        size = f"more than {file.raw_bytes}" if len(data) > file.raw_bytes else len(data)
        raise CorpusError(f"unpacks to {size} bytes, its index says {file.raw_bytes}")
    check_table(data, file.num_samples, len(file.columns))
    mismatch = hash_mismatch([data], file.raw_hashes)
    if mismatch is not None:
        raise CorpusError(mismatch.removeprefix("shard "))


def row_fault(row: Mapping[str, Any], seq_len: int) -> str | None:
    """In what a row of a corpus breaks the rules of rows, if it does.

    Args:
        row: Its columns, int32 of one dimension each.
        seq_len: Tokens of a row, as the manifest says.
    """
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
    """Compare an index with its manifest, and the files that lie there with the index, by one listing.

    Args:
        corpus: URI of the corpus, on any fsspec file system.
        shard_set: One shard directory of it, as the manifest names it.
        index: Its index.

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
    """Compare bytes with the first of `hashes`.

    Returns:
        How the digests differ; None where they agree or where there is none to compare with.
    """
    for algorithm, expected in sorted(hashes.items()):
        state = new_hash(algorithm)
        for chunk in chunks:
            state.update(chunk)
        found = state.hexdigest()
        return None if found == expected else f"shard has {algorithm} {found}, its index says {expected}"
    return None
