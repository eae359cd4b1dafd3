"""Rate of matrix multiplication, the most that a training step could reach."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.gpu.device import DEVICE, now
from benchmarks.gpu.sizes import Sizes

_ROUNDS = 5
_AT_A_TIME = 10


def measure(sizes: Sizes, folder: str) -> dict[str, Any]:
    """Operations a second by side of the matrices, in bfloat16 (fp32 in small), and the best; the machine."""
    dtype = torch.float32 if sizes.precision == "fp32" else torch.bfloat16
    rates = {}
    for side in sizes.matrices:
        left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
        product = left @ right
        seconds = []
        for _ in range(_ROUNDS):
            begun = now()
            for _ in range(_AT_A_TIME):
                torch.matmul(left, right, out=product)
            seconds.append((now() - begun) / _AT_A_TIME)
        rates[str(side)] = 2 * side**3 / statistics.median(seconds)
    return {"flops_per_sec": rates, "best_flops_per_sec": max(rates.values()), "machine": _machine()}


def _machine() -> dict[str, Any]:
    import transformers

    from trainer.estimate.gpus import peak_flops_of

    found: dict[str, Any] = {
        "device": "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
        "data_sheet_flops_per_sec": None,
    }
    if DEVICE == "cuda":
        name = torch.cuda.get_device_name()
        found |= {
            "device": name,
            "memory_bytes": torch.cuda.get_device_properties(0).total_memory,
            "data_sheet_flops_per_sec": peak_flops_of(name),
        }
    return found
