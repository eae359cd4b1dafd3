"""MDS, the file format of shards, read and written without Streaming, whose import brings torch.

    shard: number of rows n | n + 1 offsets | description of the columns | rows     (integers: uint32)
    row:   sizes of the columns | values of the columns
    value: ndim << 2 | log2 of the width of a dimension | dimensions | int32 numbers

Columns are arrays of int32 of one dimension, as a corpus has them. The writer holds one shard in memory, and
its files are those of Streaming's MDSWriter, byte by byte.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zstandard

from schemas.errors import CorpusError

ENCODING = "ndarray:int32"

COMPRESSIONS: Mapping[str, tuple[Sequence[int], int]] = {
    "br": (range(12), 11),
    "bz2": (range(1, 10), 9),
    "gz": (range(10), 9),
    "snappy": ((), 0),
    "zstd": (range(1, 23), 3),
}
"""Levels and the default one, by the name that Streaming gives to a compression."""

_WORD = 4
_BROTLI_BYTES = 64
"""Packed bytes that brotli unpacks at a time; a few of them may stand for 16 MiB."""


class MdsWriter:
    """Write rows into a folder as `shard.00000.mds`, … and, at the end, `index.json`.

    Args:
        folder: An empty local folder.
        columns: Names of the columns.
        compression: One of `COMPRESSIONS`, with or without a level (`zstd:3`); None for none.
        hashes: Names of the digests that the index holds of each file, sorted; see `new_hash`.
        size_limit: Most bytes of a shard before compression. A larger row has a shard of its own.
    """

    def __init__(
        self,
        folder: str,
        columns: Iterable[str],
        *,
        compression: str | None,
        hashes: Iterable[str],
        size_limit: int,
    ):
        self._folder = folder
        self._columns = sorted(columns)
        self._hashes = list(hashes)
        self._settings: dict[str, Any] = {
            "column_encodings": [ENCODING] * len(self._columns),
            "column_names": self._columns,
            "column_sizes": [None] * len(self._columns),
            "compression": compression,
            "format": "mds",
            "hashes": self._hashes,
            "size_limit": size_limit,
            "version": 2,
        }
        self._description = json.dumps(self._settings, sort_keys=True).encode()
        self._shards: list[dict[str, Any]] = []
        self._begin_shard()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row: an int32 array of shape (size,), size > 0, for each column."""
        values = [_encode(row[name]) for name in self._columns]
        encoded = b"".join([np.array([len(value) for value in values], "<u4").tobytes(), *values])
        if self._num_bytes + len(encoded) + _WORD > self._settings["size_limit"]:
            self._end_shard()  # without rows where the first of all is larger than a shard, as Streaming does
        self._rows.append(encoded)
        self._num_bytes += len(encoded) + _WORD

    def finish(self) -> None:
        """Write what is left, and the index."""
        if self._rows:
            self._end_shard()
        index = json.dumps({"shards": self._shards, "version": 2}, sort_keys=True)
        self._save("index.json", index.encode())

    def _begin_shard(self) -> None:
        self._rows: list[bytes] = []
        self._num_bytes = 2 * _WORD + len(self._description)

    def _end_shard(self) -> None:
        sizes = [_WORD * (len(self._rows) + 2) + len(self._description), *map(len, self._rows)]
        offsets = np.cumsum(sizes).astype("<u4").tobytes()
        data = b"".join([len(self._rows).to_bytes(_WORD, "little"), offsets, self._description, *self._rows])
        name = f"shard.{len(self._shards):05}.mds"
        shard = {"samples": len(self._rows), "raw_data": self._entry(name, data), "zip_data": None}
        compression = self._settings["compression"]
        if compression is not None:
            name, data = f"{name}.{compression.partition(':')[0]}", compress(data, compression)
            shard["zip_data"] = self._entry(name, data)
        self._save(name, data)
        self._shards.append({**self._settings, **shard})
        self._begin_shard()

    def _entry(self, name: str, data: bytes) -> dict[str, Any]:
        hashes = {}
        for algorithm in self._hashes:
            state = new_hash(algorithm)
            state.update(data)
            hashes[algorithm] = state.hexdigest()
        return {"basename": name, "bytes": len(data), "hashes": hashes}

    def _save(self, name: str, data: bytes) -> None:
        with open(os.path.join(self._folder, name), "wb") as file:
            file.write(data)


def _encode(numbers: Any) -> bytes:
    if numbers.dtype != np.int32 or numbers.ndim != 1 or not numbers.size:
        raise ValueError(f"an array of {numbers.dtype} of shape {numbers.shape}, expected one or more int32")
    size = int(numbers.size)
    width = next(power for power in (0, 1, 2) if size < 1 << (8 << power))
    return bytes([1 << 2 | width]) + size.to_bytes(1 << width, "little") + bytes(numbers.tobytes())


def new_hash(algorithm: str) -> Any:
    """Return a running hash: one of `hashlib`, xxh64, xxh128 or another of `xxhash`."""
    if not algorithm.startswith("xxh"):
        return hashlib.new(algorithm)
    return getattr(importlib.import_module("xxhash"), algorithm)()


def is_compression(name: str) -> bool:
    """True if `name` is one of `COMPRESSIONS`, with a level of its own or without one."""
    base, colon, level = name.partition(":")
    return base in COMPRESSIONS and (not colon or level in map(str, COMPRESSIONS[base][0]))


def compress(data: bytes, compression: str) -> bytes:
    """Compress a shard to the bytes that Streaming gives; equal data give equal bytes at any time."""
    name, _, given = compression.partition(":")
    level = int(given or COMPRESSIONS[name][1])
    if name == "zstd":  # with a thread: zstd then cuts long data into jobs, however many threads there are
        return zstandard.ZstdCompressor(level=level, threads=1).compress(data)
    if name == "gz":  # the time in the header is fixed; with 0 the header differs between versions of Python
        return gzip.compress(data, level, mtime=1)
    if name == "bz2":
        return bz2.compress(data, level)
    if name == "br":
        return bytes(importlib.import_module("brotli").compress(data, quality=level))
    return bytes(importlib.import_module("snappy").compress(data))


def decompress(data: bytes, compression: str, *, limit: int) -> bytes:
    """Unpack a shard file; of more than `limit` bytes, one more is given and the rest left out.

    Raises:
        CorpusError: The bytes are no such file; says why.
    """
    name = compression.partition(":")[0]
    try:
        if name == "zstd":
            with zstandard.ZstdDecompressor().stream_reader(data) as stream:
                return bytes(stream.read(limit + 1))
        if name == "gz":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                return stream.read(limit + 1)
        if name == "bz2":
            with bz2.BZ2File(io.BytesIO(data)) as stream:
                return stream.read(limit + 1)
        if name == "br":
            return _brotli(data, limit)
        if name == "snappy":
            return _snappy(data, limit)
        raise ValueError("unknown")
    except Exception as error:  # each compression has errors of its own
        raise CorpusError(f"cannot be decompressed ({compression}): {error!r}") from error


def _snappy(data: bytes, limit: int) -> bytes:
    size = 0  # announced at the beginning, 7 bits in each byte, of which the last is below 128
    for at, byte in enumerate(data[:5]):
        size |= (byte & 127) << 7 * at
        if byte < 128:
            break
    if size > limit:
        raise ValueError(f"it announces {size} bytes, more than {limit}")
    return bytes(importlib.import_module("snappy").decompress(data))


def _brotli(data: bytes, limit: int) -> bytes:
    unpacked, num_bytes = [], 0
    frame = importlib.import_module("brotli").Decompressor()
    for at in range(0, len(data), _BROTLI_BYTES):
        unpacked.append(frame.process(data[at : at + _BROTLI_BYTES]))
        num_bytes += len(unpacked[-1])
        if num_bytes > limit:
            return b"".join(unpacked)[: limit + 1]
    if not frame.is_finished():
        raise ValueError("it ends too early")
    return b"".join(unpacked)


def check_table(data: bytes, num_rows: int, num_columns: int) -> None:
    """Check that the rows of an unpacked shard and their columns lie one behind the other.

    Raises:
        CorpusError: They do not, or are not as many; says where.
    """
    found = num_rows_of(data)
    if found != num_rows:
        raise CorpusError(f"holds {found} rows, its index says {num_rows}")
    offsets = _offsets(data)
    room = _WORD * num_columns
    too_short = np.flatnonzero(np.diff(offsets) < room)
    if len(too_short) or int(offsets[0]) < _WORD * (num_rows + 2):
        raise CorpusError(f"has no room for row {too_short[0] if len(too_short) else 0}")
    at = offsets[:-1, None] + np.arange(room)
    sizes = np.frombuffer(data, np.uint8)[at].view("<u4").sum(axis=1, dtype=np.int64)
    wrong = np.flatnonzero(room + sizes != np.diff(offsets))
    if len(wrong):
        raise CorpusError(f"has columns in row {wrong[0]} that do not fill it")


def _offsets(data: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    offsets = np.frombuffer(data, "<u4", num_rows_of(data) + 1, offset=_WORD).astype(np.int64)
    if int(offsets[-1]) != len(data):
        raise CorpusError(f"says that its rows end at byte {offsets[-1]}, and has {len(data)} bytes")
    return offsets


def rows_of(data: bytes, columns: Sequence[str], start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of an unpacked shard, from one on.

    A row has an array of int32 of shape (size,) for each column; `columns` are in the order of the index.

    Raises:
        CorpusError: The bytes are no such shard; says where.
    """
    offsets = _offsets(data)
    view = memoryview(data)
    for number in range(start, len(offsets) - 1):
        try:
            yield _row(view[int(offsets[number]) : int(offsets[number + 1])], columns)
        except (ValueError, IndexError) as error:
            raise CorpusError(f"row {number} cannot be read: {error}") from error


def num_rows_of(data: bytes) -> int:
    """How many rows an unpacked shard says it has.

    Raises:
        CorpusError: It is too short for the offsets of so many.
    """
    num_rows = int.from_bytes(data[:_WORD], "little")
    if len(data) < _WORD * (num_rows + 2):
        raise CorpusError(f"is no MDS shard: {len(data)} bytes, which cannot hold {num_rows} rows")
    return num_rows


def _row(row: memoryview, columns: Sequence[str]) -> dict[str, Any]:
    sizes = np.frombuffer(row, "<u4", len(columns))
    ends = _WORD * len(columns) + sizes.astype(np.int64).cumsum()
    if ends[-1] != len(row):
        raise ValueError(f"its columns take {ends[-1]} bytes of {len(row)}")
    return {
        name: _array(row[int(end) - int(size) : int(end)])
        for name, end, size in zip(columns, ends, sizes, strict=True)
    }


def _array(value: memoryview) -> Any:
    num_dimensions, width = value[0] >> 2, 1 << (value[0] & 3)
    if num_dimensions != 1:
        raise ValueError(f"a column has {num_dimensions} dimensions, expected 1")
    length = int.from_bytes(value[1 : 1 + width], "little")
    numbers = np.frombuffer(value[1 + width :], "<i4")
    if len(numbers) != length:
        raise ValueError(f"a column has {len(numbers)} numbers and announces {length}")
    return numbers
