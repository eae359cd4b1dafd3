"""Rows of an epoch, counted one by one: proportion, repeat, choose, at any number of readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.train_config import DatasetConfig, LoaderConfig, TrainStreamConfig
from trainer.data import row_loader as data
from trainer.data.resolve_streams import resolve_streams
from trainer.data.row_dataset import count_own_batches
from trainer.data.rows_per_epoch import check_epochs, rows_per_epoch

SEQ_LEN = 32
FIRST = {"domain": 100, "general": 300, "raw": 500}
"""First token of the first row of each stream; the rows that follow count on."""


def dataset_of(corpus: str, tmp_path: Path, epoch_size: int | None = None, **streams: Any) -> DatasetConfig:
    return DatasetConfig(
        streams={name: TrainStreamConfig(corpus=corpus, **given) for name, given in streams.items()},
        epoch_size=epoch_size,
        cache_dir=str(tmp_path / "cache"),
    )


def loader_of(dataset: DatasetConfig, *, num_workers: int = 0, batch_size: int = 1) -> data.RowLoader:
    config = LoaderConfig(dataset=dataset, num_workers=num_workers)
    return data.build_loader(config, resolve_streams(dataset), batch_size=batch_size, vocab_size=2048)


def rows_seen(loader: data.RowLoader) -> list[int]:
    return [int(first) for batch in loader for first in batch["input_ids"][:, 0]]


def rows_of_ranks(loader: data.RowLoader, num_ranks: int, *, epoch: int = 0) -> list[list[int]]:
    """Rows of an epoch for each rank, divided as Streaming divides them on every rank."""
    from streaming.base.batching import generate_work
    from streaming.base.world import World

    rows = loader.dataset
    rows.num_canonical_nodes = 1
    rows.shuffle_block_size = 1 << 18
    rows.enter_phase(epoch)
    world = World(num_nodes=1, ranks_per_node=num_ranks, workers_per_rank=1, worker=0)
    ids = generate_work("random", rows, world, epoch, 0)[0].reshape(num_ranks, -1)
    return [[int(rows[int(at)]["tokens"][0]) for at in each if at != -1] for each in ids]


def name_of(row: int) -> str:
    return max((first, name) for name, first in FIRST.items() if first <= row)[1]


@pytest.fixture
def full_corpus(make_corpus: Callable[..., str]) -> str:
    """Three streams of full rows: domain of 48 in two increments, general of 60, raw of 20."""

    def full_rows(num_rows: int, first: int) -> list[Any]:
        return [([first + i, *[7] * (SEQ_LEN - 1)], [20, SEQ_LEN - 20]) for i in range(num_rows)]

    return make_corpus(
        {
            "domain": [full_rows(30, 100), full_rows(18, 130)],
            "general": [full_rows(60, 300)],
            "raw": [full_rows(20, 500)],
        }
    )


MIXES: list[Any] = [
    pytest.param(
        {"domain": {"proportion": 2}, "general": {"proportion": 1}, "raw": {"proportion": 1}},
        120,
        {"domain": 60, "general": 30, "raw": 30},
        id="proportion",
    ),
    pytest.param(
        {"domain": {"repeat": 1.5}, "general": {"repeat": 0.5}, "raw": {}},
        None,
        {"domain": 72, "general": 30, "raw": 20},
        id="repeat",
    ),
    pytest.param(
        {"domain": {"choose": 10}, "general": {"choose": 70}, "raw": {"repeat": 3}},
        None,
        {"domain": 10, "general": 70, "raw": 60},
        id="choose",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("streams", "epoch_size", "expected"), MIXES)
@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_an_epoch_holds_each_stream_to_the_token(
    full_corpus: str,
    tmp_path: Path,
    streams: Any,
    epoch_size: int | None,
    expected: dict[str, int],
    num_workers: int,
) -> None:
    dataset = dataset_of(full_corpus, tmp_path, epoch_size, **streams)
    tokens: Counter[str] = Counter()
    seen: list[int] = []
    for batch in loader_of(dataset, num_workers=num_workers, batch_size=2):
        for row in batch["input_ids"]:
            seen.append(int(row[0]))
            tokens[name_of(int(row[0]))] += len(row)
    assert tokens == {name: rows * SEQ_LEN for name, rows in expected.items()}
    assert_spread_evenly(seen)


@pytest.mark.parametrize(("streams", "epoch_size", "expected"), MIXES)
def test_two_ranks_together_hold_each_stream_to_the_token(
    full_corpus: str, tmp_path: Path, streams: Any, epoch_size: int | None, expected: dict[str, int]
) -> None:
    loader = loader_of(dataset_of(full_corpus, tmp_path, epoch_size, **streams))
    first, second = rows_of_ranks(loader, 2)
    assert len(first) == len(second)
    assert Counter(map(name_of, first + second)) == expected
    assert_spread_evenly(first + second)


def assert_spread_evenly(seen: list[int]) -> None:
    """Assert that the counts of a shard's rows differ by at most 1."""
    times: dict[str, list[int]] = {}
    for row, count in Counter(seen).items():
        times.setdefault(name_of(row), []).append(count)
    for name, counts in times.items():
        assert max(counts) - min(counts) <= 1, name


def test_ranks_that_cannot_share_an_epoch_evenly_are_given_one_row_twice(
    full_corpus: str, tmp_path: Path
) -> None:
    loader = loader_of(dataset_of(full_corpus, tmp_path, 41, domain={}))
    first, second = rows_of_ranks(loader, 2)
    assert (len(first), len(second), len({*first, *second})) == (21, 21, 41)


@pytest.mark.slow
def test_an_epoch_is_at_least_one_batch_and_may_have_more_readers_than_batches(
    full_corpus: str, tmp_path: Path
) -> None:
    dataset = dataset_of(full_corpus, tmp_path, 5, domain={})
    check_epochs(dataset, resolve_streams(dataset), batch_rows=5)
    with pytest.raises(ConfigError, match="an epoch has 5 rows, too few for a batch of 6 rows"):
        check_epochs(dataset, resolve_streams(dataset), batch_rows=6)
    loader = loader_of(dataset, num_workers=3, batch_size=4)
    for _ in range(2):
        assert len(set(rows_seen(loader))) == 4


def test_every_epoch_is_shuffled_anew_and_alike_for_one_seed(full_corpus: str, tmp_path: Path) -> None:
    dataset = dataset_of(full_corpus, tmp_path, domain={})
    loader = loader_of(dataset)
    first, second = rows_seen(loader), rows_seen(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100, 148))
    assert rows_seen(loader_of(dataset)) == first


def test_without_shuffling_rows_come_in_the_order_in_which_they_were_written(
    full_corpus: str, tmp_path: Path
) -> None:
    dataset = dataset_of(full_corpus, tmp_path, domain={}).model_copy(update={"shuffle": False})
    assert rows_seen(loader_of(dataset)) == list(range(100, 148))


def test_without_weights_every_row_is_seen_once(corpus: str, tmp_path: Path) -> None:
    seen = rows_seen(loader_of(dataset_of(corpus, tmp_path, domain={}, general={})))
    assert sorted(seen) == [*range(100, 148), *range(300, 360)]


@pytest.mark.parametrize(
    ("streams", "epoch_size", "expected"),
    [
        ({"domain": {"proportion": 1}, "general": {"proportion": 1}}, 101, [[32, 19], [50]]),
        ({"domain": {"proportion": 3}, "general": {"proportion": 1}}, None, [[51, 30], [27]]),
        ({"domain": {"repeat": 2.0}, "general": {"choose": 7}}, None, [[60, 36], [7]]),
        ({"domain": {}, "general": {}}, 54, [[15, 9], [30]]),
    ],
)
def test_rows_are_divided_by_largest_remainder(
    corpus: str, tmp_path: Path, streams: Any, epoch_size: int | None, expected: list[list[int]]
) -> None:
    dataset = dataset_of(corpus, tmp_path, epoch_size, **streams)
    assert rows_per_epoch(dataset, resolve_streams(dataset)) == expected


def test_proportions_are_exact_whatever_the_number_of_increments(
    make_corpus: Callable[..., str], tmp_path: Path
) -> None:
    """Streaming's own division rounds each increment down and assigns the remainder at random."""
    rows = [([9] * SEQ_LEN, [SEQ_LEN])]
    corpus = make_corpus({"domain": [rows * 3] * 11, "general": [rows * 7]}, name="many")
    dataset = dataset_of(corpus, tmp_path, 1000, domain={"proportion": 0.7}, general={"proportion": 0.3})
    domain, general = rows_per_epoch(dataset, resolve_streams(dataset))
    assert (sum(domain), sum(general)) == (700, 300)
    assert np.ptp(domain) <= 1


def test_epoch_size_beside_repeat_is_refused(corpus: str, tmp_path: Path) -> None:
    dataset = dataset_of(corpus, tmp_path, 5, domain={"repeat": 2.0})
    with pytest.raises(ConfigError, match="repeat or choose of the streams already settle the epoch"):
        rows_per_epoch(dataset, resolve_streams(dataset))


@pytest.mark.parametrize("num_rows", [52, 53, 54, 55])  # in batches of 4
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_an_epoch_has_the_same_batches_on_any_number_of_ranks(num_rows: int, num_workers: int) -> None:
    from streaming.base.partition import get_partitions

    def batches(num_ranks: int, first: int) -> list[list[int]]:
        size = 4 // num_ranks
        dealt = get_partitions("relaxed", num_rows, 1, 1, num_ranks, num_workers, size, first * 4, 1)[0]
        left = num_rows // 4 - first
        read = [
            [dealt[rank, i, : count_own_batches(left, i, num_workers)] for i in range(num_workers)]
            for rank in range(num_ranks)
        ]
        assert [sum(map(len, workers)) for workers in read] == [left] * num_ranks
        return [
            sorted(np.concatenate([workers[i % num_workers][i // num_workers] for workers in read]).tolist())
            for i in range(left)
        ]

    whole = [list(range(start, start + 4)) for start in range(0, 52, 4)]
    for num_ranks in (1, 2, 4):
        for first in range(13):
            assert batches(num_ranks, first) == whole[first:]
