"""Manifests: published once, found by number, refused if damaged or of another format."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import storage
from schemas.corpus_layout import manifest_uri
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest, ShardSet, newest_number, publish_manifest, read_manifest


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "corpus")
        return
    uri = f"memory://{uuid.uuid4().hex}/corpus"
    yield uri
    storage.remove_tree(uri)


def shards(path: str) -> ShardSet:
    return ShardSet(path=path, num_samples=2, num_tokens=60, num_texts=4)


def manifest(number: int, *increments: Increment) -> Manifest:
    return Manifest(
        number=number,
        created="2026-01-31T12:00:00Z",
        seq_len=32,
        tokenizer="f00d",
        tokenizer_name="tiny",
        pad_token_id=0,
        config_hash="beef",
        increments=increments or (Increment(number=1, streams={"domain": shards("i/1")}, num_documents=3),),
    )


def test_an_unpublished_corpus_has_number_zero_and_cannot_be_read(corpus: str) -> None:
    assert newest_number(corpus) == 0
    with pytest.raises(CorpusError) as caught:
        read_manifest(corpus)
    assert str(caught.value) == (
        f"{corpus}: holds no published corpus (no manifest/*.json). Build one with `tutelage corpus build`."
    )


def test_held_out_documents_have_a_key_only_if_there_are_any() -> None:
    increment = Increment(number=1, streams={}, num_documents=3)
    assert "num_held_out" not in manifest(1, increment).model_dump_json()
    some = manifest(1, increment.model_copy(update={"num_held_out": {"domain": 2}}))
    assert json.loads(some.model_dump_json())["increments"][0]["num_held_out"] == {"domain": 2}
    assert Manifest.model_validate_json(some.model_dump_json()) == some


def test_a_published_manifest_comes_back(corpus: str) -> None:
    publish_manifest(corpus, manifest(1))
    assert newest_number(corpus) == 1
    assert read_manifest(corpus) == manifest(1)
    assert manifest_uri(corpus, 1) == f"{corpus}/manifest/000001.json"
    assert storage.exists(f"{corpus}/manifest/000001.json")


def test_the_newest_is_the_highest_number_and_a_number_can_be_pinned(corpus: str) -> None:
    for number in (1, 2, 10):
        publish_manifest(corpus, manifest(number))
    assert newest_number(corpus) == 10
    assert read_manifest(corpus).number == 10
    assert read_manifest(corpus, 2).number == 2


def test_a_number_beyond_six_digits_is_found(corpus: str) -> None:
    publish_manifest(corpus, manifest(999_999))
    publish_manifest(corpus, manifest(1_000_000))
    assert read_manifest(corpus).number == 1_000_000


def test_other_files_beside_the_manifests_are_overlooked(corpus: str) -> None:
    publish_manifest(corpus, manifest(1))
    for name in ("000009.json.abc.tmp", "notes.json", ".json", "000008.txt"):
        storage.write_bytes(storage.join(corpus, "manifest", name), b"{}")
    assert newest_number(corpus) == 1


def test_the_same_number_is_published_once(corpus: str) -> None:
    publish_manifest(corpus, manifest(1))
    with pytest.raises(CorpusError) as caught:
        publish_manifest(corpus, manifest(1).model_copy(update={"config_hash": "other"}))
    assert str(caught.value) == (
        f"{corpus}/manifest/000001.json: another run published this number meanwhile. "
        "Nothing was changed; run the build again."
    )
    assert read_manifest(corpus).config_hash == "beef"


def test_a_pinned_number_that_is_missing_is_told_with_the_newest(corpus: str) -> None:
    publish_manifest(corpus, manifest(3))
    with pytest.raises(CorpusError) as caught:
        read_manifest(corpus, 7)
    assert str(caught.value) == f"{corpus}: has no manifest 7; the newest is 3."


@pytest.mark.parametrize("data", [b"", b'{"format": 1, "num', b"\xff\xfe", b"\x00" * 200])
def test_a_damaged_manifest_is_told(corpus: str, data: bytes) -> None:
    uri = manifest_uri(corpus, 1)
    storage.write_bytes(uri, data)
    with pytest.raises(
        CorpusError, match=r"is damaged: .* Restore it, or pin an older manifest\.$"
    ) as caught:
        read_manifest(corpus)
    assert str(caught.value).startswith(uri)


@pytest.mark.parametrize(("found", "shown"), [(2, "2"), ("1", "'1'"), (None, "None")])
def test_a_manifest_of_another_format_is_told(corpus: str, found: object, shown: str) -> None:
    values = {**manifest(1).model_dump(mode="json"), "format": found, "added_later": True}
    storage.write_bytes(manifest_uri(corpus, 1), json.dumps(values).encode())
    with pytest.raises(CorpusError) as caught:
        read_manifest(corpus)
    assert str(caught.value) == (
        f"{corpus}/manifest/000001.json: is of format {shown}; this version reads format 1. "
        "Use the version of Tutelage that wrote it, or build the corpus anew."
    )


def test_a_manifest_without_a_key_is_told(corpus: str) -> None:
    values = manifest(1).model_dump(mode="json")
    del values["seq_len"]
    storage.write_bytes(manifest_uri(corpus, 1), json.dumps(values).encode())
    with pytest.raises(CorpusError) as caught:
        read_manifest(corpus)
    assert str(caught.value) == (
        f"{corpus}/manifest/000001.json: key 'seq_len' is missing. "
        "The manifest is damaged: restore it, or pin an older one."
    )


def test_a_manifest_that_is_a_list_is_told(corpus: str) -> None:
    storage.write_bytes(manifest_uri(corpus, 1), b"[1]")
    with pytest.raises(CorpusError, match=r"000001\.json: it holds \[1\]: input should be an object"):
        read_manifest(corpus)


def test_streams_and_their_shards_are_listed_oldest_first() -> None:
    both = manifest(
        2,
        Increment(number=1, streams={"general": shards("i/1/g"), "domain": shards("i/1/d")}, num_documents=3),
        Increment(number=2, streams={"domain": shards("i/2/d")}, num_documents=1),
    )
    assert both.stream_names() == ["domain", "general"]
    assert [each.path for each in both.shard_sets("domain")] == ["i/1/d", "i/2/d"]
    assert [each.path for each in both.shard_sets("general")] == ["i/1/g"]
    assert both.shard_sets("none") == []
