"""Texts of all lengths into rows of T tokens.

`best_fit` keeps texts whole: texts are taken from the longest to the shortest, and each goes into the
fullest row that still has room, or opens a new one. Rows that lack more than a thousandth of T are then
taken apart and packed anew, each with the texts that fill it best (`subset_sum.py`). Only texts longer than
a row are cut, and their full rows are rows of their own. `concat` lays texts end to end and chops at row
ends; it fills every row but the last, and cuts a text in almost every one.

With `top_up`, what is still empty is filled with texts that stand in other rows already, each at most once
more, and where none is short enough with the beginning of one, so that a step's tokens are tokens of text.
Where that is not wanted it is padding. Only texts that a caller names are begun so: of one that asks before
its passage a beginning would hold questions without it.

Both take n texts in memory; best_fit needs O(n log T) time, and for each row that it packs anew a sum over
256 texts at most. Equal inputs give equal rows. Each row says which tokens of which texts it is made of.

Source: Ding et al. 2024, arXiv 2404.10830, section 3.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.steps.subset_sum import fullest_subset
from schemas.records import PackedSample

Tokens = np.ndarray[Any, np.dtype[np.int32]]

_SLACK = 1000
"""A row that lacks no more than T over this counts as full."""

_MOST_CANDIDATES = 256
"""Texts, evenly spread over those that fit, of which those are chosen that fill a row best."""


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
    texts: Sequence[Tokens],
    *,
    seq_len: int,
    pad_id: int,
    top_up: bool = False,
    may_begin: Sequence[bool] | None = None,
) -> Iterator[PackedRow]:
    """Pack whole texts into rows, cutting only texts longer than a row.

    Args:
        texts: Token ids of one text each, int32 of shape (num_tokens,).
        seq_len: Row length T, in tokens.
        pad_id: Token that fills what is left of a row.
        top_up: Whether rows that are not full get texts of other rows once more.
        may_begin: For each text whether the beginning of it may fill a row; None for all.

    Yields:
        Rows with `tokens` int32 of shape (T,), in the order of the first text in each.
    """
    pieces = [
        Piece(number, at, min(seq_len, len(text) - at))
        for number, text in enumerate(texts)
        for at in range(0, len(text), seq_len)
    ]
    sizes = [piece.num_tokens for piece in pieces]
    rows = _repacked(best_fit_decreasing(sizes, seq_len), sizes, seq_len)
    again = _again(rows, pieces, seq_len, may_begin) if top_up else [[] for _ in rows]
    for members, more in sorted(zip(map(sorted, rows), again, strict=True)):
        yield _row(texts, [*(pieces[at] for at in members), *more], seq_len, pad_id)


def best_fit_decreasing(sizes: Sequence[int], seq_len: int) -> list[list[int]]:
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
    """The same with rows that lack much taken apart and packed anew, if that takes no more rows.

    The longest piece opens each row, and what fills it best goes with it.
    """
    full: list[list[int]] = []
    loose: list[list[int]] = []
    for row in rows:
        (loose if _lacks_much(seq_len - sum(sizes[at] for at in row), seq_len) else full).append(row)
    left = sorted((at for row in loose for at in row), key=lambda at: (-sizes[at], at))
    anew: list[list[int]] = []
    while left:
        if len(anew) == len(loose):
            return rows
        first = left.pop(0)
        more = _fullest(left, sizes, seq_len - sizes[first])
        left = [at for at in left if at not in more]
        anew.append([first, *more])
    return full + anew


def _again(
    rows: Sequence[Sequence[int]], pieces: Sequence[Piece], seq_len: int, may_begin: Sequence[bool] | None
) -> list[list[Piece]]:
    """What each row that lacks much gets of other rows: whole texts, then the beginning of one."""
    sizes = [piece.num_tokens for piece in pieces]
    spare = sorted((at for at in range(len(pieces)) if not pieces[at].start), key=lambda at: (-sizes[at], at))
    found: list[list[Piece]] = []
    for row in rows:
        more: list[Piece] = []
        room = seq_len - sum(sizes[at] for at in row)
        if _lacks_much(room, seq_len):
            others = [at for at in spare if at not in row]
            chosen = _fullest(others, sizes, room)
            more += (pieces[at] for at in chosen)
            room -= sum(sizes[at] for at in chosen)
            longer = [
                at
                for at in others
                if sizes[at] > room and at not in chosen and (may_begin is None or may_begin[pieces[at].text])
            ]
            if _lacks_much(room, seq_len) and longer:
                chosen.add(longer[-1])
                more.append(pieces[longer[-1]]._replace(num_tokens=room))
            spare = [at for at in spare if at not in chosen]
        found.append(more)
    return found


def _lacks_much(room: int, seq_len: int) -> bool:
    return room > seq_len // _SLACK


def _fullest(pieces: list[int], sizes: Sequence[int], room: int) -> set[int]:
    """Of pieces from the longest to the shortest those that fill the room best together."""
    first = bisect.bisect_left(pieces, -room, key=lambda at: -sizes[at])
    fitting = len(pieces) - first
    count = min(fitting, _MOST_CANDIDATES)
    some = [pieces[first + number * fitting // count] for number in range(count)]
    return {some[index] for index in fullest_subset([sizes[at] for at in some], room)}


def pack_concat(
    texts: Sequence[Tokens],
    *,
    seq_len: int,
    pad_id: int,
    top_up: bool = False,
    may_begin: Sequence[bool] | None = None,
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
            if space and (len(text) <= space or may_begin is None or may_begin[number]):
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
