"""Training steps of a model without a trainer: operations a second, as a share of the matrix rate.

A step is forward, loss, backward, clipping and fused AdamW on one batch in memory. The model is the trainer's
own (`build_model`): fp32 weights under autocast. Its decoder blocks are compiled one by one; they are alike,
so that the compiler runs once. Operations are those of the dry run, 6·N + 12·L·H·Q·T a token.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.device import DEVICE, free_memory, memory_bytes, now, peak_bytes
from benchmarks.gpu.inputs import has_chunked_loss, prepare, random_batch, train_config
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.workers import NotHere
from plugins.tokenizers import load_tokenizer
from schemas.train_config import TrainConfig
from trainer.estimate.run_estimate import Machine, estimate
from trainer.model.architecture import describe, is_block
from trainer.model.packed_model import build_model

_SHARE_OF_MEMORY = 0.85


@dataclass(slots=True)
class _Built:
    """The model of the last step in this process; most steps share one."""

    key: tuple[str, bool] | None = None
    model: Any = None
    optimizer: Any = None


_built = _Built()


def measure(
    sizes: Sizes, folder: str, *, attention: str, packed: bool, compiled: bool, chunked: bool
) -> dict[str, Any]:
    """Tokens and model operations a second, and peak memory.

    Args:
        sizes: Sizes.
        folder: Where steps write.
        attention: Attention implementation of transformers.
        packed: Whether rows hold several texts that do not see each other.
        compiled: Whether torch.compile compiles the decoder blocks.
        chunked: Whether the loss is computed in chunks; where the trainer cannot, the step is skipped.
    """
    if attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise NotHere("the package flash_attn is not installed")
    if chunked and not has_chunked_loss() and not packed:
        raise NotHere("this version of the trainer has no model.chunked_loss")
    inputs = prepare(sizes, folder)
    rows = rows_that_fit(sizes, inputs, attention=attention, packed=packed)
    config = _config(sizes, inputs, rows, attention=attention, packed=packed)
    if _built.key != (attention, packed):
        _built.model = _built.optimizer = None
        free_memory()
        model = build_model(
            config.model,
            load_tokenizer(config.model.pretrained_model_name_or_path),
            row_tokens=sizes.seq_len,
            attention_boundaries=packed,
        )
        _built.key, _built.model = (attention, packed), model.to(DEVICE).train()
        _built.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    if has_chunked_loss():
        _built.model.chunked_loss = chunked
    hf_model = _built.model.model
    for block in filter(is_block(hf_model), hf_model.modules()):
        block._compiled_call_impl = None
        if compiled:
            block.compile(backend=sizes.compiler)
    free_memory()
    vocab_size = hf_model.config.vocab_size
    batch = random_batch(sizes, rows=rows, vocab_size=vocab_size, packed=packed, device=DEVICE)
    step = _step(_built.model, _built.optimizer, batch, low_precision=sizes.precision != "fp32")
    losses = [float(step()) for _ in range(sizes.warm_up)]
    begun = now()
    for _ in range(sizes.steps):
        step()
    sec = (now() - begun) / sizes.steps
    tokens_per_sec = rows * sizes.seq_len / sec
    return {
        "rows": rows,
        "sec_per_step": sec,
        "tokens_per_sec": tokens_per_sec,
        "model_flops_per_sec": tokens_per_sec * describe(hf_model).flops_per_token(sizes.seq_len),
        "peak_bytes": peak_bytes(),
        "first_loss": losses[0],
        "loss_in_chunks": chunked and has_chunked_loss(),
    }


def rows_that_fit(sizes: Sizes, inputs: str, *, attention: str, packed: bool) -> int:
    """The largest number of rows whose estimated memory fits, or the smallest."""
    memory = memory_bytes()
    for rows in sizes.rows:
        config = _config(sizes, inputs, rows, attention=attention, packed=packed)
        needed = estimate(config, (), Machine(), seq_len=sizes.seq_len).memory.total
        if memory is None or needed <= _SHARE_OF_MEMORY * memory:
            return rows
    return sizes.rows[-1]


def _config(sizes: Sizes, inputs: str, rows: int, *, attention: str, packed: bool) -> TrainConfig:
    # The estimate is that of the whole loss, so that all variants have the same rows.
    whole = {"chunked_loss": False} if has_chunked_loss() else {}
    found = train_config(sizes, inputs, rows=rows, model={"attn_implementation": attention, **whole})
    dataset = found.train_loader.dataset.model_copy(update={"attention_boundaries": packed})
    return found.model_copy(
        update={"train_loader": found.train_loader.model_copy(update={"dataset": dataset})}
    )


def _step(model: Any, optimizer: Any, batch: dict[str, Any], *, low_precision: bool) -> Callable[[], Any]:
    def step() -> Any:
        autocast = torch.autocast(DEVICE, torch.bfloat16) if low_precision else contextlib.nullcontext()
        with autocast:
            loss = model.loss(model(batch), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step
