"""The band keys of all documents taken in: what near copies of them are found by, in any later increment.

    dedup/000003-<token>.domain/
        index.json     how keys were made; rows and BLAKE2b of each partition; written last
        00000.near     a partition: keys in order, 8 bytes each, then their contents, 8 each

A content is the first 8 bytes of a document's content hash; a document has a row for each band. Keys are
spread evenly, so a partition is a range of keys of equal width, and there are so many that each holds some
2 million rows, 32 MB: that is what whoever writes or merges an index needs in memory, some times over.

A look-up bisects memory-mapped partitions, many keys at a time and in order. Opening costs nothing locally,
and memory is what the operating system chooses to keep; elsewhere a partition is fetched to a temporary file
first. Whether a content that is found is still the text of a document is the ledger's to say.

Cost: 16 bytes a key, with 14 bands 224 a document; benchmarks/near_duplicates.py has 10 million of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pydantic

from pipelines.steps.dedup.minhash import SCHEME, UInt64s, is_shared
from pipelines.store.layout import near_index_uri
from schemas import limits, storage
from schemas.corpus_config import NearDedupConfig
from schemas.errors import CorpusError
from schemas.manifest import number_of
from schemas.scratch_folder import scratch
from schemas.validation import Count, Strict, read_json

_INDEX = "index.json"
_PARTITION_ROWS = 1 << 21
_ROW_BYTES = 16
_MAPPED_BYTES = 1 << 18  # a mapped file keeps a file descriptor, and many increments are small

_Partition = np.ndarray[Any, np.dtype[np.uint64]]
"""Shape (2, num_rows): keys in order, and their contents."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartitionEntry:
    """A partition that was written.

    Attributes:
        number: Which one.
        num_rows: Its rows.
        blake2b: BLAKE2b-128 of its bytes.
    """

    number: int
    num_rows: int
    blake2b: str


@dataclasses.dataclass(frozen=True, slots=True)
class Hits:
    """Rows that were found, one place in each array for each.

    Attributes:
        query: Which of the documents asked about.
        content: The content that shares a key with it.
        number: The increment that holds the row.
    """

    query: np.ndarray[Any, np.dtype[np.int64]]
    content: UInt64s
    number: np.ndarray[Any, np.dtype[np.int64]]


def num_partitions(num_rows: int) -> int:
    """Partitions that an index of so many rows is written in."""
    return max(1, math.ceil(num_rows / _PARTITION_ROWS))


def partition_of(keys: UInt64s, count: int) -> UInt64s:
    """The partition of each key, of so many."""
    return (keys >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)


def write_partition(uri: str, number: int, keys: UInt64s, contents: UInt64s) -> PartitionEntry:
    """Write the rows of one partition of the index at `uri`; equal rows are written once."""
    order = np.argsort(keys, kind="stable")
    rows = np.stack([keys[order], contents[order]]).astype("<u8")
    shared = is_shared(rows[0])
    rows[:, shared] = rows[:, shared][:, np.lexsort((rows[1, shared], rows[0, shared]))]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
    data = rows[:, is_new].tobytes()
    storage.write_bytes(_partition_uri(uri, number), data)
    return PartitionEntry(number=number, num_rows=len(data) // _ROW_BYTES, blake2b=_digest(data))


def write_index(uri: str, config: NearDedupConfig, entries: Iterable[PartitionEntry], *, count: int) -> None:
    """Write what makes the partitions an index; one that is not among the entries is empty.

    Args:
        uri: Directory of the index.
        config: How its keys were made.
        entries: The partitions that were written, in any order.
        count: How many there are, the empty ones included.
    """
    written = {entry.number: entry for entry in entries}
    empty = {"num_rows": 0, "blake2b": _digest(b"")}
    partitions = [
        {"num_rows": written[number].num_rows, "blake2b": written[number].blake2b}
        if number in written
        else empty
        for number in range(count)
    ]
    content = {"keys": _made_by(config), "partitions": partitions}
    storage.write_bytes(storage.join(uri, _INDEX), json.dumps(content, indent=1).encode() + b"\n")


def merge_index(
    corpus: str,
    stream: str,
    names: Sequence[str],
    into: str,
    is_current: Callable[[UInt64s], np.ndarray[Any, np.dtype[np.bool_]]],
) -> None:
    """Write one index in the place of several, of the rows whose content is still current.

    Nothing is written where none of the increments has an index. Holds one partition at a time in memory.

    Args:
        corpus: The corpus.
        stream: The stream.
        names: Increments whose indexes are merged; they stay as they are.
        into: Increment whose index is written; not one of them.
        is_current: For contents, the first 8 bytes of content hashes read as big-endian numbers, which of
            them are the text of some document now.

    Raises:
        CorpusError: An index is damaged, or two of them were made with different parameters.
    """
    tables = [_Table.open(corpus, stream, name) for name in names]
    found = [table for table in tables if table is not None]
    if not found:
        return
    config = found[0].config
    for table in found:
        table.check(config, f"the index {found[0].uri}")
    count = num_partitions(sum(table.num_rows for table in found))
    uri = near_index_uri(corpus, stream, into)
    entries = []
    for number in range(count):
        first, last = _lowest(number, count), _lowest(number + 1, count) - 1
        rows = np.concatenate([part for table in found for part in table.between(first, last)], axis=1)
        rows = rows[:, is_current(rows[1])]
        if rows.shape[1]:
            entries.append(write_partition(uri, number, rows[0], rows[1]))
    write_index(uri, config, entries, count=count)


class NearIndex:
    """The indexes of several increments of one stream.

    Args:
        tables: One for each increment.
    """

    def __init__(self, tables: Sequence[_Table]):
        self._tables = tables

    @classmethod
    def open(cls, corpus: str, stream: str, names: Iterable[str], config: NearDedupConfig) -> NearIndex:
        """Open the indexes of the given increments; one that was made without near dedup has none.

        Raises:
            CorpusError: An index is damaged, or its keys were made in another way than `config` says.
        """
        tables = [_Table.open(corpus, stream, name) for name in sorted(names, key=number_of)]
        found = [table for table in tables if table is not None]
        for table in found:
            table.check(config, "dedup.near")
        return cls(found)

    def find(self, keys: UInt64s) -> Hits:
        """Find all rows that have one of the keys.

        Args:
            keys: Shape (num_documents, bands).
        """
        flat = keys.ravel()
        order = np.argsort(flat, kind="stable")
        found = [(table.number, *table.find(flat[order])) for table in self._tables]
        empty = np.empty(0, np.int64)
        return Hits(
            query=np.concatenate([empty, *(order[at] // keys.shape[1] for _, at, _ in found)]),
            content=np.concatenate([empty.astype(np.uint64), *(contents for _, _, contents in found)]),
            number=np.concatenate([empty, *(np.full(len(at), number) for number, at, _ in found)]),
        )


def check_indexes(corpus: str, stream: str, names: Iterable[str], config: NearDedupConfig) -> None:
    """Check without opening partitions that new keys can be compared with those of the corpus.

    Raises:
        CorpusError: An index is damaged, or its keys were made in another way than `config` says.
    """
    for name in names:
        uri = near_index_uri(corpus, stream, name)
        if storage.exists(uri):
            _check(uri, _read_index(uri).keys, config, "dedup.near")


def check_near_index(uri: str) -> None:
    """Read all of an index, if there is one.

    Raises:
        CorpusError: It is damaged.
    """
    if storage.exists(uri):
        table = _Table(uri, 0, _read_index(uri))
        for _ in table.between(0, (1 << 64) - 1):
            pass


class _Table:
    """The index of one increment.

    Args:
        uri: Its directory.
        number: The increment.
        content: What its index.json says.
    """

    def __init__(self, uri: str, number: int, content: _Content):
        self.uri = uri
        self.number = number
        self._made_by = content.keys
        self._entries = [
            PartitionEntry(number=at, **each.model_dump()) for at, each in enumerate(content.partitions)
        ]
        self._partitions = [_open_partition(uri, entry) for entry in self._entries]
        self._checked: set[int] = set()

    @classmethod
    def open(cls, corpus: str, stream: str, name: str) -> _Table | None:
        """Open the index of an increment, or None where it has none."""
        uri = near_index_uri(corpus, stream, name)
        return cls(uri, number_of(name), _read_index(uri)) if storage.exists(uri) else None

    @property
    def num_rows(self) -> int:
        """Rows of all partitions."""
        return sum(entry.num_rows for entry in self._entries)

    @property
    def config(self) -> NearDedupConfig:
        """How its keys were made."""
        return NearDedupConfig(**self._made_by.model_dump(include=set(NearDedupConfig.model_fields)))

    def check(self, config: NearDedupConfig, named: str) -> None:
        """Refuse keys that were made in another way than `config`, which `named` names, says."""
        _check(self.uri, self._made_by, config, named)

    def find(self, keys: UInt64s) -> tuple[np.ndarray[Any, np.dtype[np.int64]], UInt64s]:
        """For each row that has one of the keys, which are in order, the place of the key and the content."""
        places, contents = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
        starts = np.searchsorted(
            partition_of(keys, len(self._partitions)), np.arange(len(self._partitions) + 1)
        )
        for partition, start, end in zip(self._partitions, starts[:-1], starts[1:], strict=True):
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
        """The rows with keys from `first` to `last`, checked against their digests, in pieces."""
        numbers = partition_of(np.array([first, last], np.uint64), len(self._partitions)).tolist()
        for number in range(numbers[0], numbers[1] + 1):
            partition = self._partitions[number]
            if number not in self._checked:
                if _digest(partition.tobytes()) != self._entries[number].blake2b:
                    raise CorpusError(
                        f"{_partition_uri(self.uri, number)}: is damaged: its bytes are not those that "
                        "index.json tells of. Restore it."
                    )
                self._checked.add(number)
            start = int(np.searchsorted(partition[0], np.uint64(first), side="left"))
            end = int(np.searchsorted(partition[0], np.uint64(last), side="right"))
            yield np.array(partition[:, start:end])


class _Keys(Strict):
    """How keys were made."""

    scheme: str
    ngram: int = pydantic.Field(ge=1, le=limits.COUNT)
    bands: int = pydantic.Field(ge=1, le=limits.COUNT)
    rows: int = pydantic.Field(ge=1, le=limits.COUNT)


class _Rows(Strict):
    """A partition, by its place in the list."""

    num_rows: Count
    blake2b: str


class _Content(Strict):
    """An index.json."""

    keys: _Keys
    partitions: tuple[_Rows, ...] = pydantic.Field(min_length=1)


def _made_by(config: NearDedupConfig) -> dict[str, Any]:
    return {"scheme": SCHEME, **config.model_dump()}


def _check(uri: str, made_by: _Keys, config: NearDedupConfig, named: str) -> None:
    found, expected = made_by.model_dump(), _made_by(config)
    if found != expected:
        has, says = (", ".join(f"{name} {values[name]}" for name in expected) for values in (found, expected))
        raise CorpusError(
            f"{uri}: its keys were made with {has}, {named} says {says}, and the two cannot be compared. "
            "Keep the index's values, set dedup.near to null to do without, or build a new corpus."
        )


def _read_index(uri: str) -> _Content:
    try:
        content: _Content = read_json(storage.join(uri, _INDEX), _Content)
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: has no {_INDEX}, so that it is not known what it holds. Restore it, or remove the whole "
            "directory to do without near copies of that increment's documents."
        ) from None
    return content


def _open_partition(uri: str, entry: PartitionEntry) -> _Partition:
    if not entry.num_rows:
        return np.empty((2, 0), np.uint64)
    file = _partition_uri(uri, entry.number)
    shape, size = (2, entry.num_rows), entry.num_rows * _ROW_BYTES
    fs, path = storage.filesystem(file)
    try:
        found = int(fs.size(path))
    except FileNotFoundError:
        raise CorpusError(f"{file}: is missing, though index.json names it. Restore it.") from None
    if found != size:
        raise CorpusError(f"{file}: is damaged: it has {found} bytes, expected {size}. Restore it.")
    if size < _MAPPED_BYTES:
        return np.frombuffer(storage.read_bytes(file), "<u8").reshape(shape)
    if storage.is_local(file):
        return np.memmap(path, "<u8", "r", shape=shape)
    with scratch("near") as folder, storage.naming(folder):  # mapped, so it may be unlinked
        copy = f"{folder}/copy"
        fs.get_file(path, copy)
        return np.memmap(copy, "<u8", "r", shape=shape)


def _partition_uri(uri: str, number: int) -> str:
    return storage.join(uri, f"{number:05d}.near")


def _lowest(number: int, count: int) -> int:
    """The lowest key of a partition, of so many; for the one past the last, 2⁶⁴."""
    return -(-(number << 32) // count) << 32


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
