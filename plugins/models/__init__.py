"""Small models that Tutelage fetches by name: what the demo and the tests run on.

A model is one file with a `fetch(output, say)` function and one line below. Training and synthesis
take any Hugging Face directory or name; these are only the ones that need no account and no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plugins.registry import Registry

MODELS = Registry("model", "tutelage.models", {"smollm2-135m": "plugins.models.smollm2:fetch"})

Say = Callable[[str], None]
"""Where a fetch tells a person what it is doing, one line at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """A model that lies complete on this disk.

    Attributes:
        name: The name it was fetched by.
        path: A Hugging Face directory that transformers, SGLang and Composer read.
        is_new: False when it lay there already and nothing was downloaded.
    """

    name: str
    path: Path
    is_new: bool


def default_output(name: str) -> Path:
    """Where model `name` lies unless told otherwise: `models/NAME` under the current directory."""
    return Path("models") / name
