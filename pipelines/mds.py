"""Rows of an MDS shard, without Streaming, whose import brings torch.

    number of rows n | n + 1 offsets | description of the columns | rows        (integers: uint32)
    row: sizes of the columns | values of the columns
    value: ndim << 2 | log2 of the width of a dimension | dimensions | int32 numbers

Only the columns that `transforms/shards.py` writes are understood: arrays of int32 of one dimension.
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
        module = importlib.import_module({"br": "brotli", "snappy": "snappy"}[name])
        return bytes(module.decompress(data)[: limit + 1])
    except Exception as error:  # each compression has errors of its own
        raise CorpusError(f"cannot be decompressed ({compression}): {error!r}") from error


def rows_of(data: bytes, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of an unpacked shard.

    Args:
        data: The shard, unpacked.
        columns: Names of the columns, in the order of the index; all are `ENCODING`.

    Yields:
        Arrays of int32, one of shape (size,) for each column.

    Raises:
        CorpusError: The bytes are no such shard; says where.
    """
    num_rows = num_rows_of(data)
    offsets = np.frombuffer(data, "<u4", num_rows + 1, offset=_WORD)
    if int(offsets[-1]) != len(data):
        raise CorpusError(f"says that its rows end at byte {offsets[-1]}, and has {len(data)} bytes")
    view = memoryview(data)
    for number in range(num_rows):
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
