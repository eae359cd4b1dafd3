"""The device of the measurements: its name, a clock that waits for it, its memory."""

from __future__ import annotations

import gc
import resource
import time
from typing import Any

import torch
import transformers

from trainer.estimate.gpus import peak_flops_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> dict[str, Any]:
    """Name, memory and data sheet's rate of the device, and versions."""
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
        "memory_bytes": memory_bytes(),
        "data_sheet_flops_per_sec": peak_flops_of(name),
    }


def now() -> float:
    """Seconds, once the device has done all that was asked of it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def free_memory() -> None:
    """Release what earlier steps of this process have left, and count the peak anew."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> dict[str, int]:
    """Peak memory: of tensors, and of the device with CUDA's own part; on a CPU that of the process."""
    if DEVICE == "cpu":
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"tensors": process, "device": process}
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    return {
        "tensors": torch.cuda.max_memory_allocated(),
        "device": torch.cuda.max_memory_reserved() + outside,
    }


def memory_bytes() -> int | None:
    """Memory of the GPU; None on a CPU."""
    return torch.cuda.get_device_properties(0).total_memory if DEVICE == "cuda" else None
