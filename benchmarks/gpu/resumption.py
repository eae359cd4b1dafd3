"""A run that stopped and resumed beside an unbroken one: equal weights, bit by bit.

A small model, with torch's deterministic kernels, as far as there are some. A second unbroken run shows
whether this machine repeats a run at all; if it does not, the resumed run cannot be equal either.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.device import free_memory
from benchmarks.gpu.inputs import prepare, train_config
from benchmarks.gpu.sizes import Sizes
from trainer.train import train

_STEPS = 6
_SMALLER = {"num_hidden_layers": 2, "vocab_size": 2048}


def measure(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Whether weights and losses are equal, the largest difference of a weight, seconds of the runs."""
    free_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    inputs = prepare(sizes, folder, changes=_SMALLER)
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
    config = train_config(
        sizes,
        inputs,
        rows=1,
        run_name=name,
        max_duration=f"{steps}ba",
        save_folder=f"{inputs}/{name}",
        save_interval=f"{_STEPS // 2}ba",
        autoresume=True,
        loggers={},
    )
    result = train(config)
    assert result is not None
    return result


def _weights(folder: str) -> dict[str, torch.Tensor]:
    (path,) = Path(folder).glob(f"ep*-ba{_STEPS}-rank0.pt")
    state = torch.load(path, map_location="cpu", weights_only=False)["state"]
    return dict(state["model"])


def _largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)
