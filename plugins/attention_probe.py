"""Probe of a model's attention on small random copies, before the model itself runs.

A copy has the family's code, head size, kinds of layers, soft caps and multipliers, and little of everything
else: two heads, a vocabulary of 64, enough layers to have each kind. Windows shorter than a row become 32
tokens, and the probed row is a few tokens longer, so that effects beyond a window show within milliseconds.
Weights are large, because nearly flat attention hides the effect of a soft cap.

A short row on the model itself is no test: attention chunks counted from the start of a row (Llama 4) cut its
later texts only beyond the first chunk.
"""

from __future__ import annotations

import copy
import os
import sys
from typing import Any

ROW_TOKENS = 48
"""Tokens of a probed row."""

_VOCABULARY = 64
_WINDOW = 32
_FIRST = 20
"""Tokens of a packed row's first text: its second text ends beyond a window."""
_TOLERANCE = 1e-3
_MAX_PARAMETERS = 10**8
_MAX_KINDS = 4
_WINDOWS = (
    *("sliding_window", "sliding_window_size", "attention_chunk_size", "window_size"),
    "local_window_size",
)
_WIDTHS = (
    *("intermediate_size", "intermediate_size_mlp", "moe_intermediate_size", "ffn_dim"),
    *("shared_expert_intermediate_size", "shared_intermediate_size"),
)


class CannotCopy(Exception):
    """The configuration of a family cannot be shrunk; the message has the reason."""


def small_copies(
    config: Any, *, row_tokens: int, implementations: tuple[str | None, ...], trust_remote_code: bool = False
) -> list[Any]:
    """Make copies of a model on the CPU that differ only in their attention implementation.

    A multimodal model is copied as its text model. A window of at least `row_tokens`, the length of the
    model's own rows, does not shrink. Implementation None is the default of transformers.

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
    except Exception as error:  # each family reads its configuration in its own way
        first_line = (str(error).strip() or "no message").splitlines()[0]
        raise CannotCopy(f"{type(error).__name__}: {first_line}") from error
    if not logits.isfinite().all():
        raise CannotCopy("its logits are not finite")
    return copies


def row_of_tokens(num_tokens: int = ROW_TOKENS) -> Any:
    """Return a batch of one row with many different tokens."""
    import torch

    return (torch.arange(num_tokens)[None] * 37 + 11) % _VOCABULARY


def deviation(found: Any, expected: Any) -> float:
    """Return the largest difference of logits, as a share of the largest logit; 0 within rounding."""
    share = float((found - expected).abs().max() / expected.abs().max())
    return 0.0 if share <= _TOLERANCE else share


def differs_from_eager(
    config: Any, *, implementation: str | None, row_tokens: int, trust_remote_code: bool = False
) -> str:
    """Compare an attention implementation with `eager`, which follows each paper.

    Returns a clause for a message; "" if the logits are the same. Errors are those of `small_copies`.
    """
    import torch

    if not hasattr(config.get_text_config(), "num_attention_heads"):
        return ""  # no attention
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
    """Return the `deviation` of the second text in a packed row from the same text alone.

    Errors are those of `small_copies`, and those of the model on packed rows.
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
    """Find rotary positions that change for all texts of a batch when one text is long.

    Returns their kind, longrope or dynamic, and the most tokens of a text before they change; None if they
    never change.
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
        raise CannotCopy("its state-space layers, without kernels, take gigabytes for any number of tokens")
    if hasattr(small, "_attn_implementation_autoset"):
        small._attn_implementation_autoset = False  # transformers 4.53: choose again
    num_layers, num_heads = int(small.num_hidden_layers), int(small.num_attention_heads)
    head_dim = int(getattr(small, "head_dim", None) or small.hidden_size // num_heads)
    num_kv_heads = getattr(small, "num_key_value_heads", None) or num_heads
    # Lists with the kind of each layer: keep enough layers to have each kind.
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
    """Print a line on stderr, from rank 0 only."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)
