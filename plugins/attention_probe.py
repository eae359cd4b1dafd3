"""Small random copies of a model, on which its attention is tried before the model itself is run.

A copy has the family's code, head size, kinds of layers, soft caps and multipliers, and few of everything
else: two heads, 64 tokens, as many layers as show each kind. Windows that are shorter than a row are 32
tokens there, and a row a few more, so that what happens beyond a window shows within milliseconds. Weights
are large, since attention that is nearly flat hides what a soft cap does.

Rows of a few tokens would not do on the model itself: chunks of attention (Llama 4) that count from the start
of a row cut the texts behind it only beyond the first chunk.
"""

from __future__ import annotations

import copy
import os
import sys
from typing import Any

ROW_TOKENS = 48
"""Tokens of a row on which a copy is tried."""

_VOCABULARY = 64
_WINDOW = 32
_FIRST = 20
"""Tokens of a packed row's first text: the end of its second one lies beyond a window."""
_TOLERANCE = 1e-3
_MAX_PARAMETERS = 10**8
_MAX_KINDS = 4
_WINDOWS = (
    "sliding_window",
    "attention_chunk_size",
    "sliding_window_size",
    "window_size",
    "local_window_size",
)
_WIDTHS = (
    "intermediate_size",
    "intermediate_size_mlp",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "ffn_dim",
)


class CannotCopy(Exception):
    """A family whose configuration does not shrink in this way; says why."""


def small_copies(
    config: Any, *, row_tokens: int, implementations: tuple[str | None, ...], trust_remote_code: bool = False
) -> list[Any]:
    """Make copies of a model on the CPU that differ in their attention alone.

    Args:
        config: The model's configuration; of a multimodal one its text model is made.
        row_tokens: Of the rows that the model itself gets; windows of so many tokens are left as they are.
        implementations: Of attention, a copy each; None is the one that transformers takes by itself.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        CannotCopy: Its configuration does not allow it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    copies: list[Any] = []
    try:
        small = _shrink(config, row_tokens)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                copy.deepcopy(small), trust_remote_code=trust_remote_code
            )
        if model.num_parameters() > _MAX_PARAMETERS:
            raise CannotCopy(
                f"a copy of {type(model).__name__} would have {model.num_parameters():,} parameters"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for implementation in implementations:
                chosen = {} if implementation is None else {"attn_implementation": implementation}
                model = AutoModelForCausalLM.from_config(
                    copy.deepcopy(small), trust_remote_code=trust_remote_code, **chosen
                )
                copies.append(model.float().eval())
            for weight in copies[0].parameters():
                if weight.ndim > 1:
                    torch.nn.init.normal_(weight, std=3 * weight.shape[-1] ** -0.5)
            for other in copies[1:]:
                other.load_state_dict(copies[0].state_dict())
            with torch.no_grad():
                logits = copies[-1](input_ids=row_of_tokens()).logits
    except CannotCopy:
        raise
    except Exception as error:  # families are many, and each reads its configuration in its own way
        first_line = (str(error).strip() or "no message").splitlines()[0]
        raise CannotCopy(f"{type(error).__name__}: {first_line}") from error
    if not logits.isfinite().all():
        raise CannotCopy("its logits are not finite")
    return copies


def row_of_tokens(num_tokens: int = ROW_TOKENS) -> Any:
    """A batch of one row, its tokens all sorts."""
    import torch

    return (torch.arange(num_tokens)[None] * 37 + 11) % _VOCABULARY


def deviation(found: Any, expected: Any) -> float:
    """How far logits are off, as a share of the largest one; 0 where it is rounding."""
    share = float((found - expected).abs().max() / expected.abs().max())
    return 0.0 if share <= _TOLERANCE else share


def differs_from_eager(
    config: Any, *, implementation: str | None, row_tokens: int, trust_remote_code: bool = False
) -> str:
    """How the logits of an attention implementation differ from those of `eager`, which follows each paper.

    Args:
        config: The model's configuration.
        implementation: sdpa or eager; None is the one that transformers takes by itself.
        row_tokens: Of the model's rows.
        trust_remote_code: Whether code that comes with the model may run.

    Returns:
        A clause for an error or a line; "" where they do not differ.

    Raises:
        CannotCopy: It cannot be tried.
    """
    import torch

    if not hasattr(config.get_text_config(), "num_attention_heads"):
        return ""  # it has no attention
    probed, eager = small_copies(
        config,
        row_tokens=row_tokens,
        implementations=(implementation, "eager"),
        trust_remote_code=trust_remote_code,
    )
    with torch.no_grad():
        share = deviation(*(model(input_ids=row_of_tokens()).logits for model in (probed, eager)))
    if not share:
        return ""
    name = probed.config._attn_implementation
    return f"attention {name!r} computes another {type(probed).__name__} than eager (logits {share:.1%} off)"


def packed_deviation(config: Any, *, implementation: str, row_tokens: int, trust_remote_code: bool) -> float:
    """How far the logits of a text behind another one in a packed row are off those of the text by itself.

    Args:
        config: The model's configuration.
        implementation: sdpa or eager.
        row_tokens: Of the model's rows.
        trust_remote_code: Whether code that comes with the model may run.

    Returns:
        As `deviation`; whatever the model raises with packed rows is raised.

    Raises:
        CannotCopy: It cannot be tried.
    """
    import torch

    (model,) = small_copies(
        config, row_tokens=row_tokens, implementations=(implementation,), trust_remote_code=trust_remote_code
    )
    model.config.use_cache = False
    row = row_of_tokens()
    positions = torch.cat([torch.arange(_FIRST), torch.arange(ROW_TOKENS - _FIRST)])[None]
    with torch.no_grad():
        packed = model(input_ids=row, position_ids=positions).logits[:, _FIRST:]
        alone = model(input_ids=row[:, _FIRST:], position_ids=positions[:, _FIRST:]).logits
    return deviation(packed, alone)


def length_dependent_positions(config: Any) -> tuple[str, int] | None:
    """Rotary positions that are others for all texts of a batch once one is long.

    Args:
        config: The model's configuration.

    Returns:
        Their kind, longrope or dynamic, and how many tokens a text may have before they change; None where
        they never do.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_scaling", None) or getattr(text, "rope_parameters", None) or {}
    # transformers 5 may have one for each kind of layer.
    for each in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        kind = each.get("rope_type", each.get("type"))
        if kind == "dynamic":
            return kind, text.max_position_embeddings
        if kind == "longrope":
            original = getattr(text, "original_max_position_embeddings", None)
            original = original or each.get("original_max_position_embeddings")
            return kind, original or text.max_position_embeddings
    return None


def _shrink(config: Any, row_tokens: int) -> Any:
    small = copy.deepcopy(config.get_text_config())
    if any(name.startswith("mamba") for name in vars(small)):
        raise CannotCopy(
            "its state-space layers, without kernels, take gigabytes however few tokens there are"
        )
    if hasattr(small, "_attn_implementation_autoset"):
        small._attn_implementation_autoset = False  # transformers 4.53: choose anew
    num_layers, num_heads = int(small.num_hidden_layers), int(small.num_attention_heads)
    head_dim = int(getattr(small, "head_dim", None) or small.hidden_size // num_heads)
    num_kv_heads = getattr(small, "num_key_value_heads", None) or num_heads
    # Lists of what each layer is: as many layers as show each kind.
    by_layer = {
        name: value
        for name, value in vars(small).items()
        if isinstance(value, list | tuple) and len(value) == num_layers and len(set(value)) <= _MAX_KINDS
    }
    kept = max([2, *(value.index(kind) + 1 for value in by_layer.values() for kind in set(value))])
    sizes: dict[str, Any] = {
        **{name: value[:kept] for name, value in by_layer.items()},
        "num_hidden_layers": min(kept, num_layers),
        "num_attention_heads": 2,
        "num_key_value_heads": 2 if num_kv_heads == num_heads else 1,
        "hidden_size": 2 * head_dim,
        "vocab_size": _VOCABULARY,
        **dict.fromkeys(_WIDTHS, 64),
    }
    for name, size in sizes.items():
        if getattr(small, name, None) is not None:
            setattr(small, name, size)
    for name in _WINDOWS:
        window = getattr(small, name, None)
        if isinstance(window, int) and window > 0:
            short = window < row_tokens
            setattr(small, name, min(window, _WINDOW) if short else max(window, ROW_TOKENS))
    for name, value in list(vars(small).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(small, name, None if name == "pad_token_id" else 0)
    return small


def say(line: str) -> None:
    """Print a line on stderr, once of all ranks."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
