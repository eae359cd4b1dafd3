"""Small models by name for the demo and the tests; they need no account and no GPU.

A model is one file with a `fetch(output, say)` function and one line below. Training and synthesis take any
other Hugging Face directory or name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plugins.registry import Registry

MODELS = Registry("model", "tutelage.models", {"smollm2-135m": "plugins.models.smollm2:fetch"})

Say = Callable[[str], None]
"""Receives lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """A complete model on this disk."""

    name: str  # its name in the registry
    path: Path  # a Hugging Face directory that transformers, SGLang and Composer can read
    is_new: bool  # false if it was there before


def default_output(name: str) -> Path:
    """Default directory of a model: `models/NAME` under the current directory."""
    return Path("models") / name
