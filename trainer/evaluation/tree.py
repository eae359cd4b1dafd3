"""A row's options in one forward pass: the tokens they share are a trunk, what follows are its branches.

    tokens       t0 t1 t2 t3   a1 a2   b1   c1 c2 c3
    positions     0  1  2  3    4  5    4    4  5  6
    a2 sees       x  x  x  x    x  x
    b1 sees       x  x  x  x             x

Each token sees the trunk and what precedes it on its own branch, at the position it has in the plain
sequence, so the model computes for it what it computes there. A row of n options costs its prompt once
instead of n times, and an option of one token nothing at all: it is predicted by the trunk's end. Attention
runs over the tree's length squared, with a mask of one byte (or one number) a pair of tokens.

Rows of a batch are padded on the left, so that the branches of all of them stand at the end, and logits
are made from there only.

Shapes: B rows in a batch, T tokens of a padded tree.

Source: the mask is that of tree attention in speculative decoding, Miao et al. 2023, arXiv 2305.09781.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.evaluation.encoding import EncodedRow

_PADDING = -1
_TRUNK = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One row laid out for a single pass.

    Attributes:
        tokens: Trunk, then the branches one after the other.
        positions: Of each token in its plain sequence.
        branches: 0 for the trunk's tokens, 1 + option for a branch's.
        predicted: For each option, (index of the predicting token, predicted token) of its tokens.
    """

    tokens: list[int]
    positions: list[int]
    branches: list[int]
    predicted: list[list[tuple[int, int]]]


def lay_out(row: EncodedRow) -> Tree:
    """Lay a row out as trunk and branches; a sequence's last token predicts nothing and stays outside."""
    trunk = row.num_shared
    tokens = list(row.sequences[0][:trunk])
    positions = list(range(trunk))
    branches = [_TRUNK] * trunk
    predicted = []
    for option, (sequence, start) in enumerate(zip(row.sequences, row.starts, strict=True)):
        offset = len(tokens) - trunk  # from a place in the sequence to its place in the tree
        tokens += sequence[trunk:-1]
        positions += range(trunk, len(sequence) - 1)
        branches += [option + 1] * (len(sequence) - 1 - trunk)
        predicted.append(
            [
                (before if before < trunk else before + offset, sequence[before + 1])
                for before in range(start - 1, len(sequence) - 1)
            ]
        )
    return Tree(tokens=tokens, positions=positions, branches=branches, predicted=predicted)


def batch_trees(
    trees: Sequence[Tree], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad trees on the left.

    Returns:
        Token ids and positions, int64 of shape (B, T), and who sees whom, bool of shape (B, 1, T, T):
        [b, 0, q, k] says whether token q of row b sees token k.
    """
    length = max(len(tree.tokens) for tree in trees)

    def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (length - len(row)) + row for row in rows], device=device)

    tokens_BT = padded([tree.tokens for tree in trees], pad)
    positions_BT = padded([tree.positions for tree in trees], 0)
    branches_BT = padded([tree.branches for tree in trees], _PADDING)
    keys, queries = branches_BT[:, None, :], branches_BT[:, :, None]
    # Padding sees padding: a token that sees nothing has no attention to compute.
    sees_BTT = ((keys == _TRUNK) & (queries != _PADDING)) | (keys == queries)
    return tokens_BT, positions_BT, sees_BTT.tril()[:, None]


def attention_mask(sees: torch.Tensor, *, dtype: torch.dtype, as_bool: bool) -> torch.Tensor:
    """What a model's attention takes: the booleans themselves, or 0 and the lowest number of `dtype`."""
    if as_bool:
        return sees
    lowest = torch.finfo(dtype).min
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, lowest)
