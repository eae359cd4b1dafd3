"""Shards that are missing or damaged are named before training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import CorpusError
from schemas.manifest import read_manifest
from trainer.data.verify_shards import verify_shards

SEQ_LEN = 32


def shard_files(corpus: str) -> list[Path]:
    return sorted(Path(corpus).glob("increments/000001/shards/domain/*/*.mds*"))


def first_set(corpus: str) -> Any:
    return read_manifest(corpus).shard_sets("domain")[0]


def test_verification_passes_on_a_whole_corpus(corpus: str) -> None:
    verify_shards(corpus, first_set(corpus))


def test_verification_names_a_missing_shard(corpus: str) -> None:
    victim = shard_files(corpus)[1]
    victim.unlink()
    with pytest.raises(CorpusError, match=f"00000/{victim.name}: shard is missing"):
        verify_shards(corpus, first_set(corpus))


def test_verification_names_a_truncated_shard(corpus: str) -> None:
    victim = shard_files(corpus)[1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-3])
    with pytest.raises(
        CorpusError, match=f"{victim.name}: shard has {len(whole) - 3} bytes, its index says {len(whole)}"
    ):
        verify_shards(corpus, first_set(corpus))


@pytest.mark.parametrize("algorithm", ["sha1", "xxh128"])
def test_verification_names_a_shard_of_another_hash(make_corpus: Callable[..., str], algorithm: str) -> None:
    corpus = make_corpus({"domain": [[([3] * SEQ_LEN, [SEQ_LEN])] * 9]}, hashes=[algorithm], compression=None)
    verify_shards(corpus, first_set(corpus))
    victim = shard_files(corpus)[0]
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with pytest.raises(CorpusError, match=f"{victim.name}: shard has {algorithm}"):
        verify_shards(corpus, first_set(corpus))


def test_verification_compares_the_index_with_the_manifest(corpus: str) -> None:
    wrong = first_set(corpus).model_copy(update={"num_samples": 31})
    with pytest.raises(CorpusError, match="announces 30 rows, the manifest 31"):
        verify_shards(corpus, wrong)
