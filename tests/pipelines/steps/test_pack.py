from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

from pipelines.steps.pack import PACKERS, Tokens, fullest_subset
from schemas.records import PackedSample

T = 16
PAD = -1


def texts_of(lengths: Iterable[int]) -> list[Tokens]:
    """Texts of unique tokens: each text continues the count of the text before it."""
    texts, at = [], 0
    for length in lengths:
        texts.append(np.arange(at, at + length, dtype=np.int32))
        at += length
    return texts


def pack(method: str, texts: Sequence[Tokens], seq_len: int = T) -> list[PackedSample]:
    return [row.sample for row in PACKERS[method](texts, seq_len=seq_len, pad_id=PAD)]


def plain(rows: Iterable[PackedSample]) -> list[tuple[list[int], list[int]]]:
    return [(row.tokens.tolist(), row.segment_lengths.tolist()) for row in rows]


def segments(rows: Iterable[PackedSample]) -> list[list[int]]:
    found = []
    for row in rows:
        at = 0
        for length in row.segment_lengths.tolist():
            found.append(row.tokens[at : at + length].tolist())
            at += length
    return found


def random_lengths(seed: int, longest: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randint(1, longest) for _ in range(rng.randint(1, 60))]


def test_best_fit_puts_each_text_into_the_fullest_row_with_room_for_it() -> None:
    # 5 opens a row; 4 opens another, since the first has 1 free; 2 fills the second row, 1 the first.
    assert plain(pack("best_fit", texts_of([2, 5, 1, 4]), seq_len=6)) == [
        ([0, 1, 8, 9, 10, 11], [2, 4]),
        ([2, 3, 4, 5, 6, 7], [5, 1]),
    ]


def test_best_fit_cuts_a_text_longer_than_a_row_into_full_rows_and_a_rest() -> None:
    assert plain(pack("best_fit", texts_of([10, 1]), seq_len=4)) == [
        ([0, 1, 2, 3], [4]),
        ([4, 5, 6, 7], [4]),
        ([8, 9, 10, PAD], [2, 1]),
    ]


def test_concat_lays_texts_end_to_end_and_pads_the_last_row_only() -> None:
    assert plain(pack("concat", texts_of([3, 3, 5]), seq_len=4)) == [
        ([0, 1, 2, 3], [3, 1]),
        ([4, 5, 6, 7], [2, 2]),
        ([8, 9, 10, PAD], [3]),
    ]


@pytest.mark.parametrize("method", PACKERS)
def test_no_texts_give_no_rows(method: str) -> None:
    assert pack(method, []) == []


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("seed", range(25))
def test_every_token_comes_through_once_and_in_order_within_its_text(method: str, seed: int) -> None:
    texts = texts_of(random_lengths(seed, longest=3 * T))
    pieces = segments(pack(method, texts))
    assert sorted(token for piece in pieces for token in piece) == list(range(sum(map(len, texts))))
    for piece in pieces:  # tokens count up, so an ordered piece has no gap
        assert piece == list(range(piece[0], piece[0] + len(piece)))


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("seed", range(25))
def test_rows_have_the_row_length_and_are_padding_past_their_segments(method: str, seed: int) -> None:
    for row in pack(method, texts_of(random_lengths(seed, longest=3 * T))):
        filled = int(row.segment_lengths.sum())
        assert row.tokens.dtype == row.segment_lengths.dtype == np.int32
        assert row.tokens.shape == (T,)
        assert 0 < filled <= T
        assert (row.segment_lengths > 0).all()
        assert (row.tokens[:filled] != PAD).all()
        assert (row.tokens[filled:] == PAD).all()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("best_fit", [[(0, 0, 4)], [(2, 0, 4)], [(0, 4, 1), (1, 0, 3)], [(2, 4, 2)]]),
        ("concat", [[(0, 0, 4)], [(0, 4, 1), (1, 0, 3)], [(2, 0, 4)], [(2, 4, 2)]]),
    ],
)
def test_a_row_says_which_tokens_of_which_texts_it_holds(method: str, expected: list[Any]) -> None:
    rows = PACKERS[method](texts_of([5, 3, 6]), seq_len=4, pad_id=PAD)
    assert sorted(row.pieces for row in rows) == sorted(map(tuple, expected))


@pytest.mark.parametrize("method", PACKERS)
@given(
    texts=strategies.lists(
        strategies.lists(strategies.integers(0, 9), min_size=1, max_size=3 * T), max_size=20
    )
)
def test_what_a_row_says_of_its_pieces_gives_its_tokens_back(method: str, texts: list[list[int]]) -> None:
    arrays = [np.array(text, dtype=np.int32) for text in texts]
    held: list[list[int]] = [[] for _ in texts]
    for row in PACKERS[method](arrays, seq_len=T, pad_id=PAD):
        pieces = [texts[piece.text][piece.start : piece.start + piece.num_tokens] for piece in row.pieces]
        assert [len(piece) for piece in pieces] == row.sample.segment_lengths.tolist()
        tokens = [token for piece in pieces for token in piece]
        assert row.sample.tokens.tolist() == tokens + [PAD] * (T - len(tokens))
        for piece in row.pieces:
            held[piece.text] += range(piece.start, piece.start + piece.num_tokens)
    assert [sorted(each) for each in held] == [list(range(len(text))) for text in texts]


@pytest.mark.parametrize("seed", range(25))
def test_best_fit_never_cuts_a_text_that_fits_a_row(seed: int) -> None:
    texts = texts_of(random_lengths(seed, longest=T))
    assert sorted(segments(pack("best_fit", texts))) == [text.tolist() for text in texts]


@pytest.mark.parametrize("seed", range(25))
def test_best_fit_cuts_long_texts_at_multiples_of_the_row_length_only(seed: int) -> None:
    texts = texts_of(random_lengths(seed, longest=4 * T))
    expected = [text[at : at + T].tolist() for text in texts for at in range(0, len(text), T)]
    assert sorted(segments(pack("best_fit", texts))) == expected


@pytest.mark.parametrize("seed", range(25))
def test_best_fit_leaves_no_two_rows_that_would_fit_into_one(seed: int) -> None:
    filled = sorted(
        int(row.segment_lengths.sum()) for row in pack("best_fit", texts_of(random_lengths(seed, T)))
    )
    assert len(filled) < 2 or filled[0] + filled[1] > T


@pytest.mark.parametrize("seed", range(25))
def test_concat_fills_every_row_but_the_last(seed: int) -> None:
    *full, last = pack("concat", texts_of(random_lengths(seed, longest=3 * T)))
    assert all(int(row.segment_lengths.sum()) == T for row in full)
    assert 0 < int(last.segment_lengths.sum()) <= T


def test_best_fit_packs_anew_what_it_left_loose() -> None:
    # The first pass gives 6+4, 5+4, 3+3+3 and 2; the second gives 6+4, 5+3+2 and 4+3+3.
    rows = pack("best_fit", texts_of([6, 5, 4, 4, 3, 3, 3, 2]), seq_len=10)
    assert [row.segment_lengths.sum() for row in rows] == [10, 10, 10]


@pytest.mark.parametrize("seed", range(25))
def test_best_fit_needs_hardly_more_rows_than_there_is_text(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(150, 2500) for _ in range(200)]
    rows = pack("best_fit", texts_of(lengths), seq_len=4096)
    assert len(rows) <= -(-sum(lengths) // 4096) + 1


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("seed", range(25))
def test_topping_up_fills_rows_with_texts_of_others_each_at_most_once_more(method: str, seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(100, 1500) for _ in range(rng.randint(20, 200))]
    texts = texts_of(lengths)
    bare = list(PACKERS[method](texts, seq_len=4096, pad_id=PAD))
    full = list(PACKERS[method](texts, seq_len=4096, pad_id=PAD, top_up=True))
    assert len(full) == len(bare)
    assert sum(int(row.sample.segment_lengths.sum()) for row in full) >= 0.999 * 4096 * len(full)
    times: list[list[int]] = [[0] * length for length in lengths]
    for row in full:
        assert row.sample.segment_lengths.sum() <= 4096
        for piece in row.pieces:
            for at in range(piece.start, piece.start + piece.num_tokens):
                times[piece.text][at] += 1
        if method == "best_fit":
            assert len({piece.text for piece in row.pieces}) == len(row.pieces)
    assert {count for each in times for count in each} <= {1, 2}
    if method == "best_fit":
        pieces = [piece for row in full for piece in row.pieces]
        assert {piece.start for piece in pieces} == {0}
        whole = {piece.text for piece in pieces if piece.num_tokens == lengths[piece.text]}
        assert whole == set(range(len(texts)))


def test_what_no_text_is_short_enough_for_takes_the_beginning_of_one() -> None:
    rows = PACKERS["best_fit"](texts_of([14, 12, 13, 15]), seq_len=T, pad_id=PAD, top_up=True)
    assert [row.pieces for row in rows] == [
        ((0, 0, 14), (2, 0, 2)),
        ((1, 0, 12), (3, 0, 4)),
        ((2, 0, 13), (0, 0, 3)),
        ((3, 0, 15), (1, 0, 1)),
    ]


def test_rows_that_cannot_be_packed_anew_are_topped_up_as_they_are() -> None:
    # A second packing gives 17+9+4, 14+12, 11+10 and 10: a row more than 17+12, 14+11+4 and 10+10+9.
    texts = texts_of([11, 10, 17, 4, 9, 10, 14, 12])
    rows = PACKERS["best_fit"](texts, seq_len=30, pad_id=PAD, top_up=True)
    assert [row.pieces for row in rows] == [
        ((0, 0, 11), (3, 0, 4), (6, 0, 14), (4, 0, 1)),
        ((1, 0, 10), (4, 0, 9), (5, 0, 10), (0, 0, 1)),
        ((2, 0, 17), (7, 0, 12), (3, 0, 1)),
    ]


@pytest.mark.parametrize("method", PACKERS)
def test_a_single_row_is_not_topped_up_with_itself(method: str) -> None:
    (row,) = PACKERS[method](texts_of([3, 2]), seq_len=T, pad_id=PAD, top_up=True)
    assert row.sample.segment_lengths.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("method", "expected"),
    [("best_fit", "a17120a1237a7d2b"), ("concat", "534c203eb21c3116")],
)
def test_golden_rows(method: str, expected: str) -> None:
    """Rows of the same texts must not change between versions, because corpora are rebuilt byte by byte."""
    state = hashlib.sha256()
    for row in pack(method, texts_of(random_lengths(7, longest=40)), seq_len=T):
        state.update(row.segment_lengths.tobytes())
        state.update(row.tokens.tobytes())
    assert state.hexdigest()[:16] == expected


@pytest.mark.parametrize("method", ["best_fit", "concat"])
def test_a_text_that_may_not_be_begun_fills_no_row_with_its_beginning(method: str) -> None:
    texts = texts_of([12, 12, 13])  # no row has room for a second whole text

    def is_topped_up(may_begin: list[bool] | None) -> bool:
        rows = PACKERS[method](texts, seq_len=T, pad_id=PAD, top_up=True, may_begin=may_begin)
        return sum(piece.num_tokens for row in rows for piece in row.pieces) > 37

    assert is_topped_up(None) and is_topped_up([True, False, False])
    assert not is_topped_up([False, False, False])


class TestFullestSubset:
    @given(
        sizes=strategies.lists(strategies.integers(1, 30), max_size=9),
        limit=strategies.integers(0, 60),
    )
    def test_no_other_subset_comes_closer(self, sizes: list[int], limit: int) -> None:
        chosen = fullest_subset(sizes, limit)
        assert chosen == sorted(set(chosen))
        sums = {sum(some) for count in range(len(sizes) + 1) for some in itertools.combinations(sizes, count)}
        assert sum(sizes[index] for index in chosen) == max(each for each in sums if each <= limit)

    def test_of_equal_sums_it_takes_that_of_the_first_sizes(self) -> None:
        assert fullest_subset([4, 3, 1, 7], 7) == [0, 1]

    @pytest.mark.parametrize("sizes", [[], [5, 4]])
    def test_nothing_fits(self, sizes: list[int]) -> None:
        assert fullest_subset(sizes, 3) == []
