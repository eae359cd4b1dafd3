"""Shards of our writer: the same bytes as Streaming's writer, and rows that Streaming reads back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from schemas.mds import COMPRESSIONS, MdsWriter, compress, decompress, is_compression, rows_of
from schemas.shard_index import COLUMNS, LOSS_SPANS, Hashes

ALL_HASHES = sorted(get_args(get_args(get_args(Hashes)[0])[0]))
SETTINGS = [
    *(f"{name}:{level}" for name, (levels, _) in COMPRESSIONS.items() for level in levels),
    *COMPRESSIONS,
]


def made_rows(columns: tuple[str, ...], count: int, length: int = 40) -> Iterator[dict[str, Any]]:
    """Rows whose lengths take one, two and four bytes."""
    numbers = np.random.default_rng(7)
    for row in range(count):
        size = 70_000 if row == 5 else length + row * 7
        yield {name: (numbers.zipf(1.4, size) % 30_000).astype(np.int32) for name in columns}


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ours(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> dict[str, bytes]:
    folder.mkdir()
    writer = MdsWriter(str(folder), [*rows[0]], **settings)
    for row in rows:
        writer.write(row)
    writer.finish()
    return written(folder)


def theirs(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> dict[str, bytes]:
    streaming = pytest.importorskip("streaming")
    columns = dict.fromkeys(rows[0], "ndarray:int32")
    with streaming.MDSWriter(out=str(folder), columns=columns, **settings) as writer:
        for row in rows:
            writer.write(row)
    return written(folder)


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming's gzip files hold the current time; ours always hold 1 s."""
    monkeypatch.setattr(time, "time", lambda: 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, *SETTINGS])
def test_files_are_streamings_byte_by_byte_for_every_compression(
    compression: str | None, tmp_path: Path
) -> None:
    rows = list(made_rows(COLUMNS, 12))
    settings = {"compression": compression, "hashes": ["xxh64"], "size_limit": 1 << 15}
    found = ours(tmp_path / "ours", rows, **settings)
    assert len(found) > 2
    assert found == theirs(tmp_path / "theirs", rows, **settings)


@pytest.mark.parametrize("size_limit", [1 << 12, 10_000, 300_000, 1 << 26])
@pytest.mark.parametrize("columns", [COLUMNS, (*COLUMNS, LOSS_SPANS), ("tokens",)])
@pytest.mark.parametrize("hashes", [ALL_HASHES, []])
def test_files_are_streamings_byte_by_byte_for_shards_of_any_size(
    size_limit: int, columns: tuple[str, ...], hashes: list[str], tmp_path: Path
) -> None:
    rows = list(made_rows(columns, 20))
    settings = {"compression": "zstd:3", "hashes": hashes, "size_limit": size_limit}
    assert ours(tmp_path / "ours", rows, **settings) == theirs(tmp_path / "theirs", rows, **settings)


def test_files_are_streamings_where_the_first_row_is_larger_than_a_shard(tmp_path: Path) -> None:
    rows = list(made_rows(COLUMNS, 3, length=3000))
    settings = {"compression": None, "hashes": ["sha1"], "size_limit": 1 << 12}
    found = ours(tmp_path / "ours", rows, **settings)
    assert len(found) == 5  # the first shard is empty
    assert found == theirs(tmp_path / "theirs", rows, **settings)


def test_a_shard_that_zstd_cuts_into_jobs_is_streamings_byte_by_byte(tmp_path: Path) -> None:
    rows = list(made_rows(COLUMNS, 20, length=150_000))
    settings = {"compression": "zstd:3", "hashes": ["xxh64"], "size_limit": 1 << 26}
    found = ours(tmp_path / "ours", rows, **settings)
    assert len(found) == 2
    assert found == theirs(tmp_path / "theirs", rows, **settings)


@pytest.mark.slow
def test_every_boundary_of_a_size_limit_is_streamings(tmp_path: Path) -> None:
    rows = [{"tokens": np.arange(24, dtype=np.int32)} for _ in range(40)]
    for size_limit in range(4096, 4096 + 104, 13):  # a row takes 102 bytes
        settings = {"compression": None, "hashes": [], "size_limit": size_limit}
        assert ours(tmp_path / f"ours-{size_limit}", rows, **settings) == theirs(
            tmp_path / f"theirs-{size_limit}", rows, **settings
        )


def test_streaming_reads_what_is_written(tmp_path: Path) -> None:
    streaming = pytest.importorskip("streaming")
    rows = list(made_rows(COLUMNS, 30))
    ours(tmp_path / "ours", rows, compression="zstd:3", hashes=["sha1", "xxh64"], size_limit=1 << 14)
    dataset = streaming.StreamingDataset(local=str(tmp_path / "ours"), batch_size=1, validate_hash="xxh64")
    read = list(dataset)
    assert [{name: row[name].tolist() for name in COLUMNS} for row in read] == [
        {name: row[name].tolist() for name in COLUMNS} for row in rows
    ]


def test_no_row_is_an_index_without_shards(tmp_path: Path) -> None:
    writer = MdsWriter(str(tmp_path), COLUMNS, compression=None, hashes=(), size_limit=1 << 12)
    writer.finish()
    assert written(tmp_path) == {"index.json": b'{"shards": [], "version": 2}'}


def test_rows_are_read_back(tmp_path: Path) -> None:
    rows = list(made_rows(COLUMNS, 8))
    found = ours(tmp_path / "ours", rows, compression=None, hashes=[], size_limit=1 << 26)
    read = list(rows_of(found["shard.00000.mds"], sorted(COLUMNS)))
    assert [row["tokens"].tolist() for row in read] == [row["tokens"].tolist() for row in rows]


@pytest.mark.parametrize("compression", SETTINGS)
def test_what_is_compressed_is_unpacked(compression: str) -> None:
    data = bytes(range(256)) * 40
    assert decompress(compress(data, compression), compression, limit=len(data)) == data


@pytest.mark.parametrize(
    "array", [np.arange(3), np.zeros((2, 2), np.int32), np.zeros(0, np.int32)], ids=["int64", "2-D", "empty"]
)
def test_an_array_that_no_reader_expects_is_refused(array: Any, tmp_path: Path) -> None:
    writer = MdsWriter(str(tmp_path), ["tokens"], compression=None, hashes=(), size_limit=1 << 12)
    with pytest.raises(ValueError, match="expected one or more int32"):
        writer.write({"tokens": array})


@pytest.mark.parametrize("name", ["lz4", "zstd:0", "zstd:23", "gz:x", "snappy:1", "br:", "zstd:03"])
def test_a_compression_that_streaming_does_not_know_is_none_of_ours(name: str) -> None:
    assert not is_compression(name)
