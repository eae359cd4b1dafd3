"""Rows become batches: labels, position ids, loss tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from schemas.errors import TrainingError
from trainer.data.batches import RowRules, count_tokens, stack_rows, to_batch


def rules(**changes: bool) -> RowRules:
    return RowRules(**{"seq_len": 8, "vocab_size": 64, "attention_boundaries": True, **changes})


def batch_of(rows: list[tuple[list[int], list[int]]], **changes: bool) -> dict[str, torch.Tensor]:
    stored = [
        {"tokens": np.array(tokens, np.int32), "segment_lengths": np.array(lengths, np.int32), "row": number}
        for number, (tokens, lengths) in enumerate(rows)
    ]
    what = rules(**changes)
    stacked = stack_rows(stored, what)
    return to_batch(stacked["tokens"], stacked["segment_lengths"], what)


def example(tokens: list[int], lengths: list[int], **changes: bool) -> dict[str, list[int]]:
    made = batch_of([(tokens, lengths)], **changes)
    return {name: tensor[0].tolist() for name, tensor in made.items()}


def test_labels_skip_padding_and_the_first_token_of_each_later_text() -> None:
    assert example([5, 6, 7, 8, 9, 10, 0, 0], [3, 3]) == {
        "input_ids": [5, 6, 7, 8, 9, 10, 0, 0],
        "labels": [5, 6, 7, -100, 9, 10, -100, -100],
        "position_ids": [0, 1, 2, 0, 1, 2, 0, 1],
    }


def test_without_boundaries_only_padding_carries_no_loss() -> None:
    assert example([5, 6, 7, 8, 9, 10, 0, 0], [3, 3], attention_boundaries=False) == {
        "input_ids": [5, 6, 7, 8, 9, 10, 0, 0],
        "labels": [5, 6, 7, 8, 9, 10, -100, -100],
        "position_ids": [0, 1, 2, 3, 4, 5, 6, 7],
    }


def test_a_full_row_of_one_text_has_loss_everywhere() -> None:
    assert example(list(range(8)), [8])["labels"] == list(range(8))


def test_rows_of_a_batch_are_made_as_each_alone() -> None:
    rows = [(list(range(8)), [8]), ([5, 6, 7, 8, 9, 10, 0, 0], [3, 3]), ([9] * 8, [1, 6])]
    for boundaries in (True, False):
        batch = batch_of(rows, attention_boundaries=boundaries)
        for number, row in enumerate(rows):
            alone = example(*row, attention_boundaries=boundaries)
            assert {name: tensor[number].tolist() for name, tensor in batch.items()} == alone


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        ([1] * 7, [7], "a row has 7 tokens"),
        ([1] * 8, [5, 4], "a row has texts of 9 tokens together, more than its 8"),
        ([64] + [1] * 7, [8], "token id 64, but the model's embedding has 64 rows"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tokens: list[int], lengths: list[int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        example(tokens, lengths)


def test_tokens_are_counted_with_and_without_loss() -> None:
    batch = {name: torch.tensor([row]) for name, row in example([5, 6, 7, 8, 9, 10, 0, 0], [3, 3]).items()}
    assert count_tokens(batch) == {"total": 8, "loss_generating": 4}
