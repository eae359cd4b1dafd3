"""Dotted paths to the fields of a row: `meta.body.text`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or None; a key that contains the dots takes precedence.

    A path leads through mappings and through strings that hold a mapping as JSON. Through a list it leads to
    the list of the values in its items.
    """
    if path in values:
        return values[path]
    head, _, tail = path.partition(".")
    inner = values.get(head)
    if not tail:
        return None
    if isinstance(inner, list):
        items = (look_up(item, tail) for item in map(_mapping, inner) if item is not None)
        return [value for value in items if value is not None] or None
    inner = _mapping(inner)
    return None if inner is None else look_up(inner, tail)


def holds_null(values: Mapping[str, Any], path: str) -> bool:
    """True if the field of a dotted path is there, and null: `look_up` returns None for missing ones, too."""
    head, _, last = path.rpartition(".")
    if path in values or not head:
        return path in values and values[path] is None
    inner = _mapping(look_up(values, head))
    return inner is not None and last in inner and inner[last] is None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if isinstance(value, Mapping) else None


def columns_of(columns: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Return the columns that a dotted path begins with."""
    paths = tuple(paths)
    return [name for name in columns if any(path == name or path.startswith(f"{name}.") for path in paths)]


def path_of_rows(values: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the path of a list in a row whose first item has one of the fields, two keys deep at most."""
    inner = (
        (f"{at}.{key}", item)
        for at, each in values.items()
        if isinstance(each, dict)
        for key, item in each.items()
    )
    for path, value in (*values.items(), *inner):
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, dict) and any(look_up(first, name) is not None for name in names):
            return path
    return None


def names_of(values: Mapping[str, Any]) -> str:
    """Return the field names of a row, for a message."""
    return ", ".join(sorted(map(str, values))) or "no fields"
