"""How the texts of a packed row are kept apart, by attention implementation.

A row comes with `position_ids` that start anew at each text, without `attention_mask`, and is run
without a key-value cache. From that, transformers 4.53 makes:

    sdpa, eager         a causal mask, block by block (masking_utils.find_packed_sequence_indices)
    flex_attention      the same rule as a BlockMask, compiled at the first forward pass; on GPUs only, for
                        what transformers asks of it torch 2.7 has no kernel on a CPU
    flash_attention_2   text lengths for its kernel of variable length, but only of a batch of one row;
                        in a batch of more rows texts attend to the texts before them, without a word
                        (modeling_flash_attention_utils._flash_attention_forward)

So for flash_attention_2 the lengths of all texts of all rows are handed over here.

Shapes: B rows of T tokens.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from schemas.errors import TrainingError

LENGTHS_WANTED = ("flash_attention_2",)
"""Implementations that do not find the texts of a batch by themselves."""


def hand_over_text_lengths(model: Any) -> None:
    """Give a model the lengths of packed texts with every forward pass, for its flash attention.

    Passes with an `attention_mask` or a cache, as in generation, are left as they are.

    Args:
        model: A causal LM of transformers.

    Raises:
        TrainingError: It would not hand them on to its layers.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise TrainingError(
            f"{type(model).__name__} does not hand text lengths on to flash_attention_2, so texts packed in "
            "a row would attend to one another. Set model.attn_implementation: sdpa, or "
            "train_loader.dataset.attention_boundaries: false."
        )
    model.register_forward_pre_hook(_add_text_lengths, with_kwargs=True)


def _add_text_lengths(
    model: Any, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    position_ids_BT = named.get("position_ids")
    if (
        position_ids_BT is None
        or named.get("attention_mask") is not None
        or named.get("past_key_values") is not None
    ):
        return None
    return positional, {**named, **text_lengths(position_ids_BT)}


def text_lengths(position_ids_BT: torch.Tensor) -> dict[str, Any]:
    """Where texts start in a batch whose rows are laid end to end, as flash attention takes it.

    Args:
        position_ids_BT: int64 of shape (B, T); 0 at the first token of each text and of each row.

    Returns:
        cu_seq_lens_q and cu_seq_lens_k, int32 of shape (num_texts + 1,); max_length_q and
        max_length_k, the length of the longest text in tokens.
    """
    flat = position_ids_BT.flatten()
    starts = (flat == 0).nonzero().flatten()
    ends = torch.cat([starts, starts.new_tensor([flat.numel()])])
    bounds = ends.to(torch.int32)
    longest = int(ends.diff().max())
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
