"""Configurations as lines of a table: `streams.domain.sources[0].uri`, and the value without logins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.secrets import public_uri


def settings_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Values of a configuration by dotted key, without those that are null or empty."""
    return {name: public_uri(str(value)) for name, value in _leaves("", config)}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for at, inner in enumerate(value):
            yield from _leaves(f"{name}[{at}]", inner)
    elif value not in (None, [], ""):
        yield name, value
