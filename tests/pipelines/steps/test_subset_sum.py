from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies

from pipelines.steps.subset_sum import fullest_subset


@given(
    sizes=strategies.lists(strategies.integers(1, 30), max_size=9),
    limit=strategies.integers(0, 60),
)
def test_no_other_subset_comes_closer(sizes: list[int], limit: int) -> None:
    chosen = fullest_subset(sizes, limit)
    assert chosen == sorted(set(chosen))
    sums = {sum(some) for count in range(len(sizes) + 1) for some in itertools.combinations(sizes, count)}
    assert sum(sizes[index] for index in chosen) == max(each for each in sums if each <= limit)


def test_of_equal_sums_it_takes_that_of_the_first_sizes() -> None:
    assert fullest_subset([4, 3, 1, 7], 7) == [0, 1]


@pytest.mark.parametrize("sizes", [[], [5, 4]])
def test_nothing_fits(sizes: list[int]) -> None:
    assert fullest_subset(sizes, 3) == []
