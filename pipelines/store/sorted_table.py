"""Sorted table of fixed rows with keys of 16 bytes, in partitions by key; one small read finds a row.

    <name>-00000.keys
        header   64 bytes: magic, version, bytes of a row, rows of a page, rows, BLAKE2b-128 of the fence
        fence    for each page its first key, 16 bytes; then for each page its CRC-32, 4 bytes
        pages    256 rows each, sorted by key

A row has the fields `key` and `rest`, together the key; `rank`; and what the table is for. A key has one row:
the highest rank wins, and of equal ranks the newest. Keys are hashes, so partitions of equal width have equal
sizes: about a million rows, of 36 bytes for the journal.

A look-up reads the fence of one partition once, which stays in memory (0.08 bytes a row), and then one page
of 9 KB, whose checksum it compares. Opening a table reads nothing. Merging tables keeps one partition of the
result in memory.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.store.ranged_files import RangedFolder
from schemas import storage
from schemas.errors import CorpusError

Rows = np.ndarray[Any, np.dtype[np.void]]

KEY_BYTES = 16
PARTITION_ROWS = 1 << 20
_PAGE_ROWS = 256
_CACHED_PAGES = 2048  # of a remote table, 18 MB
_MAGIC = b"tutelage table\n\0"
_VERSION = 1
_HEADER = struct.Struct("<16sIIQQ16s8x")
_FENCE_BYTES = KEY_BYTES + 4  # of a page
_KEY = np.dtype("S16")  # compares like 16 bytes: both sides lack zeros at the end


def keys_of(rows: Rows) -> np.ndarray[Any, np.dtype[np.bytes_]]:
    """Keys of rows, shape (num_rows,)."""
    pairs = np.empty(len(rows), [("key", ">u8"), ("rest", ">u8")])
    pairs["key"], pairs["rest"] = rows["key"], rows["rest"]
    keys: np.ndarray[Any, np.dtype[np.bytes_]] = pairs.view(_KEY)
    return keys


def newest(rows: Rows) -> Rows:
    """Sort rows by key, and keep of each key the row of the highest rank; of equal ranks the last."""
    rows = rows[np.lexsort((rows["rank"], rows["rest"], rows["key"]))]
    is_last = np.ones(len(rows), bool)
    is_last[:-1] = (rows["key"][1:] != rows["key"][:-1]) | (rows["rest"][1:] != rows["rest"][:-1])
    kept: Rows = rows[is_last]
    return kept


def write_table(folder: str, name: str, rows: Rows) -> list[int]:
    """Write rows that `newest` returned; return the number of rows of each partition."""
    count = _num_partitions(len(rows))
    starts = np.searchsorted(_partition_of(rows, count), np.arange(count + 1, dtype=np.uint64))
    return _write(folder, name, (rows[start:end] for start, end in itertools.pairwise(starts)))


def merge_tables(folder: str, name: str, tables: Sequence[Table]) -> list[int]:
    """Write the rows of several tables, oldest first, as one; return the number of rows of each partition.

    Raises:
        CorpusError: One of them is damaged.
    """
    count = _num_partitions(sum(map(len, tables)))
    parts = (_joined([table.part(number, count) for table in tables]) for number in range(count))
    return _write(folder, name, map(newest, parts))


class Table:
    """A table in a folder.

    Args:
        counts: Number of rows of each partition; an empty one has no file.
        max_rank: Highest rank of its rows.
    """

    def __init__(
        self, folder: RangedFolder, name: str, counts: Sequence[int], max_rank: int, row: np.dtype[np.void]
    ):
        self.name = name
        self.counts = counts
        self.max_rank = max_rank
        self._folder = folder
        self._row = row
        self._fences: dict[int, _Fence] = {}
        self._page = self._read_page
        if not folder.is_local:  # the operating system caches local files
            self._page = functools.lru_cache(_CACHED_PAGES)(self._read_page)

    def __len__(self) -> int:
        return sum(self.counts)

    def files(self) -> list[str]:
        """Names of its files."""
        return [_file(self.name, number) for number, count in enumerate(self.counts) if count]

    def damage(self, sizes: Mapping[str, int]) -> Iterator[str]:
        """Yield file and finding for each file that is missing or has another size than it had."""
        for number, count in enumerate(self.counts):
            file, num_pages = _file(self.name, number), math.ceil(count / _PAGE_ROWS)
            expected = _HEADER.size + num_pages * _FENCE_BYTES + count * self._row.itemsize
            if count and sizes.get(file) != expected:
                found = f"has {sizes[file]:,} bytes" if file in sizes else "is missing"
                yield f"{self._folder.uri_of(file)}: {found}, expected {expected:,}"

    def find(self, key: bytes) -> bytes | None:
        """The row of a key; None if there is none.

        Raises:
            CorpusError: What holds the key is damaged.
            FileNotFoundError: The partition of the key is missing.
        """
        number = int.from_bytes(key[:4], "big") * len(self.counts) >> 32
        if not self.counts[number]:
            return None
        at = int(self._fence(number).firsts.searchsorted(key, "right")) - 1
        page = self._page(number, at) if at >= 0 else b""
        place = page.find(key)
        while place % self._row.itemsize and place >= 0:
            place = page.find(key, place + 1)
        return page[place : place + self._row.itemsize] if place >= 0 else None

    def part(self, number: int, count: int) -> Rows:
        """Rows of one of `count` partitions of equal width; a CorpusError if they are damaged."""
        first, end = (-(-(each << 32) // count) for each in (number, number + 1))
        parts = [np.empty(0, self._row)]
        for own in range(first * len(self.counts) >> 32, ((end - 1) * len(self.counts) >> 32) + 1):
            if not self.counts[own]:
                continue
            firsts = self._fence(own).firsts
            start = max(0, int(firsts.searchsorted(first.to_bytes(4, "big"))) - 1)
            last = int(firsts.searchsorted(end.to_bytes(4, "big"))) if end < 1 << 32 else len(firsts)
            rows = np.frombuffer(self._read_pages(own, start, max(start, last)), self._row)
            parts.append(rows[_partition_of(rows, count) == number])
        return _joined(parts)

    def _fence(self, number: int) -> _Fence:
        if number not in self._fences:
            count = self.counts[number]
            num_pages = math.ceil(count / _PAGE_ROWS)
            size = num_pages * _FENCE_BYTES
            data = self._folder.read(_file(self.name, number), 0, _HEADER.size + size)
            fence = data[_HEADER.size :]
            digest = hashlib.blake2b(fence, digest_size=16).digest()
            header = _HEADER.pack(_MAGIC, _VERSION, self._row.itemsize, _PAGE_ROWS, count, digest)
            if data[: _HEADER.size] != header or len(fence) != size:
                raise self._damaged(number, "its header is not that of this table or does not fit its fence")
            keys = num_pages * KEY_BYTES
            self._fences[number] = _Fence(
                np.frombuffer(fence[:keys], _KEY), np.frombuffer(fence[keys:], "<u4")
            )
        return self._fences[number]

    def _read_page(self, number: int, at: int) -> bytes:
        return self._read_pages(number, at, at + 1)

    def _read_pages(self, number: int, start: int, end: int) -> bytes:
        """Read and check pages."""
        fence, page_bytes = self._fence(number), _PAGE_ROWS * self._row.itemsize
        begin = _HEADER.size + len(fence.firsts) * _FENCE_BYTES
        data = self._folder.read(
            _file(self.name, number), begin + start * page_bytes, (end - start) * page_bytes
        )
        for page in range(start, end):
            at = (page - start) * page_bytes
            whole = data if end - start == 1 else data[at : at + page_bytes]
            if zlib.crc32(whole) != fence.crcs[page]:
                raise self._damaged(
                    number, f"its page at byte {begin + page * page_bytes} has another checksum"
                )
        return data

    def _damaged(self, number: int, finding: str) -> CorpusError:
        return CorpusError(f"{self._folder.uri_of(_file(self.name, number))}: is damaged: {finding}.")


@dataclasses.dataclass(frozen=True, slots=True)
class _Fence:
    firsts: np.ndarray[Any, np.dtype[np.bytes_]]  # first key of each page
    crcs: np.ndarray[Any, np.dtype[np.uint32]]  # CRC-32 of each page


def _write(folder: str, name: str, parts: Iterable[Rows]) -> list[int]:
    counts = []
    for number, rows in enumerate(parts):
        counts.append(len(rows))
        if len(rows):
            storage.write_bytes(storage.join(folder, _file(name, number)), _bytes(rows))
    return counts


def _bytes(rows: Rows) -> bytes:
    data, page_bytes = rows.tobytes(), _PAGE_ROWS * rows.itemsize
    pages = [data[at : at + page_bytes] for at in range(0, len(data), page_bytes)]
    fence = b"".join(page[:KEY_BYTES] for page in pages)
    fence += np.array([zlib.crc32(page) for page in pages], "<u4").tobytes()
    digest = hashlib.blake2b(fence, digest_size=16).digest()
    return _HEADER.pack(_MAGIC, _VERSION, rows.itemsize, _PAGE_ROWS, len(rows), digest) + fence + data


def _joined(parts: Sequence[Rows]) -> Rows:
    return np.concatenate(parts).astype(
        parts[0].dtype
    )  # concatenate changes the byte order to the native one


def _num_partitions(num_rows: int) -> int:
    return max(1, math.ceil(num_rows / PARTITION_ROWS))


def _partition_of(rows: Rows, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    prefixes = rows["key"].astype(np.uint64) >> np.uint64(32)
    return (prefixes * np.uint64(count)) >> np.uint64(32)


def _file(name: str, number: int) -> str:
    return f"{name}-{number:05d}.keys"
