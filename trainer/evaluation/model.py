"""A causal LM as the evaluation sees it, whatever it is wrapped in.

Scoring and generation call `forward` and `generate` of a `CausalModel` and know of no wrapper: a
plain Hugging Face model, Composer's `HuggingFaceModel`, and either of them under DDP or FSDP.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

_FULL_ATTENTION_FAMILIES = frozenset({"gpt_neox", "llama", "mistral", "olmo2", "qwen2", "qwen3"})
_LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_DEFAULT_CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalModel:
    """The calls that evaluation makes, and what may be relied on.

    Attributes:
        forward: Takes Hugging Face's keyword arguments; returns an output with `logits`.
        generate: `transformers.GenerationMixin.generate`, or a wrapper's version of it.
        device: Where inputs go.
        context_tokens: Longest input, in tokens.
        is_sharded: Whether each forward pass needs all ranks.
        trims_logits: Whether `logits_to_keep` spares the vocabulary projection of early positions.
        keeps_cache: Whether a forward pass gives back a key-value cache that it filled.
        shares_prompts: Whether options may be scored against one cached prompt, with equal results.
    """

    forward: Callable[..., Any]
    generate: Callable[..., torch.Tensor]
    device: torch.device
    context_tokens: int
    is_sharded: bool = False
    trims_logits: bool = False
    keeps_cache: bool = False
    shares_prompts: bool = False


def as_causal_model(model: torch.nn.Module, *, world_size: int = 1) -> CausalModel:
    """Look at a model in evaluation mode and learn how to call it.

    Makes one forward pass of two tokens, on every rank: FSDP2 with mixed precision hands each layer
    a copy of the cache, which then comes back empty, and only trying tells.

    Args:
        model: A Hugging Face causal LM or Composer's wrapper of one.
        world_size: Number of ranks; a model that is not DDP's replica is then taken to be sharded.
    """
    from transformers import PreTrainedModel

    is_replica = isinstance(model, DistributedDataParallel)
    # A replica's own forward broadcasts buffers; evaluation changes none, so it is not needed.
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    if isinstance(inner, PreTrainedModel):
        forward: Callable[..., Any] = inner
        parameters = frozenset(inspect.signature(inner.forward).parameters)
    else:

        def forward(**batch: Any) -> Any:
            return inner(batch)

        parameters = frozenset(inner.model_forward_args)
    device = next(inner.parameters()).device
    keeps_cache = "use_cache" in parameters and _fills_cache(forward, device)
    return CausalModel(
        forward=forward,
        generate=inner.generate,
        device=device,
        context_tokens=_context_tokens(inner.config),
        is_sharded=world_size > 1 and not is_replica,
        trims_logits="logits_to_keep" in parameters,
        keeps_cache=keeps_cache,
        shares_prompts=keeps_cache and "position_ids" in parameters and _attends_fully(inner.config),
    )


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's mode and all random states come back after."""
    modes = [(module, module.training) for module in model.modules()]
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, is_training in modes:
            module.training = is_training
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def _fills_cache(forward: Callable[..., Any], device: torch.device) -> bool:
    tokens_BT = torch.zeros(1, 2, dtype=torch.long, device=device)
    output = forward(input_ids=tokens_BT, attention_mask=torch.ones_like(tokens_BT), use_cache=True)
    cache: Any = getattr(output, "past_key_values", None)
    return hasattr(cache, "batch_select_indices") and bool(cache.get_seq_length() == 2)


def _attends_fully(config: Any) -> bool:
    """Whether a padded, cached prompt gives what the whole string gives: known families only."""
    rope = getattr(config, "rope_scaling", None) or getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in _FULL_ATTENTION_FAMILIES
        and getattr(config, "sliding_window", None) is None
        and rope.get("rope_type", rope.get("type", "default")) not in _LENGTH_DEPENDENT_ROPE
    )


def _context_tokens(config: Any) -> int:
    for key in _CONTEXT_KEYS:
        if isinstance(found := getattr(config, key, None), int) and found > 0:
            return found
    return _DEFAULT_CONTEXT_TOKENS
