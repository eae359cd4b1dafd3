"""Records from JSON of unknown origin: each value must have the type that its dataclass declares.

Pydantic cannot do this, because it refuses strings with lone surrogates, and file names hold them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin, get_type_hints

from schemas.limits import JSON_DEPTH, NUMBER


def parse_json(line: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: The line is not JSON, nests too deeply, or holds NaN or Infinity.
    """
    too_deep = ValueError(f"it is nested more than {JSON_DEPTH} deep")
    try:
        values = json.loads(line, parse_constant=_refuse)
    except RecursionError:
        raise too_deep from None
    if is_deeper(values, JSON_DEPTH):
        raise too_deep
    return values


def is_deeper(value: Any, depth: int) -> bool:
    """True if a JSON value nests lists and objects deeper than `depth`."""
    level = [value]
    for _ in range(depth + 1):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return False
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not JSON")


def made(kind: Any, values: Any) -> Any:
    """Make a record from a JSON object; lists become the tuples that the record declares.

    Raises:
        ValueError: A key is missing or unknown, or a value has another type than the record declares.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a {kind.__name__} is {type(values).__name__}, expected an object")
    fields = _fields_of(kind)
    if unknown := values.keys() - fields.keys():
        raise ValueError(f"a {kind.__name__} has a key {min(unknown)!a}, which is unknown")
    for name, value in values.items():
        field = fields[name]
        if field.item is not None and isinstance(value, list):
            values[name] = tuple(_item(field.item, each, f"{kind.__name__}.{name}") for each in value)
        else:
            _check(field, value, f"{kind.__name__}.{name}")
    if missing := [name for name, field in fields.items() if field.is_needed and name not in values]:
        raise ValueError(f"a {kind.__name__} lacks {', '.join(missing)}")
    return kind(**values)


class _Field(NamedTuple):
    """Allowed values of a record's field."""

    types: tuple[type[Any], ...]
    item: Any = None  # type of a tuple's items
    values: tuple[Any, ...] = ()  # of a Literal
    is_needed: bool = False  # it has no default


def _item(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return made(kind, value)
    _check(_Field((kind,)), value, name)
    return value


def _check(field: _Field, value: Any, name: str) -> None:
    if type(value) not in field.types:
        expected = " or ".join(each.__name__ for each in field.types)
        raise ValueError(f"{name} is {type(value).__name__}, expected {expected}")
    if field.values and value not in field.values:
        raise ValueError(f"{name} is {value!a}, expected one of {field.values}")
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= NUMBER):
        raise ValueError(f"{name} is not a number below 2^64")


@functools.cache
def _fields_of(kind: type[Any]) -> dict[str, _Field]:
    hints = get_type_hints(kind)
    unset = dataclasses.MISSING
    return {
        field.name: _field_of(hints[field.name])._replace(
            is_needed=field.default is unset and field.default_factory is unset
        )
        for field in dataclasses.fields(kind)
    }


def _field_of(hint: Any) -> _Field:
    origin = get_origin(hint)
    if origin is tuple:
        return _Field((list,), item=get_args(hint)[0])
    if origin is Literal:
        return _Field((str,), values=get_args(hint))
    if origin in (Union, types.UnionType):
        return _Field(tuple(each for part in get_args(hint) for each in _field_of(part).types))
    if origin is not None:
        return _Field((dict,))
    return _Field((float, int) if hint is float else (hint,))
