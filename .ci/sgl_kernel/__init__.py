"""Stands in for the package of GPU kernels that SGLang imports, on machines without a GPU.

Any name can be imported from it; calling one raises. A Llama on `torch_native` attention calls none.
"""

from __future__ import annotations

from typing import Any, NoReturn


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def absent(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"sgl_kernel.{name} needs a GPU; this sgl_kernel is only a stand-in for tests.")

    return absent
