"""Activations: bytes that a forward pass saves for the backward pass, counted rather than derived.

The model runs once on fake tensors, which have shapes, dtypes and autograd but no memory. Each storage that
autograd saves counts once; parameters do not count. So the figure is right for any model of transformers; an
8B model takes two seconds.

The kernels are those of a CPU. A GPU saves the same tensors, and in each block also a copy of the attention
mask as an additive bias in the dtype of the queries, which a CPU makes anew (`memory.py` adds it).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

from schemas.errors import ConfigError
from trainer.model.architecture import is_block


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Bytes of one micro-batch, without the logits.

    Attributes:
        outside_blocks: Saved outside of decoder blocks.
        blocks: Saved in each decoder block.
        block_inputs: Hidden states that enter each block.
    """

    outside_blocks: int
    blocks: tuple[int, ...]
    block_inputs: tuple[int, ...]

    @property
    def kept(self) -> int:
        """Return the bytes held when the backward pass begins."""
        return self.outside_blocks + sum(self.blocks)

    @property
    def checkpointed(self) -> int:
        """Return the peak if every block saves its input alone and runs again for its gradients."""
        return self.outside_blocks + sum(self.block_inputs) + max(self.blocks, default=0)


class SavedBytes:
    """Counter of bytes that autograd saves, each storage once, parameters and buffers left out."""

    def __init__(self, model: torch.nn.Module):
        self.total = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        self._held: list[torch.Tensor] = []  # another storage could reuse the address of a freed one

    @contextlib.contextmanager
    def counting(self) -> Iterator[SavedBytes]:
        """Count the bytes saved within this context."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield self

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._held.append(tensor)
            self.total += storage.nbytes()
        return tensor


def count_activations(
    hf_config: Any,
    *,
    rows: int,
    seq_len: int,
    precision: str,
    low_precision_weights: bool,
    attention_boundaries: bool,
    put_adapters: Callable[[Any], None] | None = None,
) -> Activations:
    """Count the activations of a micro-batch.

    Args:
        hf_config: Configuration of a causal LM of transformers.
        rows: B, rows of the micro-batch.
        seq_len: T, tokens a row.
        precision: As Composer names it: fp32, amp_bf16, amp_fp16.
        low_precision_weights: Whether FSDP2 gathers weights in the precision of the computation; otherwise
            autocast casts them, and keeps the copies.
        attention_boundaries: Whether position ids restart in each text.
        put_adapters: Puts adapters into the model.

    Raises:
        ConfigError: Shapes in the model depend on the values of tokens, so that they cannot be counted.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    low = {"amp_bf16": torch.bfloat16, "amp_fp16": torch.float16}.get(precision)
    attention = hf_config._attn_implementation
    if attention not in ("sdpa", "eager"):
        # Kernels for GPUs; they save the same tensors as SDPA without a mask.
        attention, attention_boundaries = "sdpa", False
    # The modules for images are not run; in transformers 5 they fail on fake tensors.
    text_config = hf_config.get_text_config()
    text_config.use_cache = False
    fake = FakeTensorMode()
    with fake if put_adapters is None else torch.device("meta"):
        weights = low if low is not None and low_precision_weights else torch.float32
        model = AutoModelForCausalLM.from_config(
            text_config, torch_dtype=weights, attn_implementation=attention
        ).train()
    if put_adapters is not None:
        put_adapters(model)
    with fake:
        _bring_from_meta(model)
        counter = _BlockCounter(model)
        batch = {"input_ids": torch.zeros(rows, seq_len, dtype=torch.int64)}
        if attention_boundaries:
            half = max(1, seq_len // 2)
            batch["position_ids"] = torch.arange(seq_len).remainder(half).expand(rows, -1)
        # Gemma 3's base_model is the whole model, with its head, in transformers 4.53.
        decoder = model.get_decoder() if model.base_model is model else model.base_model
        try:
            with counter.saved.counting(), torch.autocast("cpu", low, enabled=low is not None):
                logits_BTV = model.get_output_embeddings()(decoder(**batch)[0])
        except RuntimeError as error:  # experts, whose shapes depend on the tokens
            raise ConfigError(
                f"the activations of {type(model).__name__} cannot be counted without running it "
                f"({type(error).__name__}). Train without --dry-run."
            ) from error
        del logits_BTV
    return counter.activations()


def _bring_from_meta(model: torch.nn.Module) -> None:
    """Replace meta tensors by fake ones; in torch 2.13 peft cannot move fake tensors."""
    for module in model.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.device.type != "meta":
                continue
            fake = torch.empty(tensor.shape, dtype=tensor.dtype)
            if isinstance(tensor, torch.nn.Parameter):
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=tensor.requires_grad)
            else:
                module._buffers[name] = fake


class _BlockCounter:
    """Counter of the bytes saved inside each block and outside of blocks."""

    def __init__(self, model: Any):
        self.saved = SavedBytes(model)
        self._starts: list[int] = []
        self._blocks: list[int] = []
        self._inputs: list[int] = []
        for module in model.modules():
            if is_block(model)(module):
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
                module.register_forward_hook(self._leave)

    def _enter(self, module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden_BTD = positional[0] if positional else named["hidden_states"]
        self._inputs.append(hidden_BTD.numel() * hidden_BTD.element_size())
        self._starts.append(self.saved.total)

    def _leave(self, module: Any, positional: Any, output: Any) -> None:
        self._blocks.append(self.saved.total - self._starts[-1])

    def activations(self) -> Activations:
        return Activations(
            outside_blocks=self.saved.total - sum(self._blocks),
            blocks=tuple(self._blocks),
            block_inputs=tuple(self._inputs),
        )
