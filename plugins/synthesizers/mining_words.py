"""Word lists of the mining rules, from mining_words.yaml."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@functools.cache
def load_yaml(file: Path) -> Any:
    """Read a data file of this package, once."""
    return OmegaConf.to_container(OmegaConf.load(file))


def word_list(name: str) -> Sequence[str]:
    """Words of a list, in its order."""
    lists: Mapping[str, Sequence[str]] = load_yaml(Path(__file__).with_suffix(".yaml"))
    return lists[name]
