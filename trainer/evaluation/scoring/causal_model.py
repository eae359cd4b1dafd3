"""One interface to causal LMs with any wrapper, and probes of what they support.

Scoring and generation call `forward` and `generate` of a `CausalModel`. It stands for a plain Hugging Face
model, Composer's `HuggingFaceModel`, or either of them under DDP or FSDP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from plugins.attention_probe import length_dependent_positions
from trainer.evaluation.ranks import describe
from trainer.evaluation.scoring.encoding import EncodedRow
from trainer.evaluation.scoring.logits import find_head
from trainer.evaluation.scoring.padding import HARMLESS, Padding, left_padding, right_padding
from trainer.evaluation.scoring.token_tree import attention_mask, batch_trees, lay_out
from trainer.model.architecture import text_modules

_FULL_ATTENTION_FAMILIES = frozenset({
    "cohere", "glm", "glm4", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo2", "phi3", "qwen2",
    "qwen3", "smollm3",
})  # fmt: skip
_MASKED_ATTENTION = {"sdpa": True, "eager": False}
"""Attention implementations that take a mask of any shape; true if the mask may be boolean."""
_PROBE_TOLERANCE = 1e-3
_CONTEXT_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx",
    "context_length", "max_target_positions",
)  # fmt: skip
_DEFAULT_CONTEXT_TOKENS = 2048
_SCORED = {"choice": "options", "perplexity": "texts"}
"""Kinds of tasks that need log-probabilities, and what these are of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalModel:
    """The functions of a model that evaluation calls, and its properties.

    Attributes:
        forward: Takes Hugging Face's keyword arguments; returns an output with `logits`.
        generate: `transformers.GenerationMixin.generate`, or a wrapper's version of it.
        device: Device of the inputs.
        dtype: Of the weights.
        context_tokens: Longest input, in tokens.
        names_context: True if the configuration names the context; else it is a guess.
        num_embeddings: Token ids below this have an embedding.
        is_sharded: True if each forward pass needs all ranks.
        head: The output layer, for logits in float32 (logits.py); None if the model gives logits only in its
            own precision.
        keeps_cache: True if a forward pass returns a key-value cache that it filled.
        no_trees: Why the model gives other results with a tree mask; empty if it does not.
        bool_masks: True if its attention takes a boolean mask; else it takes one that is added.
        right_padding: Effect on scores.
        left_padding: Effect on generated answers.
    """

    forward: Callable[..., Any]
    generate: Callable[..., torch.Tensor]
    device: torch.device
    dtype: torch.dtype
    context_tokens: int
    num_embeddings: int
    names_context: bool = True
    is_sharded: bool = False
    head: torch.nn.Linear | None = None
    keeps_cache: bool = False
    no_trees: str = "it was not tried"
    bool_masks: bool = True
    right_padding: Padding = HARMLESS
    left_padding: Padding = HARMLESS

    @property
    def no_cache(self) -> dict[str, bool]:
        """Arguments of `forward` that switch the key-value cache off."""
        return {"use_cache": False} if self.keeps_cache else {}

    def pass_idly(self, count: int, pad: int) -> None:
        """Make passes of one token: under sharding, every rank makes as many passes as the busiest one."""
        for _ in range(count):
            idle_B1 = torch.full((1, 1), pad, device=self.device)
            self.forward(input_ids=idle_B1, attention_mask=torch.ones_like(idle_B1))

    def notes(self, kinds: Collection[str]) -> Iterator[str]:
        """Yield what is unusual in the evaluation of tasks of these kinds, and why."""
        if "choice" in kinds and self.no_trees:
            yield f"each option passes through the model by itself, since {self.no_trees}."
        is_exact = self.dtype is torch.float32 and not torch.is_autocast_enabled(self.device.type)
        scored = [name for kind, name in _SCORED.items() if kind in kinds]
        if scored and self.head is None and not is_exact:
            yield (
                "log-probabilities are as exact as the model's own logits, since its output layer cannot be "
                "computed in float32; options may tie."
            )
        if not self.names_context and set(kinds) != {"perplexity"}:  # its windows are named anyway
            yield (
                f"prompts keep their last {self.context_tokens} tokens, since the model's configuration "
                "names no context length."
            )
        if self.right_padding.harm:
            yield from map(self.right_padding.note, scored)
        if "generate" in kinds and self.left_padding.harm:
            yield self.left_padding.note("prompts")


def as_causal_model(
    model: torch.nn.Module, *, world_size: int = 1, kinds: Collection[str] = ("choice", "generate")
) -> CausalModel:
    """Find out how to call a model in evaluation mode.

    Makes some forward passes of a few tokens, on every rank, since no attribute of a model says whether it
    fills the cache (FSDP2 with mixed precision gives each layer a copy, and the cache comes back empty),
    whether it obeys a tree mask, and whether padding changes its results.

    Args:
        model: A Hugging Face causal LM or Composer's wrapper of one.
        world_size: Number of ranks; with several, a model that is no DDP replica counts as sharded.
        kinds: Kinds of the tasks; probes for other kinds are left out.
    """
    from transformers import PreTrainedModel

    is_replica = isinstance(model, DistributedDataParallel)
    # The forward of the DDP wrapper broadcasts buffers; evaluation changes none, so it calls the inner model.
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    causal = inner if isinstance(inner, PreTrainedModel) else inner.model
    if causal is inner:
        forward: Callable[..., Any] = inner
        parameters = frozenset(inspect.signature(inner.forward).parameters)
    else:

        def forward(**batch: Any) -> Any:
            return inner(batch)

        parameters = frozenset(inner.model_forward_args)
    weight = next(inner.parameters())
    config = inner.config.get_text_config()
    named = _context_tokens(config)
    found = CausalModel(
        forward=forward,
        generate=inner.generate,
        device=weight.device,
        dtype=weight.dtype,
        context_tokens=min([named or _DEFAULT_CONTEXT_TOKENS, *_learned_positions(causal)]),
        names_context=named is not None,
        num_embeddings=_num_embeddings(causal),
        is_sharded=world_size > 1 and not is_replica,
        keeps_cache="use_cache" in parameters and _fills_cache(forward, weight.device),
        bool_masks=_MASKED_ATTENTION.get(_attention_of(config), True),
    )
    if "choice" in kinds:
        found = dataclasses.replace(found, no_trees=_why_no_trees(config, parameters) or _try_tree(found))
    if _SCORED.keys() & set(kinds):
        head = find_head(causal, forward, weight.device)
        found = dataclasses.replace(found, head=head, right_padding=right_padding(found, config))
    if "generate" in kinds:
        found = dataclasses.replace(found, left_padding=left_padding(found, config))
    return found


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; restores every module's mode and all random states at the end."""
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
    return hasattr(cache, "get_seq_length") and bool(cache.get_seq_length() == 2)


def _attention_of(config: Any) -> str:
    return str(getattr(config, "_attn_implementation", None))


def _why_no_trees(config: Any, parameters: frozenset[str]) -> str:
    """Why trees are not tried; empty for known families with rotary positions and full attention."""
    if "position_ids" not in parameters:
        return "its forward takes no position_ids"
    if config.model_type not in _FULL_ATTENTION_FAMILIES:
        return f"{config.model_type} is not one of the families known to give equal results"
    if getattr(config, "sliding_window", None) is not None:
        return "it attends through a sliding window"
    if positions := length_dependent_positions(config):
        return f"its {positions[0]} positions depend on the length of the input"
    if _attention_of(config) not in _MASKED_ATTENTION:
        return f"attention {_attention_of(config)} takes no mask of its own; sdpa does"
    return ""


def _try_tree(model: CausalModel) -> str:
    """Compare a branch with its plain sequence; return why trees cannot be used, or "".

    The threshold is a quarter of the error of a branch that sees its neighbour: rounding is far below that in
    any precision.
    """
    trunk, first, second = [5, 3, 8, 2, 7], [6, 9, 4], [9, 1, 6]
    sequences = [trunk + first, trunk + second]
    row = EncodedRow(
        index=0,
        position="",
        sequences=[[*ids, 0] for ids in sequences],
        starts=[len(trunk)] * 2,
        num_shared=len(trunk),
        is_truncated=False,
    )
    # A shorter row in the batch adds padding.
    short = dataclasses.replace(row, sequences=[[*trunk[:2], token, 0] for token in (1, 4)], num_shared=2)
    short = dataclasses.replace(short, starts=[2, 2])
    tokens_BT, positions_BT, sees = batch_trees([lay_out([short]), lay_out([row])], 0, model.device)
    mask = attention_mask(sees, dtype=model.dtype, as_bool=model.bool_masks)

    def last(**inputs: Any) -> torch.Tensor:
        logits_TV: torch.Tensor = model.forward(**inputs, **model.no_cache).logits[-1, -len(second) :].float()
        return logits_TV

    def plain(ids: list[int]) -> torch.Tensor:
        tokens = torch.tensor([ids], device=model.device)
        return last(input_ids=tokens, attention_mask=torch.ones_like(tokens))

    expected, wrong = plain(sequences[1]), plain(trunk + first + second)
    try:
        found = last(input_ids=tokens_BT, position_ids=positions_BT, attention_mask=mask)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:  # errors for a mask of a wrong shape
        return f"its attention refuses a tree mask: {describe(error)}"
    deviation = float((found - expected).abs().max())
    if not deviation <= max(_PROBE_TOLERANCE, float((wrong - expected).abs().max()) / 4):
        return f"its attention does not obey a tree mask: logits differ by {deviation:.2g}"
    return ""


def _num_embeddings(causal: Any) -> int:
    rows = getattr(causal.get_input_embeddings(), "num_embeddings", None)
    return int(causal.config.get_text_config().vocab_size if rows is None else rows)


def _learned_positions(causal: Any) -> Iterator[int]:
    """Yield the number of tokens that each table of learned positions has room for."""
    text_model, *_ = text_modules(causal)  # tables elsewhere are for patches of images
    for path, table in text_model.named_modules():
        name = path.rpartition(".")[2]
        if isinstance(table, torch.nn.Embedding) and (name == "wpe" or "position" in name):
            # Some tables start behind the position of padding, some at an offset.
            before = 0 if table.padding_idx is None else table.padding_idx + 1
            yield table.num_embeddings - before - getattr(table, "offset", 0)


def _context_tokens(config: Any) -> int | None:
    for key in _CONTEXT_KEYS:
        if isinstance(found := getattr(config, key, None), int) and found > 0:
            return found
    return None
