"""The trainer: its speed beside a bare loop, its peak memory beside the estimate, and its resumption."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from composer import Callback, State
from composer.loggers import Logger
from transformers import AutoModelForCausalLM

from benchmarks.gpu.device import DEVICE, free_memory, now, peak_bytes
from benchmarks.gpu.inputs import TEXTS, prepare, random_batch, rows_that_fit, train_config
from benchmarks.gpu.speed import step_sec, train_step
from benchmarks.gpu.steps import Sizes
from trainer.checkpoints.resume_from import RunCheckpoints
from trainer.data.resolve_streams import pin_manifests, resolve_streams
from trainer.estimate.run_estimate import Machine, estimate
from trainer.model.architecture import describe
from trainer.startup.composer_trainer import build_trainer
from trainer.startup.library_warnings import quiet_libraries
from trainer.train import train

_STEPS = 6
"""Of a run that is resumed after half of them."""


class _Clock(Callback):
    """Time of the end of each step, after its logging."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        self.ends.append(now())


def measure(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Tokens a second of the trainer and of a bare loop; memory in bytes, measured and estimated.

    Both train the same model on packed rows with sdpa, in one forward pass a step, with AdamW and clipping.
    The bare loop has its batch on the device, takes transformers' loss, and reads it after each step, as the
    trainer does.
    """
    quiet_libraries("info")
    inputs = prepare(sizes, folder)
    rows = rows_that_fit(sizes, inputs)
    config = pin_manifests(train_config(sizes, inputs, rows))
    streams = resolve_streams(config.train_loader.dataset)
    estimated = estimate(config, streams, Machine()).memory
    free_memory()
    clock = _Clock()
    trainer = build_trainer(config, streams, RunCheckpoints(config))[0]
    trainer.state.callbacks.append(clock)
    trainer.fit()
    trainer.close()
    peak = peak_bytes()
    flops_per_token = describe(trainer.state.model.model).flops_per_token(sizes.seq_len // TEXTS)
    del trainer
    tokens = rows * sizes.seq_len
    ours = tokens * sizes.steps / (clock.ends[-1] - clock.ends[sizes.warm_up - 1])
    bare = tokens / _bare_step_sec(f"{inputs}/model", sizes, rows)
    return {
        "rows": rows,
        "trainer_tokens_per_sec": ours,
        "bare_tokens_per_sec": bare,
        "trainer_over_bare": ours / bare,
        "model_flops_per_sec": ours * flops_per_token,
        "peak_bytes": peak,
        "estimated_bytes": estimated.total,
        "estimated_parts": dataclasses.asdict(estimated),
        "estimated_over_peak": estimated.total / peak["device"],
    }


def _bare_step_sec(model_folder: str, sizes: Sizes, rows: int) -> float:
    free_memory()
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder).float().to(DEVICE).train()
    model.config.use_cache = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = random_batch(sizes, rows=rows, vocab_size=model.config.vocab_size, packed=True)
    return step_sec(lambda: train_step(lambda: model(**batch).loss, model, optimizer, sizes).item(), sizes)


def resume(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Whether a resumed run has the weights and losses of an unbroken one, bit by bit.

    A second unbroken run shows whether this machine repeats a run at all; if it does not, the resumed run
    cannot be equal either. So the model is small, torch's kernels are its deterministic ones as far as there
    are some, and attention is `eager`, since the backward pass of others adds up in any order.
    """
    free_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    inputs = prepare(sizes, folder, num_hidden_layers=2, vocab_size=2048)
    begun = time.perf_counter()
    unbroken = _run(sizes, inputs, "unbroken", _STEPS)
    again = _run(sizes, inputs, "again", _STEPS)
    _run(sizes, inputs, "resumed", _STEPS // 2)
    resumed = _run(sizes, inputs, "resumed", _STEPS)
    expected, repeated, found = (_weights(each["checkpoints"]) for each in (unbroken, again, resumed))
    return {
        "steps": resumed["steps"],
        "stopped_after_steps": _STEPS // 2,
        "repeats": _largest_difference(expected, repeated) == 0.0,
        "bit_equal": _largest_difference(expected, found) == 0.0 and resumed["loss"] == unbroken["loss"],
        "largest_difference": _largest_difference(expected, found),
        "loss": unbroken["loss"],
        "sec": time.perf_counter() - begun,
    }


def _run(sizes: Sizes, inputs: str, name: str, steps: int) -> dict[str, Any]:
    saves = (f"save_folder={inputs}/{name}", f"save_interval={_STEPS // 2}ba", "autoresume=true")
    overrides = (f"run_name={name}", f"max_duration={steps}ba", "model.attn_implementation=eager")
    result = train(train_config(sizes, inputs, 1, *overrides, *saves))
    assert result is not None
    return result


def _weights(folder: str) -> dict[str, torch.Tensor]:
    (path,) = Path(folder).glob(f"ep*-ba{_STEPS}-rank0.pt")
    return dict(torch.load(path, map_location="cpu", weights_only=False)["state"]["model"])


def _largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)
