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

from plugins.attention_probe import (
    CannotCopy,
    differs_from_eager,
    length_dependent_positions,
    packed_deviation,
    say,
)
from schemas.errors import ConfigError, TrainingError
from schemas.train_config import ModelConfig

_RUN_ON_CPU = ("sdpa", "eager")

LENGTHS_WANTED = ("flash_attention_2",)
"""Implementations that do not find the texts of a batch by themselves."""


def check_attention(config: ModelConfig, hf_config: Any, *, row_tokens: int) -> None:
    """See that the attention implementation computes what the model's own arithmetic, `eager`, computes.

    A small random copy of the model is run (`plugins/attention_probe.py`); kernels that need a GPU are not.

    Args:
        config: Names the implementation.
        hf_config: The model's own configuration.
        row_tokens: Tokens of the rows that it is trained on.

    Raises:
        ConfigError: It does not, as `sdpa`, which leaves out the soft caps of Gemma 2 in transformers 4.53.
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
        say(f"attention {config.attn_implementation} was not compared with eager: {error}.")
        return
    if differs:
        raise ConfigError(f"model.attn_implementation: {differs}. Set model.attn_implementation: eager.")


def check_isolation(
    model: Any, *, attn_implementation: str, row_tokens: int, trust_remote_code: bool = False
) -> None:
    """See that resetting position ids keeps the texts of a row apart in this model.

    Two texts of three tokens are run twice, with another first text the second time; the second
    text's logits must not move. In a small random copy of the model, whose windows and chunks are in
    proportion to rows as here, the second text must be computed as it is by itself. Kernels that need a GPU,
    and ranks without weights, are not run. Positions that change with a batch's longest text are known by the
    configuration, whatever computes attention.

    Args:
        model: A causal LM of transformers.
        attn_implementation: Its attention's.
        row_tokens: Tokens of the rows that it is trained on.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        TrainingError: The second text sees the first or is computed otherwise, or may be in rows of this
            length, or the model takes no position ids or fails with them.
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
        say(f"{kind}: packed texts were tried on rows of 6 tokens only: {error}.")
        share = 0.0
    except Exception as error:  # whatever a family makes of position ids that start anew
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
            f"{kind} computes a text behind another one in a row of {row_tokens:,} tokens otherwise than by "
            f"itself (logits {share:.1%} off), as where chunks of attention count from the row's start. "
            f"Build a corpus of rows no longer than a chunk. {cure}"
        )


def _moved_by_another_text(model: Any) -> float:
    """How far the logits of a row's second text move when its first text is another."""
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
