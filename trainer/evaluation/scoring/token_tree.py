"""Rows in one forward pass: the tokens they share are a trunk, what follows are its branches.

    tokens       t0 t1 t2 t3   a1 a2   b1   c1 c2 c3
    positions     0  1  2  3    4  5    4    4  5  6
    a2 sees       x  x  x  x    x  x
    b1 sees       x  x  x  x             x

Each token sees the trunk and what precedes it on its own branch, at the position it has in the plain
sequence, so the model computes for it what it computes there. A row of n options costs its prompt once
instead of n times, and an option of one token nothing at all: it is predicted by the trunk's end. Rows
that begin alike (shared_prefixes.py) branch twice: from their common head into each row's own trunk, and
from there into its options. Attention runs over the tree's length squared, with a mask of one byte (or one
number) a pair of tokens.

What predicts an option stands at the end of a tree, and rows of a batch are padded on the left, so that
logits are made from there only.

Shapes: B trees in a batch, T tokens of a padded tree.

Source: the mask is that of tree attention in speculative decoding, Miao et al. 2023, arXiv 2305.09781.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.evaluation.scoring.encoding import EncodedRow

_PADDING = -1
_SHARED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Rows laid out for a single pass.

    Attributes:
        tokens: Head, then bodies of the rows, then what predicts their options.
        positions: Of each token in its plain sequence.
        rows: 0 for tokens of all rows, 1 + row for those of one.
        options: 0 for tokens of all options of a row, 1 + option for those of one.
        predicted: For each row's options in turn, (index of the predicting token, predicted token) of each
            of its tokens.
    """

    tokens: list[int]
    positions: list[int]
    rows: list[int]
    options: list[int]
    predicted: list[list[tuple[int, int]]]


def lay_out(rows: Sequence[EncodedRow], head_tokens: int = 0) -> Tree:
    """Lay rows out as trunk and branches; a sequence's last token predicts nothing and stays outside.

    Args:
        rows: All begin with the same `head_tokens` tokens, none of which predicts an option's.
        head_tokens: How many that are.
    """
    tree = Tree(tokens=[], positions=[], rows=[], options=[], predicted=[])

    def add(sequence: Sequence[int], start: int, end: int, *, row: int, option: int = _SHARED) -> int:
        """Put a piece of a sequence down; from a place in the sequence to its place in the tree."""
        offset = len(tree.tokens) - start
        tree.tokens.extend(sequence[start:end])
        tree.positions.extend(range(start, end))
        tree.rows.extend([row] * (end - start))
        tree.options.extend([option] * (end - start))
        return offset

    add(rows[0].sequences[0], 0, head_tokens, row=_SHARED)
    for number, row in enumerate(rows, start=1):
        add(row.sequences[0], head_tokens, row.body_end, row=number)
    for number, row in enumerate(rows, start=1):
        trunk = row.num_shared
        of_trunk = add(row.sequences[0], row.body_end, trunk, row=number)
        for option, (sequence, start) in enumerate(zip(row.sequences, row.starts, strict=True), start=1):
            end = len(sequence) - 1
            of_branch = add(sequence, trunk, max(trunk, end), row=number, option=option)
            tree.predicted.append(
                [
                    (before + (of_trunk if before < trunk else of_branch), sequence[before + 1])
                    for before in range(start - 1, end)
                ]
            )
    return tree


def batch_trees(
    trees: Sequence[Tree], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad trees on the left.

    Returns:
        Token ids and positions, int64 of shape (B, T), and who sees whom, bool of shape (B, 1, T, T):
        [b, 0, q, k] says whether token q of tree b sees token k.
    """
    length = max(len(tree.tokens) for tree in trees)

    def padded(values: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (length - len(each)) + each for each in values], device=device)

    tokens_BT = padded([tree.tokens for tree in trees], pad)
    positions_BT = padded([tree.positions for tree in trees], 0)
    rows_BT = padded([tree.rows for tree in trees], _PADDING)
    options_BT = padded([tree.options for tree in trees], _SHARED)
    # Padding sees padding: a token that sees nothing has no attention to compute.
    sees_BTT = _shared_or_same(rows_BT) & _shared_or_same(options_BT)
    sees_BTT &= (rows_BT != _PADDING)[:, :, None] | (rows_BT == _PADDING)[:, None, :]
    return tokens_BT, positions_BT, sees_BTT.tril()[:, None]


def _shared_or_same(branches_BT: torch.Tensor) -> torch.Tensor:
    """Whether a key (last axis) is on no branch, or on that of the query."""
    keys, queries = branches_BT[:, None, :], branches_BT[:, :, None]
    return (keys == _SHARED) | (keys == queries)


def attention_mask(sees: torch.Tensor, *, dtype: torch.dtype, as_bool: bool) -> torch.Tensor:
    """What a model's attention takes: the booleans themselves, or 0 and the lowest number of `dtype`."""
    if as_bool:
        return sees
    lowest = torch.finfo(dtype).min
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, lowest)
