"""A rank's loader reads all rows, and shards that are missing or damaged stop training by name."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from schemas.errors import ConfigError, CorpusError, TrainingError
from schemas.manifest import read_manifest
from schemas.train_config import DatasetConfig, LoaderConfig, TrainStreamConfig
from trainer.data import row_loader as data
from trainer.data.resolve_streams import resolve_streams
from trainer.data.verify_shards import verify_shards

SEQ_LEN = 32


def loader_config(corpus: str, tmp_path: Path, *, num_workers: int = 0, **streams: Any) -> LoaderConfig:
    streams = streams or {"domain": {"proportion": 0.5}, "general": {"proportion": 0.5}}
    return LoaderConfig(
        dataset=DatasetConfig(
            streams={name: TrainStreamConfig(corpus=corpus, **given) for name, given in streams.items()},
            cache_dir=str(tmp_path / "cache"),
        ),
        num_workers=num_workers,
    )


def make_loader(config: LoaderConfig, batch_size: int = 4, vocab_size: int = 2048) -> data.RowLoader:
    return data.build_loader(
        config, resolve_streams(config.dataset), batch_size=batch_size, vocab_size=vocab_size
    )


def rows_seen(loader: data.RowLoader) -> list[int]:
    return [int(first) for batch in loader for first in batch["input_ids"][:, 0]]


def test_a_temporary_directory_too_long_for_sockets_is_refused_where_it_would_hang(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 80)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(ConfigError, match=r"bytes long; the sockets of reader processes allow 75\. Set a"):
        make_loader(loader_config(corpus, tmp_path, num_workers=2), batch_size=2)
    assert rows_seen(make_loader(loader_config(corpus, tmp_path, num_workers=0), batch_size=2))


def test_an_unknown_stream_answers_with_the_known_ones(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"stream 'domian' is unknown. Did you mean 'domain'\? Available: domain, general"
    ):
        resolve_streams(loader_config(corpus, tmp_path, domian={}).dataset)


@pytest.mark.slow
def test_streams_of_different_row_length_are_refused(
    corpus: str, make_corpus: Callable[..., str], tmp_path: Path
) -> None:
    other = make_corpus({"law": [[([1] * SEQ_LEN, [SEQ_LEN])]]}, name="other", seq_len=64)
    dataset = DatasetConfig(
        streams={"domain": TrainStreamConfig(corpus=corpus), "law": TrainStreamConfig(corpus=other)}
    )
    with pytest.raises(ConfigError, match="streams 'domain' and 'law' have rows of 32 and 64 tokens"):
        resolve_streams(dataset)


def test_a_pinned_manifest_leaves_later_increments_out(corpus: str, tmp_path: Path) -> None:
    assert len(rows_seen(make_loader(loader_config(corpus, tmp_path, domain={"manifest": 1}), 2))) == 30


def shard_files(corpus: str) -> list[Path]:
    return sorted(Path(corpus).glob("increments/000001/shards/domain/*/*.mds*"))


def test_a_corpus_on_another_file_system_is_verified_and_read(corpus: str, tmp_path: Path) -> None:
    remote = f"memory://{tmp_path.name}/corpus"
    fsspec.filesystem("memory").put(corpus, remote, recursive=True)
    verify_shards(remote, read_manifest(remote).shard_sets("domain")[0])
    loader = make_loader(loader_config(remote, tmp_path, domain={}), batch_size=2)
    assert sorted(rows_seen(loader)) == list(range(100, 148))


@pytest.mark.slow
@pytest.mark.timeout(40)
@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("damage", ["missing", "truncated", "garbled"])
def test_a_shard_lost_while_training_fails_the_epoch_by_name(
    corpus: str, tmp_path: Path, num_workers: int, damage: str
) -> None:
    loader = make_loader(loader_config(corpus, tmp_path, num_workers=num_workers), batch_size=2)
    victim = shard_files(corpus)[1]
    whole = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(whole[:-3] if damage == "truncated" else bytes(len(whole)))
    with pytest.raises((TrainingError, CorpusError), match=victim.name) as caught:
        rows_seen(loader)
    assert "Traceback" not in str(caught.value)


def tree_digest(folder: str) -> dict[str, str]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha1(path.read_bytes()).hexdigest() for path in files}


def test_the_corpus_directory_is_left_as_it_was(corpus: str, tmp_path: Path) -> None:
    before = tree_digest(corpus)
    rows_seen(make_loader(loader_config(corpus, tmp_path)))
    assert tree_digest(corpus) == before


def test_a_cached_shard_of_wrong_size_is_fetched_anew(corpus: str, tmp_path: Path) -> None:
    config = loader_config(corpus, tmp_path)
    expected = sorted(rows_seen(make_loader(config)))
    cached = sorted((tmp_path / "cache").rglob("*.mds"))
    cached[0].write_bytes(cached[0].read_bytes()[:-5])
    assert sorted(rows_seen(make_loader(config))) == expected


def test_two_loaders_may_share_a_cache(corpus: str, tmp_path: Path) -> None:
    config = loader_config(corpus, tmp_path)
    first, second = make_loader(config), make_loader(config)
    for one, other in itertools.islice(zip(first, second, strict=True), 3):
        assert torch.equal(one["input_ids"], other["input_ids"])
