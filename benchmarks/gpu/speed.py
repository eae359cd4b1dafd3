"""Rate of matrix multiplication, and of training steps without a trainer.

MFU is the second as a share of the first. A step is forward, loss, backward, clipping and fused AdamW on one
batch in memory. The model is the trainer's own (`build_model`): fp32 weights under autocast. Its decoder
blocks are compiled one by one; they are alike, so that the compiler runs once.

Operations are those of the dry run, 6·N + 12·L·H·Q·T a token (arXiv 2204.02311, appendix B). For packed rows
T is the length of a text: what a kernel skips, or computes in vain, beyond it does not count.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.device import DEVICE, free_memory, machine, now, peak_bytes
from benchmarks.gpu.inputs import TEXTS, dtype_of, prepare, random_batch, rows_that_fit, train_config
from benchmarks.gpu.steps import NotHere, Sizes
from plugins.tokenizers import load_tokenizer
from trainer.model.architecture import describe, is_block
from trainer.model.packed_model import build_model

_ROUNDS, _AT_A_TIME = 5, 10

_models: dict[tuple[str, bool], tuple[Any, torch.optim.Optimizer, bool]] = {}
"""The model of the last step in this process, its optimizer, and whether its loss can be in chunks."""


def matrix_rate(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Operations a second by side of the matrices, in the type of computations, and the best; the machine."""
    rates = {}
    for side in sizes.matrices:
        left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype_of(sizes)) for _ in range(2))
        product = left @ right
        seconds = []
        for _ in range(_ROUNDS):
            begun = now()
            for _ in range(_AT_A_TIME):
                torch.matmul(left, right, out=product)
            seconds.append((now() - begun) / _AT_A_TIME)
        rates[str(side)] = 2 * side**3 / statistics.median(seconds)
    return {"flops_per_sec": rates, "best_flops_per_sec": max(rates.values()), "machine": machine()}


def training_rate(
    sizes: Sizes, folder: str, *, attention: str, packed: bool, compiled: bool, chunked: bool
) -> dict[str, Any]:
    """Tokens and model operations a second, and peak memory.

    Args:
        sizes: Sizes.
        folder: Where steps write.
        attention: Attention implementation of transformers.
        packed: Whether rows hold several texts that do not see each other.
        compiled: Whether torch.compile compiles the decoder blocks.
        chunked: Whether the loss is computed in chunks, as the trainer does by default.
    """
    if attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise NotHere("the package flash_attn is not installed")
    inputs = prepare(sizes, folder)
    rows = rows_that_fit(sizes, inputs)
    model, optimizer, can_chunk = _model(sizes, inputs, rows, attention=attention, packed=packed)
    if chunked and not can_chunk:
        raise NotHere("the trainer computes the loss of this model on whole logits")
    model.chunked_loss = chunked
    hf_model = model.model
    for block in filter(is_block(hf_model), hf_model.modules()):
        block._compiled_call_impl = None
        if compiled:
            block.compile(backend=sizes.compiler)
    free_memory()
    batch = random_batch(sizes, rows=rows, vocab_size=hf_model.config.vocab_size, packed=packed)
    losses: list[torch.Tensor] = []

    def step() -> None:
        losses.append(train_step(lambda: model.loss(model(batch), batch), model, optimizer, sizes))

    sec = step_sec(step, sizes)
    flops_per_token = describe(hf_model).flops_per_token(sizes.seq_len // (TEXTS if packed else 1))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]  # of this process
    return {
        "rows": rows,
        "sec_per_step": sec,
        "tokens_per_sec": rows * sizes.seq_len / sec,
        "model_flops_per_sec": rows * sizes.seq_len / sec * flops_per_token,
        "peak_bytes": peak_bytes(),
        "first_loss": float(losses[0]),
        **({"compiled_graphs": graphs} if compiled else {}),
    }


def train_step(
    loss_of: Callable[[], torch.Tensor], model: Any, optimizer: torch.optim.Optimizer, sizes: Sizes
) -> torch.Tensor:
    """Train on one batch, and return its loss."""
    low = dtype_of(sizes) == torch.bfloat16
    with torch.autocast(DEVICE, torch.bfloat16) if low else contextlib.nullcontext():
        loss = loss_of()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def step_sec(step: Callable[[], object], sizes: Sizes) -> float:
    """Mean seconds of a step after the warm-up."""
    for _ in range(sizes.warm_up):
        step()
    begun = now()
    for _ in range(sizes.steps):
        step()
    return (now() - begun) / sizes.steps


def _model(sizes: Sizes, inputs: str, rows: int, *, attention: str, packed: bool) -> Any:
    if (attention, packed) not in _models:
        _models.clear()
        free_memory()
        config = train_config(sizes, inputs, rows, f"model.attn_implementation={attention}")
        tokenizer = load_tokenizer(config.model.pretrained_model_name_or_path)
        model = build_model(config.model, tokenizer, row_tokens=sizes.seq_len, attention_boundaries=packed)
        model.to(DEVICE).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        _models[attention, packed] = model, optimizer, model.chunked_loss
    return _models[attention, packed]
