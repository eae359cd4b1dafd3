from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.increments.publish import remove_increment
from pipelines.steps.dedup.minhash import SCHEME
from pipelines.store import near_index
from pipelines.store.near_index import (
    NearIndex,
    check_indexes,
    merge_index,
    num_partitions,
    partition_of,
    write_index,
    write_partition,
)
from schemas import storage
from schemas.corpus_config import NearDedupConfig
from schemas.corpus_layout import near_index_uri
from schemas.errors import CorpusError

CONFIG = NearDedupConfig()
Rows = Sequence[tuple[int, int]]
Write = Callable[..., str]
FAR = 1 << 63


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://near-{uuid.uuid4().hex}"


@pytest.fixture
def write(corpus: str) -> Write:
    """Write an index of (key, content) rows for an increment and return its directory."""

    def make(
        number: int,
        rows: Rows,
        *,
        count: int = 1,
        config: NearDedupConfig = CONFIG,
        scheme: str = SCHEME,
    ) -> str:
        uri = near_index_uri(corpus, "domain", f"{number:06d}")
        keys, contents = np.array(rows, np.uint64).reshape(-1, 2).T
        partitions = partition_of(keys, count)
        entries = [
            write_partition(uri, part, keys[partitions == part], contents[partitions == part])
            for part in set(partitions.tolist())
        ]
        write_index(uri, config, entries, count=count, scheme=scheme)
        return uri

    return make


def found(corpus: str, numbers: Sequence[int], keys: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    hits = NearIndex.open(corpus, "domain", [f"{each:06d}" for each in numbers], CONFIG).find(
        np.array(keys, np.uint64)
    )
    return sorted(zip(hits.query.tolist(), hits.content.tolist(), hits.number.tolist(), strict=True))


@pytest.mark.parametrize("count", [1, 3, 64])
def test_rows_are_found_by_any_of_a_documents_keys(corpus: str, write: Write, count: int) -> None:
    write(1, [(5, 50), (FAR, 51), (FAR, 52), (2**64 - 1, 53), (0, 54)], count=count)
    assert found(corpus, [1], [[5, 6], [7, FAR], [2**64 - 1, 0], [1, 2]]) == [
        (0, 50, 1),
        (1, 51, 1),
        (1, 52, 1),
        (2, 53, 1),
        (2, 54, 1),
    ]


def test_increments_are_searched_together_and_one_without_an_index_has_nothing(
    corpus: str, write: Write
) -> None:
    write(1, [(5, 50)])
    write(3, [(5, 51), (6, 52)])
    assert found(corpus, [1, 2, 3], [[5], [6]]) == [(0, 50, 1), (0, 51, 3), (1, 52, 3)]
    assert found(corpus, [2], [[5]]) == []
    assert found(corpus, [1, 2, 3], np.empty((0, 14), np.uint64)) == []  # type: ignore[arg-type]


def test_many_rows_are_found_in_partitions_that_are_mapped(
    corpus: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_index, "_MAPPED_BYTES", 1)
    random = np.random.default_rng(3)
    rows = random.integers(0, 2**64, (20_000, 2), np.uint64, endpoint=False)
    write(1, rows, count=7)  # type: ignore[arg-type]
    index = NearIndex.open(corpus, "domain", ["000001"], CONFIG)
    hits = index.find(rows[:, :1])
    assert hits.query[np.argsort(hits.query)].tolist() == list(range(20_000))
    assert (hits.content == rows[hits.query, 1]).all()
    assert not len(index.find(rows[:, :1] + np.uint64(1)).query)


def test_partitions_are_ranges_of_keys_in_order() -> None:
    keys = np.sort(np.random.default_rng(1).integers(0, 2**64, 10_000, np.uint64, endpoint=False))
    parts = partition_of(keys, 10)
    assert (np.diff(parts.astype(np.int64)) >= 0).all()
    assert np.bincount(parts.astype(np.int64)).tolist() == pytest.approx([1000] * 10, rel=0.15)
    assert [num_partitions(rows) for rows in (0, 1, 1 << 21, (1 << 21) + 1)] == [1, 1, 1, 2]


def test_the_same_rows_give_the_same_bytes_in_any_order_and_once(corpus: str, write: Write) -> None:
    rows = [(5, 50), (FAR, 51), (FAR, 50)]
    one, two = write(1, rows, count=2), write(2, [*rows[::-1], rows[1]], count=2)
    for name in ("index.json", "00000.near", "00001.near"):
        assert storage.read_bytes(f"{one}/{name}") == storage.read_bytes(f"{two}/{name}")
    assert len(storage.read_bytes(f"{one}/00001.near")) == 2 * 16


@pytest.mark.parametrize(
    ("values", "differs"), [({"bands": 20}, "bands 20"), ({"rows": 5}, "rows 5"), ({"ngram": 8}, "ngram 8")]
)
def test_keys_made_in_another_way_are_refused(
    corpus: str, write: Write, values: dict[str, int], differs: str
) -> None:
    uri = write(1, [(5, 50)])
    for check in (NearIndex.open, check_indexes):
        with pytest.raises(CorpusError) as caught:
            check(corpus, "domain", ["000001", "000002"], NearDedupConfig(**values))
        message = str(caught.value)
        made_with = (
            "its keys were made with scheme minhash-2, ngram 5, bands 14, rows 8, but dedup.near says "
        )
        assert message.startswith(f"{uri}: {made_with}")
        assert differs in message
        assert message.endswith(
            "Keep the index's values, set dedup.near to null to keep near copies, or build a new corpus."
        )


def test_keys_of_an_unknown_scheme_are_refused(corpus: str, write: Write) -> None:
    write(1, [(5, 50)], scheme="minhash-0")
    with pytest.raises(CorpusError, match=r"made with scheme minhash-0, .* says scheme minhash-2"):
        check_indexes(corpus, "domain", ["000001"], CONFIG)


def test_a_corpus_keeps_the_scheme_of_its_keys(corpus: str, write: Write) -> None:
    assert check_indexes(corpus, "domain", ["000001"], CONFIG) == "minhash-2"
    write(1, [(5, 50)], scheme="minhash-1")
    write(2, [(6, 60)], scheme="minhash-1")
    names = ["000001", "000002"]
    assert check_indexes(corpus, "domain", names, CONFIG) == "minhash-1"
    assert found(corpus, [1, 2], [[5], [6]]) == [(0, 50, 1), (1, 60, 2)]
    merge_index(corpus, "domain", names, "000003", lambda contents: np.ones(len(contents), bool))
    assert check_indexes(corpus, "domain", ["000003"], CONFIG) == "minhash-1"


def test_keys_of_two_schemes_are_refused(corpus: str, write: Write) -> None:
    write(1, [(5, 50)], scheme="minhash-1")
    write(2, [(5, 50)])
    for check in (NearIndex.open, check_indexes):
        with pytest.raises(CorpusError, match=r"000002.*minhash-2, .* says scheme minhash-1"):
            check(corpus, "domain", ["000001", "000002"], CONFIG)


def _remove(uri: str) -> None:
    fs, path = storage.filesystem(uri)
    fs.rm_file(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda uri: _remove(f"{uri}/index.json"), r"000001\.domain: has no index\.json"),
        (lambda uri: storage.write_bytes(f"{uri}/index.json", b"{"), r"index\.json: is damaged"),
        (lambda uri: storage.write_bytes(f"{uri}/index.json", b"[]"), r"index\.json: is damaged"),
        (lambda uri: storage.write_bytes(f"{uri}/index.json", b'{"keys": {}}'), r"index\.json: is damaged"),
        (lambda uri: _remove(f"{uri}/00001.near"), r"00001\.near: is missing, though index\.json names it"),
        (
            lambda uri: storage.write_bytes(f"{uri}/00001.near", b"\0" * 31),
            r"00001\.near: is damaged: it has 31 bytes, expected 32",
        ),
    ],
)
def test_a_damaged_index_is_refused(
    corpus: str, write: Write, damage: Callable[[str], None], message: str
) -> None:
    uri = write(1, [(5, 50), (FAR, 51), (FAR, 52)], count=2)
    damage(uri)
    with pytest.raises(CorpusError, match=message):
        NearIndex.open(corpus, "domain", ["000001"], CONFIG)
    with pytest.raises(CorpusError, match=message):
        merge_index(corpus, "domain", ["000001"], "000002", lambda contents: contents > 0)
    assert not storage.exists(near_index_uri(corpus, "domain", "000002"))


def test_bytes_that_were_changed_are_noticed_when_all_of_them_are_read(corpus: str, write: Write) -> None:
    uri = write(1, [(5, 50), (FAR, 51)], count=2)
    storage.write_bytes(f"{uri}/00001.near", b"\xff" * 16)
    with pytest.raises(CorpusError, match=r"00001\.near: is damaged: its bytes do not have the hash"):
        merge_index(corpus, "domain", ["000001"], "000002", lambda contents: contents > 0)
    assert not storage.exists(f"{near_index_uri(corpus, 'domain', '000002')}/index.json")


def test_indexes_are_merged_into_one_without_what_is_not_current(corpus: str, write: Write) -> None:
    write(1, [(5, 50), (FAR, 51), (7, 57)], count=3)
    write(2, [(5, 52), (FAR, 51), (FAR + 1, 50)], count=2)
    write(4, [])
    asked: list[int] = []

    def is_current(contents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.extend(contents.tolist())
        return np.isin(contents, [50, 51, 52])

    merge_index(corpus, "domain", ["000001", "000002", "000003", "000004"], "000005", is_current)
    assert sorted(asked) == [50, 50, 51, 51, 52, 57]
    assert found(corpus, [5], [[5], [7], [FAR], [FAR + 1]]) == [
        (0, 50, 5),
        (0, 52, 5),
        (2, 51, 5),
        (3, 50, 5),
    ]
    assert found(corpus, [1], [[7]]) == [(0, 57, 1)]


@pytest.mark.parametrize("counts", [(1, 1), (4, 9), (16, 3)])
def test_a_merged_index_is_the_one_that_would_have_been_written_at_once(
    corpus: str, write: Write, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int]
) -> None:
    monkeypatch.setattr(near_index, "_PARTITION_ROWS", 1000)
    random = np.random.default_rng(4)
    rows = random.integers(0, 2**64, (5_000, 2), np.uint64, endpoint=False)
    write(1, rows[:3_000], count=counts[0])  # type: ignore[arg-type]
    write(2, rows[3_000:], count=counts[1])  # type: ignore[arg-type]
    merge_index(
        corpus, "domain", ["000001", "000002"], "000003", lambda contents: np.ones(len(contents), bool)
    )
    merged = near_index_uri(corpus, "domain", "000003")
    at_once = write(4, rows, count=5)  # type: ignore[arg-type]
    assert json.loads(storage.read_bytes(f"{merged}/index.json")) == json.loads(
        storage.read_bytes(f"{at_once}/index.json")
    )
    for number in range(5):
        name = f"{number:05d}.near"
        assert storage.read_bytes(f"{merged}/{name}") == storage.read_bytes(f"{at_once}/{name}")


def test_nothing_is_merged_where_no_increment_has_an_index(corpus: str) -> None:
    merge_index(corpus, "domain", ["000001", "000002"], "000003", lambda contents: contents > 0)
    assert not storage.exists(near_index_uri(corpus, "domain", "000003"))


def test_indexes_made_in_different_ways_are_not_merged(corpus: str, write: Write) -> None:
    write(1, [(5, 50)])
    write(2, [(5, 50)], config=NearDedupConfig(rows=7))
    with pytest.raises(
        CorpusError, match=r"000002\.domain: its keys were made with .* rows 7, but the index .*001"
    ):
        merge_index(corpus, "domain", ["000001", "000002"], "000003", lambda contents: contents > 0)


def test_the_index_of_an_increment_that_is_not_published_is_removed(corpus: str, write: Write) -> None:
    kept, gone = write(1, [(5, 50)]), write(2, [(5, 50)])
    remove_increment(corpus, "000002")
    assert [storage.exists(uri) for uri in (kept, gone)] == [True, False]


@pytest.mark.parametrize("mapped_bytes", [0, near_index._MAPPED_BYTES])
def test_only_the_partitions_of_the_keys_are_read_and_once_for_all_threads(
    write: Write, corpus: str, reads: Counter[str], monkeypatch: pytest.MonkeyPatch, mapped_bytes: int
) -> None:
    if not corpus.startswith("memory://"):
        pytest.skip("counts reads of a store")
    monkeypatch.setattr(near_index, "_MAPPED_BYTES", mapped_bytes)
    write(1, [(1, 10), (FAR >> 1, 20), (FAR, 30), (FAR + (FAR >> 1), 40)], count=4)
    reads.clear()
    index = NearIndex.open(corpus, "domain", ["000001"], CONFIG)
    assert reads == {"index.json": 1}
    queries = [np.array([[FAR, 1], [2, FAR + 1]], np.uint64)] * 16
    with ThreadPoolExecutor(8) as threads:
        contents = [hits.content.tolist() for hits in threads.map(index.find, queries)]
    assert contents == [[10, 30]] * 16
    assert reads == {"index.json": 1, "00000.near": 1, "00002.near": 1}
