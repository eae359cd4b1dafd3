"""`corpus prune`: it deletes files that no kept manifest needs; no manifest names a deleted file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.increments.compact import compact
from pipelines.increments.lease import held, new_token
from pipelines.increments.prune import prune
from pipelines.inspect.verify import verify_corpus
from schemas import storage
from schemas.corpus_layout import manifest_numbers
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest, publish_manifest, read_manifest

Config = Callable[..., Any]


def make_corpus(corpus: str, *manifests: tuple[int, ...]) -> str:
    """A corpus of hand-made files of 10 bytes; the n-th manifest names the increments of the n-th tuple."""
    for number, increments in enumerate(manifests, 1):
        for name in files_of_increment(number):
            storage.write_bytes(storage.join(corpus, name), b"0123456789")
        publish_manifest(
            corpus,
            Manifest(
                number=number,
                created="2026-01-01T00:00:00+00:00",
                seq_len=8,
                tokenizer="t",
                tokenizer_name="t",
                pad_token_id=0,
                config_hash="",
                increments=tuple(Increment(number=n, streams={}, num_documents=1) for n in increments),
            ),
        )
    storage.write_bytes(storage.join(corpus, "sources.jsonl.zst"), b"note")
    storage.write_bytes(storage.join(corpus, "journal", "1-a-0001.jsonl"), b"{}\n")
    storage.write_bytes(storage.join(corpus, "tokenizer", "tokenizer.json"), b"{}")
    return corpus


def files_of_increment(number: int) -> list[str]:
    return [
        f"dedup/{number:06d}.domain/bands",
        f"increments/{number:06d}/shards/domain/index.json",
        f"increments/{number:06d}/texts/domain-00000.jsonl.zst",
        f"ledger/{number:06d}.domain.ledger",
    ]


def files(corpus: str) -> list[str]:
    fs, path = storage.filesystem(corpus)
    found = (each[len(path) :].lstrip("/") for each in fs.find(path))
    return sorted(name for name in found if not name.startswith("lock/"))


KEPT = ["journal/1-a-0001.jsonl", "sources.jsonl.zst", "tokenizer/tokenizer.json"]
COMPACTED = ((1,), (1, 2), (1, 2, 3), (4,), (4, 5))
"""Three builds, a compaction and a build."""


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return make_corpus(str(tmp_path / "corpus"), *COMPACTED)
    fsspec.filesystem("memory").store.clear()
    return make_corpus("memory://bucket/corpus", *COMPACTED)


def test_increments_go_that_the_newest_manifest_does_not_name_and_manifests_that_name_them(
    corpus: str,
) -> None:
    pruned = prune(corpus)
    assert (pruned.manifests, pruned.increments, pruned.kept) == ((1, 2, 3), (1, 2, 3), (4, 5))
    assert files(corpus) == sorted(
        [
            *KEPT,
            *files_of_increment(4),
            *files_of_increment(5),
            "manifest/000004.json",
            "manifest/000005.json",
        ]
    )
    assert read_manifest(corpus).number == 5
    with pytest.raises(CorpusError, match="has no manifest 2, or no longer; the newest is 5"):
        read_manifest(corpus, 2)
    assert prune(corpus).num_bytes == 0


def test_a_manifest_that_is_kept_keeps_all_that_it_names(corpus: str) -> None:
    pruned = prune(corpus, keep=[2])
    assert (pruned.manifests, pruned.increments, pruned.kept) == ((3,), (3,), (1, 2, 4, 5))
    left = set(files(corpus))
    assert {name for number in (1, 2, 4, 5) for name in files_of_increment(number)} <= left
    assert not left & set(files_of_increment(3))
    with pytest.raises(CorpusError, match="has no manifest 9; the newest is 5"):
        prune(corpus, keep=[9])


def test_a_corpus_that_only_grew_loses_nothing(tmp_path: Path) -> None:
    corpus = make_corpus(str(tmp_path), (1,), (1, 2))
    before = files(corpus)
    pruned = prune(corpus)
    assert (pruned.kept, pruned.num_bytes, files(corpus)) == ((1, 2), 0, before)


def test_what_killed_runs_left_goes(corpus: str) -> None:
    temporary = f"manifest/000006.json.{'a' * 32}.tmp"
    for name in (*files_of_increment(6), *files_of_increment(8), temporary):
        storage.write_bytes(storage.join(corpus, name), b"left")
    found = prune(corpus, dry_run=True)
    assert found.leftovers == ("000006", "000008", "000006.json." + "a" * 32 + ".tmp")
    prune(corpus)
    assert not [name for name in files(corpus) if "000006" in name or "000008" in name]


def test_a_dry_run_says_the_same_and_removes_nothing(corpus: str) -> None:
    before = files(corpus)
    found = prune(corpus, dry_run=True, journal=True)
    assert files(corpus) == before
    assert found.num_bytes > 3 * 40
    assert prune(corpus, journal=True) == found
    assert "journal/1-a-0001.jsonl" not in files(corpus)


@pytest.mark.parametrize("removals", range(12))
def test_whenever_it_is_interrupted_no_manifest_names_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    corpus = make_corpus(str(tmp_path), *COMPACTED)
    done: list[str] = []
    remove = storage.remove_tree

    def interrupted(uri: str) -> None:
        if len(done) == removals:
            raise KeyboardInterrupt
        done.append(uri)
        remove(uri)

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.increments.prune.storage.remove_tree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune(corpus)
    left = set(files(corpus))
    for number in manifest_numbers(corpus):
        for increment in read_manifest(corpus, number).numbers():
            assert set(files_of_increment(increment)) <= left
    prune(corpus)
    assert manifest_numbers(corpus) == [4, 5]
    assert not any(f"00000{number}" in name for name in files(corpus) for number in (1, 2, 3, 6))


def test_a_corpus_that_a_run_is_at_work_on_is_left_alone(tmp_path: Path) -> None:
    corpus = make_corpus(str(tmp_path), *COMPACTED)
    with held(corpus, new_token()):
        before = files(corpus)
        for dry_run in (True, False):
            with pytest.raises(CorpusError, match=f"another run holds this corpus .process {os.getpid()} "):
                prune(corpus, dry_run=dry_run)
        assert files(corpus) == before


@pytest.mark.slow
def test_a_pruned_corpus_is_sound_and_goes_on(
    tmp_path: Path, corpus_config: Config, passages: Any, write_jsonl: Any, build: Any, tutelage: Any
) -> None:
    config = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    for number in range(2):
        write_jsonl(tmp_path / f"in/{number}.jsonl", passages(4 * number + 4)[4 * number :])
        build(config)
    assert compact(config, quiet=True) is not None
    (tmp_path / "corpus.yaml").write_text(json.dumps(config.model_dump(mode="json")))

    dry = tutelage("corpus", "prune", str(tmp_path / "corpus.yaml"), "--dry-run")
    assert dry.status == 0, dry.err
    assert dry.out.startswith(f"{config.corpus}: would remove 0.")
    assert dry.out.endswith(
        " MB; manifests kept: 3.\n"
        "  increments 1, 2, which no kept manifest names\n"
        "  manifests 1, 2: training runs that pin them cannot resume\n"
    )
    done = tutelage("corpus", "prune", config.corpus)
    assert done.out == dry.out.replace("would remove", "removed")
    again = tutelage("corpus", "prune", config.corpus)
    assert again.out == f"{config.corpus}: nothing to remove; manifests kept: 3.\n"

    assert not verify_corpus(config.corpus, read_manifest(config.corpus)).damages
    assert build(config) is None
    write_jsonl(tmp_path / "in/2.jsonl", passages(9)[8:])
    assert build(config).numbers() == (3, 4)
