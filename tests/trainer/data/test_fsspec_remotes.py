"""Streaming reads a corpus from fsspec's file systems after they are registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from streaming import StreamingDataset
from streaming.base.storage.download import DOWNLOADER_MAPPINGS, S3Downloader

from trainer.data.fsspec_remotes import FsspecDownloader, register_fsspec

SHARDS = "increments/000001/shards/domain"


@pytest.fixture(autouse=True)
def own_mappings() -> Iterator[None]:
    before = dict(DOWNLOADER_MAPPINGS)
    yield
    DOWNLOADER_MAPPINGS.clear()
    DOWNLOADER_MAPPINGS.update(before)


@pytest.fixture
def remote(corpus: str, tmp_path: Path) -> str:
    uri = f"memory://{tmp_path.name}/remote"
    fsspec.filesystem("memory").put(f"{corpus}/{SHARDS}", f"{uri}/{SHARDS}", recursive=True)
    return f"{uri}/{SHARDS}"


def test_streaming_reads_shards_of_a_corpus_from_memory(remote: str, corpus: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unsupported remote path: memory://"):
        StreamingDataset(remote=remote, local=str(tmp_path / "unregistered"), batch_size=1)
    register_fsspec()
    rows = StreamingDataset(remote=remote, local=str(tmp_path / "local"), batch_size=1)
    assert [int(row["tokens"][0]) for row in rows] == list(range(100, 130))


def test_only_the_protocols_named_are_registered_and_streamings_own_stay(tmp_path: Path) -> None:
    register_fsspec(["memory", "s3"])
    assert DOWNLOADER_MAPPINGS["memory"] is FsspecDownloader
    assert DOWNLOADER_MAPPINGS["s3"] is S3Downloader
    assert "ftp" not in DOWNLOADER_MAPPINGS


def test_a_file_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    local = tmp_path / "shard.mds"
    with pytest.raises(FileNotFoundError):
        FsspecDownloader().download("memory://nowhere/shard.mds", str(local))
    assert list(tmp_path.iterdir()) == []
