"""Memory and peak rate of GPUs, from their makers' data sheets (dense, without sparsity)."""

from __future__ import annotations

import dataclasses

from schemas.errors import ConfigError, unknown_name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        memory_bytes: Its memory.
        peak_flops: Multiplications and additions a second in bf16 or fp16, on tensor cores.
        device_names: Words of its name in CUDA; all must be present.
    """

    memory_bytes: int
    peak_flops: float
    device_names: tuple[str, ...]


_GIB = 1 << 30

GPUS = {
    "a10": Gpu(memory_bytes=24 * _GIB, peak_flops=125e12, device_names=("a10",)),
    "a100": Gpu(memory_bytes=80 * _GIB, peak_flops=312e12, device_names=("a100", "80gb")),
    "a100-40gb": Gpu(memory_bytes=40 * _GIB, peak_flops=312e12, device_names=("a100", "40gb")),
    "b200": Gpu(memory_bytes=180 * _GIB, peak_flops=2250e12, device_names=("b200",)),
    "h100": Gpu(memory_bytes=80 * _GIB, peak_flops=989.4e12, device_names=("h100", "hbm3")),
    "h100-pcie": Gpu(memory_bytes=80 * _GIB, peak_flops=756e12, device_names=("h100", "pcie")),
    "h200": Gpu(memory_bytes=141 * 10**9, peak_flops=989.4e12, device_names=("h200",)),
    "l4": Gpu(memory_bytes=24 * _GIB, peak_flops=121e12, device_names=("l4",)),
    "l40s": Gpu(memory_bytes=48 * _GIB, peak_flops=362e12, device_names=("l40s",)),
}


def find_gpu(name: str) -> Gpu:
    """Return a GPU by our name for it; refuse an unknown name."""
    if name not in GPUS:
        raise ConfigError(
            f"--gpu: {unknown_name('GPU', name, GPUS)} For another GPU, give --gpu-memory and --peak-tflops."
        )
    return GPUS[name]


def peak_flops_of(device_name: str) -> float | None:
    """Return the peak rate of a GPU by its name in CUDA, such as `NVIDIA H100 80GB HBM3`; None if unknown."""
    words = device_name.lower().replace("-", " ").split()
    for gpu in GPUS.values():
        if all(part in words for part in gpu.device_names):
            return gpu.peak_flops
    return None
