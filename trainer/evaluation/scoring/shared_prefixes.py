"""Groups of rows with a common start, such as one set of few-shot examples; the start passes once.

    rows, sorted       head              own tokens and options
    q1  E E E E E a b  ┐
    q2  E E E E E c    ├ E E E E E  ─┬─  a b ┬ yes         a tree of 3 rows, 5 + 6 tokens and options
    q3  E E E E E d e  ┘             │       └ no          instead of 15 + 6
                                     ├─  c   ┬ yes …
                                     └─  d e ┬ yes …

Each token passes through the model's weights once, and attends over the whole tree, visible or not. So a
group is at most a few times as long as its head: then attention costs no more than the shared head saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.evaluation.scoring.encoding import EncodedRow, common_prefix

_MAX_HEADS = 3
"""Longest tree of several rows, in lengths of its head."""
_MIN_SAVED = 0.2
"""Share of its tokens that a row must save to join a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rows that pass as one tree.

    Attributes:
        rows: One or more.
        head_tokens: Number of leading tokens that all rows share; 0 for a single row.
    """

    rows: tuple[EncodedRow, ...]
    head_tokens: int = 0

    @property
    def tree_tokens(self) -> int:
        """Tokens of the pass through the model."""
        return sum(row.tree_tokens for row in self.rows) - (len(self.rows) - 1) * self.head_tokens


def group_rows(rows: Sequence[EncodedRow], *, max_tokens: int) -> list[RowGroup]:
    """Divide rows into groups; a row with no common start is a group of its own.

    Args:
        rows: Rows that pass as trees.
        max_tokens: Longest tree of several rows.
    """
    return list(_groups(sorted(rows, key=lambda row: row.sequences[0]), max_tokens))


def _groups(rows: Sequence[EncodedRow], max_tokens: int) -> Iterator[RowGroup]:
    group: RowGroup | None = None
    for row in rows:
        larger = None if group is None else _joined(group, row, max_tokens)
        if group is not None and larger is None:
            yield group
        group = larger or RowGroup(rows=(row,))
    if group is not None:
        yield group


def _joined(group: RowGroup, row: EncodedRow, max_tokens: int) -> RowGroup | None:
    """The group with one more row; None if that saves too little."""
    last = group.rows[-1]
    head = min(common_prefix([last.sequences[0], row.sequences[0]]), last.body_end, row.body_end)
    if len(group.rows) > 1:
        head = min(head, group.head_tokens)
    larger = RowGroup(rows=(*group.rows, row), head_tokens=head)
    if larger.tree_tokens > min(max_tokens, _MAX_HEADS * head):
        return None
    apart = group.tree_tokens + row.tree_tokens
    return larger if apart - larger.tree_tokens >= _MIN_SAVED * row.tree_tokens else None
