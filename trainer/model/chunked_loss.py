"""Loss in chunks: output layer and cross entropy of a few hundred tokens at a time.

    hidden states ─► those that carry loss ─► chunk ─► logits ─► loss and, at once, its gradients

The logits of a micro-batch are its largest tensor: 8,192 tokens of a vocabulary of 128,256 take 4.2 GB in
fp32, and the loss needs several such tensors. Here only a chunk of them exists at a time. Each chunk computes
its gradients while its logits exist, so that nothing is computed twice. Positions without loss do not reach
the output layer.

Chunks cost memory too: a sum of the layer's gradients, of D times V numbers, and each chunk's own. So up to
about D tokens more than a chunk are one chunk.

The output layer runs as a module, so that adapters and biases count. The loss is computed inside the model's
forward, where FSDP has gathered the layer. The chunks are right only for a family that gives the unchanged
result of its output layer to the usual loss; `whole_loss_because` tries that on a small copy.

Shapes: B rows of T tokens, N tokens with loss, D hidden size, V vocabulary.

Source: Hsu et al. 2024, arXiv 2410.10989, section 3.2 (FusedLinearCrossEntropy).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from plugins.attention_probe import CannotCopy, row_of_tokens, small_copies
from schemas.train_config import ModelConfig
from trainer.data.batches import IGNORE_INDEX
from trainer.reporting.announce import announce

_TOLERANCE = 1e-5
"""Largest difference, as a share of the largest loss or gradient; the soft cap of Gemma 2 makes 1.7."""


def chunk_tokens(num_tokens: int, device_type: str, *, hidden_size: int, head_is_trained: bool) -> int:
    """Return the tokens of a chunk: all of them if smaller chunks would save no memory."""
    size = 512 if device_type == "cpu" else 2048  # fewer leave a GPU idle
    return size if num_tokens > size + hidden_size * head_is_trained else max(1, num_tokens)


@contextlib.contextmanager
def loss_in_chunks(model: Any, *, size: int | None = None) -> Iterator[None]:
    """Let the model's forward compute its loss in chunks of `size` tokens; its logits are hidden states then.

    An output layer that tensor parallelism has split computes the whole loss.
    """
    head = model.get_output_embeddings()
    whole_loss = model.loss_function
    own = {name: model.__dict__[name] for name in ("_loss_function",) if name in model.__dict__}
    head_own = {name: head.__dict__[name] for name in ("forward",) if name in head.__dict__}

    def restore() -> None:
        for module, name, values in ((head, "forward", head_own), (model, "_loss_function", own)):
            module.__dict__.pop(name, None)
            module.__dict__.update(values)

    def loss(logits: torch.Tensor, labels: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        restore()
        if any(isinstance(each, DTensor) for each in head.parameters()):
            _announce_once(
                "Tensor parallelism splits the output layer, so the loss is computed on whole logits."
            )
            whole: torch.Tensor = whole_loss(head(logits), labels, *args, **kwargs)
            return whole
        return cross_entropy(head, logits, labels, size=size)

    head.forward = lambda hidden_BTD: hidden_BTD
    model.loss_function = loss
    try:
        yield
    finally:
        restore()


def cross_entropy(
    head: torch.nn.Module, hidden_BTD: torch.Tensor, labels_BT: torch.Tensor, *, size: int | None = None
) -> torch.Tensor:
    """Return the mean loss of the tokens that carry loss, each predicted from those before it; 0 if none do.

    Args:
        head: Output layer, hidden states to logits.
        hidden_BTD: Its inputs.
        labels_BT: int64; IGNORE_INDEX carries no loss.
        size: Tokens of a chunk; None takes `chunk_tokens`.
    """
    carries = labels_BT[:, 1:] != IGNORE_INDEX
    hidden_ND, targets_N = hidden_BTD[:, :-1][carries], labels_BT[:, 1:][carries]
    weights = [each for each in head.parameters() if each.requires_grad]
    if size is None:
        num_tokens, hidden_size = hidden_ND.shape
        kind = hidden_ND.device.type
        size = chunk_tokens(num_tokens, kind, hidden_size=hidden_size, head_is_trained=bool(weights))
    mean: torch.Tensor = _Chunks.apply(head, size, torch.is_grad_enabled(), hidden_ND, targets_N, *weights)
    return mean


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        head: torch.nn.Module,
        size: int,
        learns: bool,
        hidden_ND: torch.Tensor,
        targets_N: torch.Tensor,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.zeros((), device=hidden_ND.device)
        hidden_grad_ND = torch.empty_like(hidden_ND)
        grads: list[torch.Tensor] = []
        for start in range(0, max(1, len(targets_N)), size):  # without tokens, once: gradients of 0
            targets_C = targets_N[start : start + size, None]
            with torch.set_grad_enabled(learns):
                hidden_CD = hidden_ND[start : start + size].detach().requires_grad_(learns)
                logits_CV = head(hidden_CD)
            work_CV = logits_CV.detach().float().log_softmax(dim=-1)
            total -= work_CV.gather(1, targets_C).sum()
            if not learns:
                continue
            # The gradient of the loss: probabilities, less 1 at the target.
            work_CV.exp_().scatter_add_(1, targets_C, work_CV.new_full(targets_C.shape, -1.0))
            hidden_grad_ND[start : start + size], *found = torch.autograd.grad(
                logits_CV, [hidden_CD, *weights], work_CV.to(logits_CV.dtype), materialize_grads=True
            )
            del logits_CV, work_CV
            if grads:
                grads = [grad.float().add_(more) for grad, more in zip(grads, found, strict=True)]
            else:
                grads = found
            del found
        ctx.num_tokens = max(1, len(targets_N))
        ctx.gradients = [hidden_grad_ND, *grads]
        ctx.dtypes = [hidden_ND.dtype, *(each.dtype for each in weights)]
        mean: torch.Tensor = total / ctx.num_tokens
        return mean

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # autograd may keep them as the gradients themselves
        if gradients is None:
            raise RuntimeError("the gradients of a loss in chunks can be computed once only")
        scale = upstream / ctx.num_tokens
        scaled = [each.mul_(scale).to(dtype) for each, dtype in zip(gradients, ctx.dtypes, strict=True)]
        return (None, None, None, scaled[0], None, *scaled[1:])


_announce_once = functools.cache(announce)


def whole_loss_because(config: ModelConfig, hf_config: Any) -> str | None:
    """Return why a model must compute its loss on whole logits; None if chunks give the same.

    A small random copy computes the loss and its gradients both ways.
    """
    if not config.chunked_loss:
        return "model.chunked_loss is false"
    if hf_config.get_text_config() is not hf_config:
        return "a multimodal model computes its loss itself"
    if getattr(hf_config, "num_attention_heads", None) is None:
        return "no small copy can be made of a model without attention heads"
    try:
        (model,) = small_copies(
            hf_config, row_tokens=8, implementations=("eager",), trust_remote_code=config.trust_remote_code
        )
    except CannotCopy as error:
        return f"chunks were not tried: {error}"
    model.config.use_cache = False
    batch = {"input_ids": row_of_tokens(), "labels": row_of_tokens().clone()}
    batch["labels"][:, :5] = IGNORE_INDEX
    try:
        expected = _with_gradients(model, batch)
        with loss_in_chunks(model, size=7):
            found = _with_gradients(model, batch)
    except Exception as error:  # families read logits in many ways
        return f"its forward needs logits ({type(error).__name__})"
    # Some gradients are 0 but for rounding, so that all are compared on one scale.
    same = len(found) == len(expected) and torch.allclose(
        torch.cat([each.flatten() for each in found]),
        torch.cat([each.flatten() for each in expected]),
        rtol=_TOLERANCE,
        atol=_TOLERANCE * max(float(each.abs().max()) for each in expected),
    )
    return None if same else "it changes the logits after its output layer, or has a loss of its own"


def _with_gradients(model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    loss = model(**batch).loss
    weights = [each for each in model.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return [loss.detach(), *(each for each in gradients if each is not None)]
