"""Token trees: rows in one forward pass, with shared tokens as trunk and the rest as branches.

    tokens       t0 t1 t2 t3   a1 a2   b1   c1 c2 c3
    positions     0  1  2  3    4  5    4    4  5  6
    a2 sees       x  x  x  x    x  x
    b1 sees       x  x  x  x             x

Each token sees the trunk and the earlier tokens of its own branch, and has its position of the plain
sequence, so the model computes the same for it as in the plain sequence. A row of n options costs its prompt
once instead of n times, and an option of one token costs nothing: the trunk's end predicts it. Rows with a
common start (shared_prefixes.py) branch twice: from their common head into each row's own trunk, and
from there into its options. Attention runs over the tree's length squared, with a mask of one byte (or one
number) per pair of tokens.

The tokens that predict options are at the end of a tree, and batches are padded on the left, so that the
model computes logits only there.

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
        tokens: The head, then the bodies of the rows, then the tokens that predict their options.
        positions: Position of each token in its plain sequence.
        rows: 0 for tokens of all rows, 1 + row for tokens of one row.
        options: 0 for tokens of all options of a row, 1 + option for tokens of one option.
        predicted: For each option of each row, (index of the predicting token, predicted token) for each of
            its tokens.
    """

    tokens: list[int]
    positions: list[int]
    rows: list[int]
    options: list[int]
    predicted: list[list[tuple[int, int]]]


def lay_out(rows: Sequence[EncodedRow], head_tokens: int = 0) -> Tree:
    """Arrange rows as trunk and branches, without each sequence's last token, which predicts nothing.

    Args:
        rows: All begin with the same `head_tokens` tokens, none of which predicts a token of an option.
        head_tokens: Number of common leading tokens.
    """
    tree = Tree(tokens=[], positions=[], rows=[], options=[], predicted=[])

    def add(sequence: Sequence[int], start: int, end: int, *, row: int, option: int = _SHARED) -> int:
        """Append a piece of a sequence; return the offset from its indices to those of the tree."""
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
        Token ids and positions, int64 of shape (B, T), and the mask, bool of shape (B, 1, T, T):
        [b, 0, q, k] is true if token q of tree b sees token k.
    """
    length = max(len(tree.tokens) for tree in trees)

    def padded(values: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (length - len(each)) + each for each in values], device=device)

    tokens_BT = padded([tree.tokens for tree in trees], pad)
    positions_BT = padded([tree.positions for tree in trees], 0)
    rows_BT = padded([tree.rows for tree in trees], _PADDING)
    options_BT = padded([tree.options for tree in trees], _SHARED)
    # Padding sees padding: attention of a token that sees nothing is not defined.
    sees_BTT = _shared_or_same(rows_BT) & _shared_or_same(options_BT)
    sees_BTT &= (rows_BT != _PADDING)[:, :, None] | (rows_BT == _PADDING)[:, None, :]
    return tokens_BT, positions_BT, sees_BTT.tril()[:, None]


def _shared_or_same(branches_BT: torch.Tensor) -> torch.Tensor:
    """True if a key (last axis) is on no branch, or on the branch of the query."""
    keys, queries = branches_BT[:, None, :], branches_BT[:, :, None]
    return (keys == _SHARED) | (keys == queries)


def attention_mask(sees: torch.Tensor, *, dtype: torch.dtype, as_bool: bool) -> torch.Tensor:
    """The mask as the model's attention takes it: booleans, or 0 and the lowest number of `dtype`."""
    if as_bool:
        return sees
    lowest = torch.finfo(dtype).min
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, lowest)
