"""Texts of all lengths into rows of T tokens.

`best_fit` keeps texts whole: texts are taken from the longest to the shortest, and each goes into the
fullest row that still has room, or opens a new one. Only texts longer than a row are cut, and their
full rows are rows of their own. `concat` lays texts end to end and chops at row ends; it fills every
row but the last, and cuts a text in almost every one.

Both take n texts in memory; best_fit needs O(n log T) time. Equal inputs give equal rows. Each row says which
tokens of which texts it is made of.

Source: Ding et al. 2024, arXiv 2404.10830, section 3.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.records import PackedSample

Tokens = np.ndarray[Any, np.dtype[np.int32]]


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


def pack_best_fit(texts: Sequence[Tokens], *, seq_len: int, pad_id: int) -> Iterator[PackedRow]:
    """Pack whole texts into rows, cutting only texts longer than a row.

    Args:
        texts: Token ids of one text each, int32 of shape (num_tokens,).
        seq_len: Row length T, in tokens.
        pad_id: Token that fills what is left of a row.

    Yields:
        Rows with `tokens` int32 of shape (T,), in the order of the first text in each.
    """
    pieces = [
        Piece(number, at, min(seq_len, len(text) - at))
        for number, text in enumerate(texts)
        for at in range(0, len(text), seq_len)
    ]
    order = sorted(range(len(pieces)), key=lambda at: (-pieces[at].num_tokens, at))
    rows: list[list[int]] = []
    rows_by_space: dict[int, list[int]] = {}
    spaces: list[int] = []  # sorted keys of rows_by_space
    for at in order:
        size = pieces[at].num_tokens
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
    for members in sorted(sorted(row) for row in rows):
        yield _row(texts, [pieces[at] for at in members], seq_len, pad_id)


def pack_concat(texts: Sequence[Tokens], *, seq_len: int, pad_id: int) -> Iterator[PackedRow]:
    """Lay texts end to end and chop at row ends; the last row is padded."""
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
