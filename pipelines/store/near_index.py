"""Index of near duplicates: band keys of all documents, by which later increments find near copies.

    dedup/000003-<token>.domain/
        index.json     parameters of the keys; rows and BLAKE2b of each partition; written last
        00000.near     a partition: keys in order, 8 bytes each, then their contents, 8 bytes each

A content is the first 8 bytes of a document's content hash; a document has a row for each band. Keys are
distributed evenly, so each partition covers a range of keys of equal width and has about 2 million rows,
32 MB. Writing or merging an index needs a few times that much memory.

A look-up bisects memory-mapped partitions, many sorted keys at a time. Opening a local index costs nothing,
and the operating system decides how much stays in memory. A partition of a remote index is copied to a
temporary file when the first key in its range is looked up, and stays there; others are not fetched. The
ledger knows whether a content found here is still the text of a document.

Cost: 16 bytes a key, with 14 bands 224 a document; benchmarks/near_duplicates.py has 10 million of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pydantic

from pipelines.steps.dedup.minhash import SCHEME, SCHEMES, UInt64s, is_shared
from schemas import limits, storage
from schemas.corpus_config import NearDedupConfig
from schemas.corpus_layout import INDEX_FILE, index_uri, near_index_uri, near_partition_uri, number_of
from schemas.errors import CorpusError
from schemas.scratch_folder import scratch
from schemas.validation import Count, Strict, read_json

_PARTITION_ROWS = 1 << 21
_ROW_BYTES = 16
_MAPPED_BYTES = 1 << 18  # a mapped file keeps a file descriptor, and many increments are small

_Partition = np.ndarray[Any, np.dtype[np.uint64]]
"""Shape (2, num_rows): keys in order, and their contents."""


class PartitionEntry(Strict):
    """A partition in `index.json`, which lists all of them in order."""

    num_rows: Count
    blake2b: str  # BLAKE2b-128 of its bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Hits:
    """Rows found in indexes; each array has one entry a row."""

    query: np.ndarray[Any, np.dtype[np.int64]]  # number of the document in the query
    content: UInt64s  # that shares a key with it
    number: np.ndarray[Any, np.dtype[np.int64]]  # of the increment with the row


def num_partitions(num_rows: int) -> int:
    """Number of partitions of an index with this many rows."""
    return max(1, math.ceil(num_rows / _PARTITION_ROWS))


def partition_of(keys: UInt64s, count: int) -> UInt64s:
    """Partition of each key, out of `count`."""
    return (keys >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)


def write_partition(uri: str, number: int, keys: UInt64s, contents: UInt64s) -> tuple[int, PartitionEntry]:
    """Write one partition of the index at `uri`, without duplicate rows; return its number and entry."""
    order = np.argsort(keys, kind="stable")
    rows = np.stack([keys[order], contents[order]]).astype("<u8")
    shared = is_shared(rows[0])
    rows[:, shared] = rows[:, shared][:, np.lexsort((rows[1, shared], rows[0, shared]))]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    data = rows[:, is_new].tobytes()
    storage.write_bytes(near_partition_uri(uri, number), data)
    return number, PartitionEntry(num_rows=len(data) // _ROW_BYTES, blake2b=_digest(data))


def write_index(
    uri: str,
    config: NearDedupConfig,
    written: Iterable[tuple[int, PartitionEntry]],
    *,
    count: int,
    scheme: str = SCHEME,
) -> None:
    """Write the `index.json` of an index of `count` partitions; those that are not in `written` are empty."""
    empty = PartitionEntry(num_rows=0, blake2b=_digest(b""))
    by_number = dict(written)
    partitions = [by_number.get(number, empty).model_dump() for number in range(count)]
    content = {"keys": _made_by(config, scheme), "partitions": partitions}
    storage.write_bytes(index_uri(uri), json.dumps(content, indent=1).encode() + b"\n")


def merge_index(
    corpus: str,
    stream: str,
    names: Sequence[str],
    into: str,
    is_current: Callable[[UInt64s], np.ndarray[Any, np.dtype[np.bool_]]],
) -> None:
    """Merge several indexes into one, without rows whose content is outdated.

    The indexes of the increments `names` stay. Writes nothing if none of them has an index. One partition at
    a time is in memory. A content is the first 8 bytes of a content hash as a big-endian number.

    Raises:
        CorpusError: An index is damaged, or two of them have different parameters.
    """
    tables = [_Table.open(corpus, stream, name) for name in names]
    found = [table for table in tables if table is not None]
    if not found:
        return
    config = found[0].config
    for table in found:
        table.check(config, found[0].scheme, f"the index {found[0].uri}")
    count = num_partitions(sum(table.num_rows for table in found))
    uri = near_index_uri(corpus, stream, into)
    written = []
    for number in range(count):
        first, last = _lowest(number, count), _lowest(number + 1, count) - 1
        rows = np.concatenate([part for table in found for part in table.between(first, last)], axis=1)
        rows = rows[:, is_current(rows[1])]
        if rows.shape[1]:
            written.append(write_partition(uri, number, rows[0], rows[1]))
    write_index(uri, config, written, count=count, scheme=found[0].scheme)


class NearIndex:
    """Indexes of several increments of one stream."""

    def __init__(self, tables: Sequence[_Table]):
        self._tables = tables

    @classmethod
    def open(cls, corpus: str, stream: str, names: Iterable[str], config: NearDedupConfig) -> NearIndex:
        """Open the indexes of some increments; an increment built without near dedup has none.

        Raises:
            CorpusError: An index is damaged, or its keys have other parameters than `config`.
        """
        tables = [_Table.open(corpus, stream, name) for name in sorted(names, key=number_of)]
        found = [table for table in tables if table is not None]
        for table in found:
            table.check(config, found[0].scheme, "dedup.near")
        return cls(found)

    def find(self, keys: UInt64s) -> Hits:
        """Find all rows with one of the keys, an array of shape (num_documents, bands)."""
        flat = keys.ravel()
        order = np.argsort(flat, kind="stable")
        found = [(table.number, *table.find(flat[order])) for table in self._tables]
        empty = np.empty(0, np.int64)
        return Hits(
            query=np.concatenate([empty, *(order[at] // keys.shape[1] for _, at, _ in found)]),
            content=np.concatenate([empty.astype(np.uint64), *(contents for _, _, contents in found)]),
            number=np.concatenate([empty, *(np.full(len(at), number) for number, at, _ in found)]),
        )


def check_indexes(corpus: str, stream: str, names: Iterable[str], config: NearDedupConfig) -> str:
    """Check that keys of the corpus have the parameters of new keys, without opening partitions.

    Returns:
        The scheme of the corpus's keys, which new keys must have; the newest for a corpus without keys.

    Raises:
        CorpusError: An index is damaged, or its keys have other parameters than `config`.
    """
    scheme = ""
    for name in names:
        uri = near_index_uri(corpus, stream, name)
        if storage.exists(uri):
            keys = _read_index(uri).keys
            scheme = scheme or keys.scheme
            _check(uri, keys, config, scheme, "dedup.near")
    return scheme or SCHEME


def check_near_index(uri: str) -> None:
    """Read a whole index, if there is one; raise a CorpusError if it is damaged."""
    if storage.exists(uri):
        table = _Table(uri, 0, _read_index(uri))
        for _ in table.between(0, (1 << 64) - 1):
            pass


class _Table:
    """Index of one increment."""

    def __init__(self, uri: str, number: int, content: _Content):
        self.uri = uri
        self.number = number
        self._made_by = content.keys
        self._entries = content.partitions
        for at, entry in enumerate(self._entries):
            _check_size(near_partition_uri(uri, at), entry)
        self._partitions: dict[int, _Partition] = {}
        self._opening = threading.Lock()
        self._checked: set[int] = set()

    @classmethod
    def open(cls, corpus: str, stream: str, name: str) -> _Table | None:
        """Open the index of an increment; None if it has none."""
        uri = near_index_uri(corpus, stream, name)
        return cls(uri, number_of(name), _read_index(uri)) if storage.exists(uri) else None

    @property
    def num_rows(self) -> int:
        """Rows of all partitions."""
        return sum(entry.num_rows for entry in self._entries)

    @property
    def config(self) -> NearDedupConfig:
        """Parameters of its keys."""
        return NearDedupConfig(**self._made_by.model_dump(include=set(NearDedupConfig.model_fields)))

    @property
    def scheme(self) -> str:
        """Scheme of its keys."""
        return self._made_by.scheme

    def check(self, config: NearDedupConfig, scheme: str, named: str) -> None:
        """Refuse keys with other parameters than `config` and `scheme`; `named` is where they stand."""
        _check(self.uri, self._made_by, config, scheme, named)

    def find(self, keys: UInt64s) -> tuple[np.ndarray[Any, np.dtype[np.int64]], UInt64s]:
        """For each row with one of the sorted keys: position of the key in `keys`, and content of the row."""
        places, contents = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        count = len(self._entries)
        starts = np.searchsorted(partition_of(keys, count), np.arange(count + 1))
        for number in np.flatnonzero(starts[1:] > starts[:-1]).tolist():
            start, end = starts[number : number + 2]
            partition = self._partition(number)
            asked = keys[start:end]
            left = np.searchsorted(partition[0], asked, side="left")
            is_there = left < partition.shape[1]
            is_there[is_there] = partition[0][left[is_there]] == asked[is_there]
            first = left[is_there]
            counts = np.searchsorted(partition[0], asked[is_there], side="right") - first
            places.append(np.repeat(start + np.flatnonzero(is_there), counts))
            before = np.cumsum(counts) - counts
            rows = np.arange(counts.sum()) + np.repeat(first - before, counts)
            contents.append(partition[1][rows])
        return np.concatenate(places), np.concatenate(contents)

    def between(self, first: int, last: int) -> Iterator[_Partition]:
        """Yield the rows with keys from `first` to `last`, checked against their digests, by partition."""
        numbers = partition_of(np.array([first, last], np.uint64), len(self._entries)).tolist()
        for number in range(numbers[0], numbers[1] + 1):
            partition = self._partition(number)
            if number not in self._checked:
                if _digest(partition.tobytes()) != self._entries[number].blake2b:
                    raise CorpusError(
                        f"{near_partition_uri(self.uri, number)}: is damaged: its bytes do not have the "
                        "hash in index.json. Restore it."
                    )
                self._checked.add(number)
            start = int(np.searchsorted(partition[0], np.uint64(first), side="left"))
            end = int(np.searchsorted(partition[0], np.uint64(last), side="right"))
            yield np.array(partition[:, start:end])

    def _partition(self, number: int) -> _Partition:
        """Open a partition on its first use, once for all threads."""
        with self._opening:
            if number not in self._partitions:
                uri = near_partition_uri(self.uri, number)
                self._partitions[number] = _open_partition(uri, self._entries[number])
            return self._partitions[number]


class _Keys(Strict):
    """Parameters of keys."""

    scheme: str
    ngram: int = pydantic.Field(ge=1, le=limits.COUNT)
    bands: int = pydantic.Field(ge=1, le=limits.COUNT)
    rows: int = pydantic.Field(ge=1, le=limits.COUNT)


class _Content(Strict):
    """Content of an index.json."""

    keys: _Keys
    partitions: tuple[PartitionEntry, ...] = pydantic.Field(min_length=1)


def _made_by(config: NearDedupConfig, scheme: str) -> dict[str, Any]:
    return {"scheme": scheme, **config.model_dump()}


def _check(uri: str, made_by: _Keys, config: NearDedupConfig, scheme: str, named: str) -> None:
    found = made_by.model_dump()
    expected = _made_by(config, scheme if scheme in SCHEMES else SCHEME)
    if found != expected:
        has, says = (", ".join(f"{name} {values[name]}" for name in expected) for values in (found, expected))
        raise CorpusError(
            f"{uri}: its keys were made with {has}, but {named} says {says}; such keys cannot be compared. "
            "Keep the index's values, set dedup.near to null to keep near copies, or build a new corpus."
        )


def _read_index(uri: str) -> _Content:
    try:
        content: _Content = read_json(index_uri(uri), _Content)
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: has no {INDEX_FILE}, so its content is unknown. Restore it, or remove the whole "
            "directory; then near copies of that increment's documents are not found."
        ) from None
    return content


def _check_size(file: str, entry: PartitionEntry) -> None:
    """Check that a partition is there and has its size, without reading it."""
    if not entry.num_rows:
        return
    size = entry.num_rows * _ROW_BYTES
    fs, path = storage.filesystem(file)
    try:
        found = int(fs.size(path))
    except FileNotFoundError:
        raise CorpusError(f"{file}: is missing, though index.json names it. Restore it.") from None
    if found != size:
        raise CorpusError(f"{file}: is damaged: it has {found} bytes, expected {size}. Restore it.")


def _open_partition(file: str, entry: PartitionEntry) -> _Partition:
    if not entry.num_rows:
        return np.empty((2, 0), np.uint64)
    shape, size = (2, entry.num_rows), entry.num_rows * _ROW_BYTES
    fs, path = storage.filesystem(file)
    if size < _MAPPED_BYTES:
        return np.frombuffer(storage.read_bytes(file), "<u8").reshape(shape)
    if storage.is_local(file):
        return np.memmap(path, "<u8", "r", shape=shape)
    with scratch("near") as folder, storage.naming(folder):  # a mapped file may be unlinked
        copy = f"{folder}/copy"
        fs.get_file(path, copy)
        return np.memmap(copy, "<u8", "r", shape=shape)


def _lowest(number: int, count: int) -> int:
    """Lowest key of a partition, out of `count`; 2⁶⁴ for the one past the last."""
    return -(-(number << 32) // count) << 32


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
