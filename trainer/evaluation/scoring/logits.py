"""Logits in float32, at the scored positions only.

A model in bfloat16, or under autocast, rounds its logits to 8 significant bits: different options of a row
may then tie or change places. Hooks on the output layer pass only the chosen hidden states to it and compute
its product again in float32, with the weights cast in pieces. Later operations on the logits, such as a scale
or a soft cap, run in float32 too.

Shapes: B sequences of T tokens, N chosen positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

_ROWS_AT_ONCE = 16384
"""Rows of the output layer's weights that are cast to float32 at a time."""
_PROBE_TOLERANCE = 0.02
"""Tolerance as a share of the largest logit; rounding to bfloat16 is 0.004."""


def logits_at(
    forward: Callable[..., Any],
    head: torch.nn.Linear | None,
    rows_N: torch.Tensor,
    positions_N: torch.Tensor,
    inputs: dict[str, Any],
) -> torch.Tensor:
    """Run a batch and return the logits of chosen positions, float32 of shape (N, V).

    Args:
        forward: Takes `inputs`; returns an output with `logits`.
        head: The output layer that `forward` runs; None takes the logits in the model's own precision.
        rows_N: Rows of the chosen positions, int64.
        positions_N: The positions, int64.
        inputs: Hugging Face's keyword arguments.
    """
    if head is None:
        logits_NV: torch.Tensor = forward(**inputs).logits[rows_N, positions_N]
        return logits_NV.float()
    with _in_float32(head, rows_N, positions_N):
        logits_1NV: torch.Tensor = forward(**inputs).logits
    return logits_1NV[0]


def find_head(model: Any, forward: Callable[..., Any], device: torch.device) -> torch.nn.Linear | None:
    """The output layer of a causal LM; None unless `logits_at` gives equal results with and without it.

    Makes two forward passes of a few tokens.

    Args:
        model: Of transformers.
        forward: Of the model, or of its wrapper.
        device: Where inputs go.
    """
    head = model.get_output_embeddings()
    # accelerate keeps weights on the meta device and loads them only while the layer runs.
    if not isinstance(head, torch.nn.Linear) or head.weight.is_meta or not head.weight.is_floating_point():
        return None
    tokens_BT = torch.tensor([[5, 3, 8], [2, 7, 1]], device=device)
    inputs = {"input_ids": tokens_BT, "attention_mask": torch.ones_like(tokens_BT)}
    rows_N, positions_N = torch.tensor([[1, 0], [2, 1]], device=device)
    expected_NV = logits_at(forward, None, rows_N, positions_N, inputs)
    try:
        found_NV = logits_at(forward, head, rows_N, positions_N, inputs)
        deviation = float((found_NV - expected_NV).abs().max())
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
    ):  # errors of models that return fewer logits than tokens
        return None
    return None if deviation > _PROBE_TOLERANCE * float(expected_NV.abs().max()) else head


@contextlib.contextmanager
def _in_float32(head: torch.nn.Linear, rows_N: torch.Tensor, positions_N: torch.Tensor) -> Iterator[None]:
    def choose(_: Any, arguments: tuple[Any, ...]) -> tuple[torch.Tensor]:
        hidden_BTD: torch.Tensor = arguments[0]
        at = rows_N.to(hidden_BTD.device), positions_N.to(hidden_BTD.device)
        return (hidden_BTD[at][None],)

    def project(_: Any, arguments: tuple[Any, ...], __: Any) -> torch.Tensor:
        return _project(arguments[0], head)

    # Before all other forward hooks of the layer: FSDP's hook frees the weights.
    hooks = head.register_forward_pre_hook(choose), head.register_forward_hook(project, prepend=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _project(hidden_1ND: torch.Tensor, head: torch.nn.Linear) -> torch.Tensor:
    device = head.weight.device
    hidden_1ND = hidden_1ND.to(device, torch.float32)
    matmul = torch.backends.cuda.matmul
    allows_tf32 = matmul.allow_tf32  # Composer allows TF32, which has 10 bits of each factor
    matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            pieces = [
                torch.nn.functional.linear(hidden_1ND, rows.float())
                for rows in head.weight.split(_ROWS_AT_ONCE)
            ]
            logits_1NV = torch.cat(pieces, dim=-1)
            return logits_1NV if head.bias is None else logits_1NV + head.bias.float()
    finally:
        matmul.allow_tf32 = allows_tf32
