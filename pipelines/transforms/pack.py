"""Texts of all lengths into rows of T tokens.

`best_fit` keeps texts whole: texts are taken from the longest to the shortest, and each goes into the
fullest row that still has room, or opens a new one. Rows that lack more than a thousandth of T are then
taken apart and packed anew, each with the texts that fill it best (`subset_sum.py`). Only texts longer than
a row are cut, and their full rows are rows of their own. `concat` lays texts end to end and chops at row
ends; it fills every row but the last, and cuts a text in almost every one.

With `top_up`, what is still empty is filled with texts that stand in other rows already, each at most once
more, so that a step's tokens are tokens of text. Where that is not wanted it is padding.

Both take n texts in memory; best_fit needs O(n log T) time, and for each row that it packs anew a sum over
256 texts at most. Equal inputs give equal rows. Each row says which tokens of which texts it is made of.

Source: Ding et al. 2024, arXiv 2404.10830, section 3.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.transforms.subset_sum import fullest_subset
from schemas.records import PackedSample

Tokens = np.ndarray[Any, np.dtype[np.int32]]

_SLACK = 1000
"""A row that lacks no more than T over this counts as full."""

_MOST_CANDIDATES = 256
"""Texts of which those are chosen that fill a row best."""


class Piece(NamedTuple):
    """Tokens of a text in a row.

    Attributes:
        text: Which of the texts, counted from 0.
        start: Its first token here.
        num_tokens: How many of its tokens.
    """

    text: int
    start: int
    num_tokens: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedRow:
    """A training row and what it is made of, a piece for each segment."""

    sample: PackedSample
    pieces: tuple[Piece, ...]


def pack_best_fit(
    texts: Sequence[Tokens], *, seq_len: int, pad_id: int, top_up: bool = False
) -> Iterator[PackedRow]:
    """Pack whole texts into rows, cutting only texts longer than a row.

    Args:
        texts: Token ids of one text each, int32 of shape (num_tokens,).
        seq_len: Row length T, in tokens.
        pad_id: Token that fills what is left of a row.
        top_up: Whether rows that are not full get texts of other rows once more.

    Yields:
        Rows with `tokens` int32 of shape (T,), in the order of the first text in each.
    """
    pieces = [
        Piece(number, at, min(seq_len, len(text) - at))
        for number, text in enumerate(texts)
        for at in range(0, len(text), seq_len)
    ]
    sizes = [piece.num_tokens for piece in pieces]
    rows = _repacked(_best_fit_decreasing(sizes, seq_len), sizes, seq_len)
    again: list[list[int]] = [[] for _ in rows]
    if top_up:
        whole = frozenset(at for at, piece in enumerate(pieces) if piece.num_tokens == len(texts[piece.text]))
        rows, again = _topped_up(rows, whole, sizes, seq_len)
    for members, more in sorted(zip(map(sorted, rows), map(sorted, again), strict=True)):
        yield _row(texts, [pieces[at] for at in members + more], seq_len, pad_id)


def _best_fit_decreasing(sizes: Sequence[int], seq_len: int) -> list[list[int]]:
    """Rows of indices into sizes, filled from the longest to the shortest."""
    rows: list[list[int]] = []
    rows_by_space: dict[int, list[int]] = {}
    spaces: list[int] = []  # sorted keys of rows_by_space
    for at in sorted(range(len(sizes)), key=lambda at: (-sizes[at], at)):
        size = sizes[at]
        found = bisect.bisect_left(spaces, size)
        if found == len(spaces):
            row, space = len(rows), seq_len
            rows.append([])
        else:
            space = spaces[found]
            row = rows_by_space[space].pop()
            if not rows_by_space[space]:
                del rows_by_space[space]
                del spaces[found]
        rows[row].append(at)
        left = space - size
        if left:
            if left not in rows_by_space:
                rows_by_space[left] = []
                bisect.insort(spaces, left)
            rows_by_space[left].append(row)
    return rows


def _repacked(rows: list[list[int]], sizes: Sequence[int], seq_len: int) -> list[list[int]]:
    """The same with rows that lack much taken apart, if that takes no more rows."""
    full, loose = _by_space(rows, sizes, seq_len)
    anew = _refilled(loose, sizes, seq_len)
    return full + (loose if anew is None else [members for members, _ in anew])


def _topped_up(
    rows: list[list[int]], whole: frozenset[int], sizes: Sequence[int], seq_len: int
) -> tuple[list[list[int]], list[list[int]]]:
    """The same with rows that lack much taken apart once more, and what of other rows fills each."""
    full, loose = _by_space(rows, sizes, seq_len)
    spare = [at for row in full for at in row if at in whole]
    anew = _refilled(loose, sizes, seq_len, spare=spare, whole=whole)
    if anew is None:
        anew = [(row, []) for row in loose]
        spare.sort(key=lambda at: (-sizes[at], at))
        for row, again in anew:
            room = seq_len - sum(sizes[at] for at in row)
            more = _candidates(spare, sizes, room)
            again += [more[index] for index in fullest_subset([sizes[at] for at in more], room)]
            spare = [at for at in spare if at not in again]
    return full + [members for members, _ in anew], [[] for _ in full] + [more for _, more in anew]


def _by_space(
    rows: Iterable[list[int]], sizes: Sequence[int], seq_len: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Rows that count as full, and the others."""
    full: list[list[int]] = []
    loose: list[list[int]] = []
    for row in rows:
        lacks = seq_len - sum(sizes[at] for at in row)
        (loose if lacks > seq_len // _SLACK else full).append(row)
    return full, loose


def _refilled(
    rows: Sequence[Sequence[int]],
    sizes: Sequence[int],
    seq_len: int,
    *,
    spare: Iterable[int] = (),
    whole: frozenset[int] = frozenset(),
) -> list[tuple[list[int], list[int]]] | None:
    """Pack what rows hold anew: the longest first, and with it what fills its row best.

    Args:
        rows: Of indices into sizes.
        sizes: Tokens of each.
        seq_len: T.
        spare: What stands in other rows, and may fill these once more.
        whole: What may do so as soon as it stands in one of these.

    Returns:
        Each row's own, and what it was given once more; None if they need more rows than before.
    """

    def order(at: int) -> tuple[int, int]:
        return -sizes[at], at

    left = sorted((at for row in rows for at in row), key=order)
    spare = sorted(spare, key=order)
    anew: list[tuple[list[int], list[int]]] = []
    while left:
        if len(anew) == len(rows):
            return None
        first = left.pop(0)
        room = seq_len - sizes[first]
        some = _candidates(left, sizes, room)
        own = [some[index] for index in fullest_subset([sizes[at] for at in some], room)]
        lacks = room - sum(sizes[at] for at in own)
        more = _candidates(spare, sizes, lacks) if lacks > seq_len // _SLACK else []
        again = [more[index] for index in fullest_subset([sizes[at] for at in more], lacks)]
        if lacks - sum(sizes[at] for at in again) > seq_len // _SLACK and spare and len(own) < len(left):
            more = _candidates(spare, sizes, room)  # other ones of its own may do better
            chosen = fullest_subset([sizes[at] for at in (*some, *more)], room)
            own = [some[index] for index in chosen if index < len(some)]
            again = [more[index - len(some)] for index in chosen if index >= len(some)]
        for pieces, gone in ((left, own), (spare, again)):
            for at in gone:
                del pieces[bisect.bisect_left(pieces, order(at), key=order)]
        for at in whole.intersection((first, *own)):
            bisect.insort(spare, at, key=order)
        anew.append(([first, *own], again))
    return anew


def _candidates(pieces: list[int], sizes: Sequence[int], room: int) -> list[int]:
    """Of pieces from the longest to the shortest those that fit, or some of them evenly spread."""
    first = bisect.bisect_left(pieces, -room, key=lambda at: -sizes[at])
    fitting = len(pieces) - first
    count = min(fitting, _MOST_CANDIDATES)
    return [pieces[first + number * fitting // count] for number in range(count)]


def pack_concat(
    texts: Sequence[Tokens], *, seq_len: int, pad_id: int, top_up: bool = False
) -> Iterator[PackedRow]:
    """Lay texts end to end and chop at row ends; with `top_up` the first texts fill the last of several."""
    row: list[Piece] = []
    space = seq_len
    for number, text in enumerate(texts):
        at = 0
        while at < len(text):
            piece = Piece(number, at, min(space, len(text) - at))
            row.append(piece)
            at += piece.num_tokens
            space -= piece.num_tokens
            if not space:
                yield _row(texts, row, seq_len, pad_id)
                row, space = [], seq_len
    if row and top_up and sum(map(len, texts)) >= seq_len:
        for number, text in enumerate(texts):
            if space:
                row.append(Piece(number, 0, min(space, len(text))))
                space -= row[-1].num_tokens
    if row:
        yield _row(texts, row, seq_len, pad_id)


PACKERS: dict[str, Callable[..., Iterator[PackedRow]]] = {"best_fit": pack_best_fit, "concat": pack_concat}


def _row(texts: Sequence[Tokens], pieces: Sequence[Piece], seq_len: int, pad_id: int) -> PackedRow:
    tokens = np.full(seq_len, pad_id, dtype=np.int32)
    lengths = np.array([piece.num_tokens for piece in pieces], dtype=np.int32)
    tokens[: lengths.sum()] = np.concatenate(
        [texts[piece.text][piece.start : piece.start + piece.num_tokens] for piece in pieces]
    )
    return PackedRow(sample=PackedSample(tokens=tokens, segment_lengths=lengths), pieces=tuple(pieces))
