"""Batches: packed rows turned into the tensors that a causal LM of transformers takes.

A row packs several texts. With `attention_boundaries`, `position_ids` restart at 0 in each text and the batch
has no `attention_mask`: transformers then restricts every text to itself. (An all-ones mask would undo that,
and so would a key-value cache: `model/packed_model.py` turns the cache off and checks the result;
`model/attention.py` says what each implementation of attention makes of the position ids.)

Shapes: T tokens a row, B rows a batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from schemas.config import Section
from schemas.errors import TrainingError
from schemas.shard_index import LOSS_SPANS, row_fault

IGNORE_INDEX = -100
"""Label of a position without loss, as in torch's cross entropy."""


class RowRules(Section):
    """Shape of a row, and the attention and loss of its texts.

    Attributes:
        seq_len: T, tokens a row.
        vocab_size: Rows of the model's embedding.
        attention_boundaries: Whether each packed text attends to itself alone.
        loss_on: Whether all tokens of texts carry loss, or only the pairs that rows name.
    """

    seq_len: int
    vocab_size: int
    attention_boundaries: bool
    loss_on: Literal["all", "pairs"] = "all"


def stack_rows(rows: Sequence[Mapping[str, Any]], rules: RowRules) -> dict[str, Any]:
    """Stack stored rows; reader processes send them in this form, which takes 4 bytes a token.

    Args:
        rows: `tokens`, int32 of shape (T,), and `segment_lengths`, int32 of shape (num_segments,); with loss
            on pairs also `loss_spans`, int32 of shape (2 * num_spans,); `row`, its number in the dataset.
        rules: What the rows must look like.

    Returns:
        `tokens`, int32 of shape (B, T), and `segment_lengths`, a list for each row; `loss_spans`, an array
        for each row, or None where all tokens carry loss; `rows`, int64 of shape (B,), each row's number.

    Raises:
        TrainingError: A row has another length, or its texts do not fit into it.
    """
    segment_lengths = [row["segment_lengths"].tolist() for row in rows]
    for row in rows:
        if fault := row_fault(row, rules.seq_len):
            raise TrainingError(
                f"a row {fault}. The shards do not belong to this manifest: rebuild the corpus."
            )
    tokens_BT = torch.from_numpy(np.stack([row["tokens"] for row in rows]))
    loss_spans = [row[LOSS_SPANS] for row in rows] if rules.loss_on == "pairs" else None
    rows_B = torch.tensor([row["row"] for row in rows])
    return {"tokens": tokens_BT, "segment_lengths": segment_lengths, LOSS_SPANS: loss_spans, "rows": rows_B}


def to_batch(
    tokens_BT: torch.Tensor,
    segment_lengths: Sequence[Sequence[int]],
    rules: RowRules,
    loss_spans: Sequence[np.ndarray[Any, np.dtype[np.int32]]] | None = None,
) -> dict[str, torch.Tensor]:
    """Turn stacked rows into a batch.

    Labels are the tokens themselves (transformers shifts them), but -100 on padding, outside of
    `loss_spans` and, with boundaries, on the first token of every text, which no earlier token may predict.

    Each operation works on all rows at once: it releases Python's lock, and waiting for the lock costs
    Streaming's threads more than the operation itself.

    Args:
        tokens_BT: int32 of shape (B, T).
        segment_lengths: Lengths of the texts of each row; the rest of T is padding.
        rules: What the rows must look like.
        loss_spans: For each row, first token and end of each run of tokens that carry loss, in turn; None
            where all tokens of texts carry loss.

    Returns:
        input_ids, labels and position_ids, each int64 of shape (B, T).

    Raises:
        TrainingError: A token has no row in the embedding.
    """
    num_rows, seq_len = tokens_BT.shape
    tokens = tokens_BT.numpy().reshape(-1)  # rows laid end to end
    largest = int(tokens.view(np.uint32).max())  # as unsigned, ids below 0 are the largest
    if largest >= rules.vocab_size:
        raise TrainingError(
            f"a row holds token id {np.uint32(largest).astype(np.int32)}, but the model's embedding has "
            f"{rules.vocab_size} rows. The corpus was made for another model: rebuild it with this model's "
            "tokenizer."
        )
    input_ids = tokens.astype(np.int64)
    labels = input_ids.copy()
    starts: list[int] = []  # of rows, texts and padding
    unpredictable: list[int] = []
    for row_start, lengths in zip(range(0, len(tokens), seq_len), segment_lengths, strict=True):
        row_end = row_start + seq_len
        ends = [row_start + end for end in itertools.accumulate(lengths)]
        labels[ends[-1] : row_end] = IGNORE_INDEX
        starts.append(row_start)
        if rules.attention_boundaries:
            inner = [end for end in ends if end < row_end]
            unpredictable += inner
            starts += inner
    labels[unpredictable] = IGNORE_INDEX
    if loss_spans is not None:
        labels[~_within(loss_spans, num_rows, seq_len)] = IGNORE_INDEX
    position_ids = np.ones(len(tokens), np.int64)  # steps, which add up to positions
    position_ids[0] = 0
    position_ids[starts[1:]] = 1 - np.diff(starts)
    np.cumsum(position_ids, out=position_ids)
    made = {"input_ids": input_ids, "labels": labels, "position_ids": position_ids}
    return {name: torch.from_numpy(values.reshape(num_rows, seq_len)) for name, values in made.items()}


def _within(
    spans: Sequence[np.ndarray[Any, np.dtype[np.int32]]], num_rows: int, seq_len: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mask of the tokens, of rows laid end to end, that lie in a span of their row."""
    steps = np.zeros(num_rows * seq_len + 1, np.int64)
    for row_start, found in zip(range(0, num_rows * seq_len, seq_len), spans, strict=True):
        steps[row_start + found[0::2]] += 1  # one span may begin where another ends: two statements
        steps[row_start + found[1::2]] -= 1
    return steps[:-1].cumsum() > 0


def count_tokens(batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """Count the tokens of a batch in Composer's two senses: all tokens, and tokens that carry loss.

    Composer's clock (`max_duration: 1000000tok`) counts all tokens. The tokens that carry loss weigh
    microbatches and ranks, so that the loss of a step is the mean over its tokens however they are split.
    """
    targets_BT = batch["labels"][:, 1:]
    return {"total": batch["input_ids"].numel(), "loss_generating": int((targets_BT != IGNORE_INDEX).sum())}
