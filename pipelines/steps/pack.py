"""Packing of texts into rows of T tokens.

`best_fit` keeps texts whole. It goes from the longest text to the shortest and puts each into the fullest row
with room for it, or into a new one. Then it takes rows with more than a thousandth of T empty apart and packs
them again, each with the texts that fill it best (subset sum). It cuts only texts longer than a row; their
full pieces are rows of their own. `concat` lays texts end to end and cuts at row ends. It fills every row but
the last, and cuts a text in almost every row.

With `top_up`, texts of other rows fill the empty part of a row, each at most once more. If no text is short
enough, the beginning of one fills it, so that a training step sees no padding. The caller names the texts
that may be cut so: the beginning of a text that asks before its passage holds questions without the passage.
Without `top_up` the empty part is padding.

Both hold n texts in memory. best_fit takes O(n log T) time, and a subset sum of at most 256 texts for each
row that it packs again. Equal inputs give equal rows. Each row lists its pieces: tokens of texts.

Source: Ding et al. 2024, arXiv 2404.10830, section 3; the exact dynamic programme for subset sum (Bellman
1957) on bit strings.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.records import PackedSample

Tokens = np.ndarray[Any, np.dtype[np.int32]]

_SLACK = 1000
"""A row with at most T over this many tokens empty counts as full."""

_MOST_CANDIDATES = 256
"""Texts that a subset sum chooses from, evenly spread over those that fit."""


class Piece(NamedTuple):
    """Tokens of a text in a row."""

    text: int  # index of the text
    start: int  # its first token in the row
    num_tokens: int  # number of its tokens in the row

    def within(self, parts: Sequence[Piece]) -> Piece:
        """The piece of a text that a piece of one of the parts is."""
        part = parts[self.text]
        return Piece(part.text, part.start + self.start, self.num_tokens)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedRow:
    """A training row and its pieces, one for each segment."""

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
        pad_id: Token that fills the rest of a row.
        top_up: Fill rows that are not full with texts of other rows.
        may_begin: Whether the beginning of each text may fill a row; None if all may.

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
    """Take rows with much room apart and pack their pieces again, unless that takes more rows.

    The longest piece opens each row; the pieces that fill it best join it.
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
    """Choose pieces of other rows for each row with much room: whole texts, then the beginning of one."""
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
    """Choose the pieces that together fill the room best; `pieces` run from the longest to the shortest."""
    first = bisect.bisect_left(pieces, -room, key=lambda at: -sizes[at])
    fitting = len(pieces) - first
    count = min(fitting, _MOST_CANDIDATES)
    some = [pieces[first + number * fitting // count] for number in range(count)]
    return {some[index] for index in fullest_subset([sizes[at] for at in some], room)}


def fullest_subset(sizes: Sequence[int], limit: int) -> list[int]:
    """Return ascending indices of sizes with the largest sum up to a limit.

    Among subsets of equal sum it takes one from the shortest prefix of `sizes`. The sums that a prefix can
    make are the bits of one integer, which the next size shifts: 256 sizes and a limit of 4,096 take 256
    shifts of 64 machine words. Each size is above 0.
    """
    within = (1 << limit + 1) - 1
    sums = [1]
    for size in sizes:
        sums.append((sums[-1] | sums[-1] << size) & within)
        if sums[-1] >> limit:
            break
    best = sums[-1].bit_length() - 1
    chosen = []
    for index in range(len(sums) - 2, -1, -1):
        if not sums[index] >> best & 1:
            chosen.append(index)
            best -= sizes[index]
    return chosen[::-1]


def pack_concat(
    texts: Sequence[Tokens],
    *,
    seq_len: int,
    pad_id: int,
    top_up: bool = False,
    may_begin: Sequence[bool] | None = None,
) -> Iterator[PackedRow]:
    """Lay texts end to end and cut at row ends; with `top_up` the first texts fill the last row."""
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
