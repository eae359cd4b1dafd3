"""Rows of an MDS shard, without Streaming, whose import brings torch.

    number of rows n | n + 1 offsets | description of the columns | rows        (integers: uint32)
    row: sizes of the columns | values of the columns
    value: ndim << 2 | log2 of the width of a dimension | dimensions | int32 numbers

Only the columns that a corpus has are understood: arrays of int32 of one dimension.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zstandard

from schemas.errors import CorpusError

ENCODING = "ndarray:int32"
_WORD = 4
_BROTLI_BYTES = 64
"""Packed bytes that brotli unpacks at a time; a few of them may stand for 16 MiB."""


def decompress(data: bytes, compression: str, *, limit: int) -> bytes:
    """Unpack a shard file.

    Args:
        data: The file.
        compression: As Streaming names it, with or without a level: `zstd:3`, `gz`, `bz2`, `br`, `snappy`.
        limit: Bytes expected; of more than that, one more is given and the rest left out.

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

    Args:
        data: The shard, unpacked.
        columns: Names of the columns, in the order of the index; all are `ENCODING`.
        start: The first row wanted.

    Yields:
        Arrays of int32, one of shape (size,) for each column.

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
