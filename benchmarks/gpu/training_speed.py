"""Training by the project's trainer beside a bare loop, and its peak memory beside the dry run's estimate.

Both train the same model on packed rows with sdpa, in one forward pass a step, with AdamW and clipping. The
bare loop has its batches on the device and reads its loss after each step, as the trainer does.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.gpu.device import DEVICE, free_memory, now, peak_bytes
from benchmarks.gpu.inputs import prepare, random_batch, train_config
from benchmarks.gpu.model_speed import rows_that_fit
from benchmarks.gpu.sizes import Sizes
from trainer.checkpoints.resume_from import RunCheckpoints
from trainer.data.resolve_streams import pin_manifests, resolve_streams
from trainer.estimate.run_estimate import Machine, estimate
from trainer.startup.library_warnings import quiet_libraries


def measure(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Tokens a second of both, and memory in bytes: measured, and estimated part by part."""
    quiet_libraries("info")
    inputs = prepare(sizes, folder)
    rows = rows_that_fit(sizes, inputs, attention="sdpa", packed=True)
    config = pin_manifests(train_config(sizes, inputs, rows=rows))
    free_memory()
    tokens = rows * sizes.seq_len
    ours = tokens / _trainer_step_sec(config, sizes)
    peak = peak_bytes()
    streams = resolve_streams(config.train_loader.dataset)
    estimated = estimate(config, streams, Machine()).memory
    free_memory()
    bare = tokens / _bare_step_sec(config.model.pretrained_model_name_or_path, sizes, rows)
    return {
        "rows": rows,
        "trainer_tokens_per_sec": ours,
        "bare_tokens_per_sec": bare,
        "trainer_over_bare": ours / bare,
        "peak_bytes": peak,
        "estimated_bytes": estimated.total,
        "estimated_parts": dataclasses.asdict(estimated),
        "estimated_over_peak": estimated.total / peak["device"],
    }


def _trainer_step_sec(config: Any, sizes: Sizes) -> float:
    from trainer.startup.composer_trainer import build_trainer

    streams = resolve_streams(config.train_loader.dataset)
    trainer, _ = build_trainer(config, streams, RunCheckpoints(config))
    try:
        trainer.fit(duration=f"{sizes.warm_up}ba")
        begun = now()
        trainer.fit(duration=f"{sizes.steps}ba")
        return (now() - begun) / sizes.steps
    finally:
        trainer.close()


def _bare_step_sec(model_folder: str, sizes: Sizes, rows: int) -> float:
    config = AutoConfig.from_pretrained(model_folder)
    config.use_cache = False
    torch.manual_seed(17)
    model = AutoModelForCausalLM.from_config(config).float().to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = random_batch(sizes, rows=rows, vocab_size=config.vocab_size, packed=True, device=DEVICE)
    low = sizes.precision != "fp32"
    begun = now()
    for number in range(sizes.warm_up + sizes.steps):
        if number == sizes.warm_up:
            begun = now()
        with torch.autocast(DEVICE, torch.bfloat16) if low else contextlib.nullcontext():
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return (now() - begun) / sizes.steps
