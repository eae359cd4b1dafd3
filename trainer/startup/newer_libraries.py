"""Adjustments for newer versions of torch and transformers than Composer and Streaming pin.

Each piece checks whether it is needed, and does nothing with the pinned versions. A test in
`tests/trainer/startup/test_newer_libraries.py` shows what breaks without it; when that test fails, delete it.

    declare_vision_operators   Composer and Streaming import torchvision. The index's own is built for
                               CUDA: beside a torch for CPUs its library does not load, and its import
                               ends with "operator torchvision::nms does not exist".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

_library: Any = None
"""Keeps the declarations alive: they end with the library object."""


def arrange() -> None:
    """Make ready what this environment needs; called once, imports nothing heavy."""
    if lacks_vision_operators():
        sys.meta_path.insert(0, _BeforeTorchvision())


def lacks_vision_operators() -> bool:
    """Whether torchvision was built for another torch than the one for CPUs that is installed."""
    try:
        return "+cpu" in metadata.version("torch") and "+" not in metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return False


def declare_vision_operators() -> None:
    """Declare the operators that torchvision describes to torch while it is imported; nothing calls them."""
    global _library
    import torch

    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class _BeforeTorchvision:
    """Finds no module: sees that torchvision is about to be imported, so that nobody imports torch early."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if name == "torchvision":
            declare_vision_operators()
