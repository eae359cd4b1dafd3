"""Attention between packed texts: kept apart, and checked, for each attention implementation.

A batch has `position_ids` that restart in each text and no `attention_mask`, and the model runs without a
key-value cache. From that, transformers 4.53 makes:

    sdpa, eager         a causal mask, block by block (masking_utils.find_packed_sequence_indices)
    flex_attention      the same rule as a BlockMask, compiled at the first forward pass; on GPUs only, since
                        torch 2.7 has no such kernel for CPUs
    flash_attention_2   text lengths for its kernel of variable length, but only for a batch of one row; in a
                        larger batch texts attend to the texts before them, without an error
                        (modeling_flash_attention_utils._flash_attention_forward)

So for flash_attention_2 this module passes the lengths of all texts of all rows.

Shapes: B rows of T tokens.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from plugins.attention_probe import (
    CannotCopy,
    differs_from_eager,
    length_dependent_positions,
    packed_deviation,
)
from schemas.errors import ConfigError, TrainingError
from schemas.train_config import ModelConfig
from trainer.reporting.announce import announce

_RUN_ON_CPU = ("sdpa", "eager")

LENGTHS_WANTED = ("flash_attention_2",)
"""Implementations that need the text lengths of a batch."""


def check_attention(config: ModelConfig, hf_config: Any, *, row_tokens: int) -> None:
    """Check that the attention implementation gives the same result as `eager`.

    The check runs a small random copy of the model (`plugins/attention_probe.py`). It skips kernels that need
    a GPU.

    Raises:
        ConfigError: It differs, as `sdpa` does: in transformers 4.53 it omits the soft caps of Gemma 2.
    """
    if config.attn_implementation not in _RUN_ON_CPU:
        return
    try:
        differs = differs_from_eager(
            hf_config,
            implementation=config.attn_implementation,
            row_tokens=row_tokens,
            trust_remote_code=config.trust_remote_code,
        )
    except CannotCopy as error:
        announce(f"attention {config.attn_implementation} was not compared with eager: {error}.")
        return
    if differs:
        raise ConfigError(f"model.attn_implementation: {differs}. Set model.attn_implementation: eager.")


def check_isolation(
    model: Any, *, attn_implementation: str, row_tokens: int, trust_remote_code: bool = False
) -> None:
    """Check that position ids that restart keep the texts of a row apart in this model.

    The model runs a row of two short texts twice, with another first text the second time: the logits of the
    second text must not move. A small random copy of the model, whose windows and chunks have the same
    proportion to its rows, must compute a packed second text like a text of its own row. The check skips
    kernels that need a GPU, and ranks without weights. The configuration shows whether positions change with
    the longest text of a batch.

    Raises:
        TrainingError: The second text depends on the first, or may do so in rows of this length; or the model
            takes no position ids, or fails with them.
    """
    cure = "Set train_loader.dataset.attention_boundaries: false to let packed texts see one another."
    kind = type(model).__name__
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise TrainingError(
            f"{kind} takes no position_ids, so texts packed in a row cannot be kept apart. {cure}"
        )
    positions = length_dependent_positions(model.config)
    if positions is not None and positions[1] < row_tokens:
        rope, limit = positions
        raise TrainingError(
            f"{kind} has {rope} positions, which change for all texts of a batch once one has more than "
            f"{limit:,} tokens, and rows have {row_tokens:,}. Build a corpus of rows of at most {limit:,} "
            f"tokens. {cure}"
        )
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    if attn_implementation not in _RUN_ON_CPU or on_meta:
        return
    try:
        moved = _moved_by_another_text(model)
        share = packed_deviation(
            model.config,
            implementation=attn_implementation,
            row_tokens=row_tokens,
            trust_remote_code=trust_remote_code,
        )
    except CannotCopy as error:
        announce(f"{kind}: packed texts were tried on rows of 6 tokens only: {error}.")
        share = 0.0
    except Exception as error:  # families fail in many ways on position ids that restart
        first_line = (str(error).strip() or "no message").splitlines()[0]
        raise TrainingError(
            f"{kind} fails on rows of packed texts: {type(error).__name__}: {first_line} {cure}"
        ) from error
    if not moved < 1e-3:
        raise TrainingError(
            f"{kind} lets a text attend to the text packed before it (logits move by {moved:.3g}). {cure}"
        )
    if share:
        raise TrainingError(
            f"{kind} gives a text other logits ({share:.1%} off) if another text precedes it in a row of "
            f"{row_tokens:,} tokens, as with attention in chunks that count from the row's start. Build a "
            f"corpus of rows no longer than a chunk. {cure}"
        )


def _moved_by_another_text(model: Any) -> float:
    """Return how far the logits of a row's second text move when the first text changes."""
    was_training = model.training
    model.eval()
    position_ids_BT = torch.tensor([[0, 1, 2, 0, 1, 2]]).expand(2, -1)
    input_ids_BT = torch.tensor([[1, 2, 3, 4, 5, 6], [3, 1, 2, 4, 5, 6]])
    try:
        with torch.no_grad():
            logits_BTV = model(input_ids=input_ids_BT, position_ids=position_ids_BT).logits
    finally:
        model.train(was_training)
    return float((logits_BTV[0, 3:] - logits_BTV[1, 3:]).abs().max())


def hand_over_text_lengths(model: Any) -> None:
    """Pass the lengths of packed texts to a model's flash attention with every forward pass.

    Forward passes with an `attention_mask` or a cache, as in generation, are not changed.

    Raises:
        TrainingError: The model does not pass them to its layers.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise TrainingError(
            f"{type(model).__name__} does not pass text lengths to flash_attention_2, so texts packed in a "
            "row would attend to one another. Set model.attn_implementation: sdpa, or "
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
    """Return the starts of texts in a batch whose rows are laid end to end, as flash attention takes them.

    Args:
        position_ids_BT: int64 of shape (B, T); 0 at the first token of each text and of each row.

    Returns:
        cu_seq_lens_q and cu_seq_lens_k, int32 of shape (num_texts + 1,); max_length_q and
        max_length_k, the length of the longest text in tokens.
    """
    flat = position_ids_BT.flatten()
    starts = (flat == 0).nonzero().flatten()
    bounds = torch.cat([starts, starts.new_tensor([flat.numel()])])
    longest = int(bounds.diff().max())
    bounds = bounds.to(torch.int32)
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }
