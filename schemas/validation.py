"""Validation of a corpus's files before use, also of our own.

    JSON files        read_json      bytes and nesting limited, then a strict pydantic model
    lines of records  read_records   the same for each line, as a record of schemas/records.py

Strict validation refuses unknown keys and converts no types. Names that become paths have the types below, so
that no path leads out of its folder.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import pydantic

from schemas import limits, storage
from schemas.errors import CorpusError
from schemas.records import from_json

T = TypeVar("T")

CURE = "Restore it from a copy, or ask the person who made the corpus."

_SHOWN_CHARACTERS = 80

_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"

Name = Annotated[str, pydantic.Field(pattern=f"^{_NAME}$", max_length=255)]
"""A name of a file or folder, without separators and without a leading dot."""

RelativePath = Annotated[str, pydantic.Field(pattern=f"^{_NAME}(/{_NAME})*$", max_length=1024)]
"""A path inside a folder."""

Count = Annotated[int, pydantic.Field(ge=0, le=limits.COUNT)]
"""Number of rows, tokens, texts and the like."""


class Strict(pydantic.BaseModel):
    """A part of a corpus's JSON file: frozen, with strict keys and types."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


def read_json(uri: str, kind: Any, *, cure: str = CURE) -> Any:
    """Read a JSON file of a corpus as `kind`, any type that pydantic can validate.

    Raises:
        FileNotFoundError: The file is missing.
        CorpusError: The file is too large, is not JSON, or has another content.
    """
    return parse(kind, storage.read_bytes(uri, limit=limits.JSON_BYTES), name=uri, cure=cure)


def parse(kind: Any, data: bytes | str, *, name: str, cure: str = CURE) -> Any:
    """Validate JSON; `name` opens the message.

    Raises:
        CorpusError: It is not JSON or has another content; names the key, what was found and expected.
    """
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        raise CorpusError(f"{name}: is damaged: {explain(error)}. {cure}") from None


def explain(error: pydantic.ValidationError) -> str:
    """Message about the first refused value, with the number of further ones."""
    first, *others = error.errors(include_url=False)
    key = ".".join(map(str, first["loc"]))
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
    found = ascii(first["input"])
    if len(found) > _SHOWN_CHARACTERS:
        found = f"{found[:_SHOWN_CHARACTERS]}…"
    if first["type"] == "missing":
        said = f"key {key!r} is missing"
    elif first["type"] == "extra_forbidden":
        said = f"key {key!r} is unknown"
    elif first["type"] == "json_invalid":
        said = message
    elif first["type"] == "value_error":
        said = f"{key + ': ' if key else ''}{first['ctx']['error']}"
    else:
        said = f"{key + ' is' if key else 'it holds'} {found}: {message}"
    return said + (f" ({len(others)} more)" if others else "")


def read_records(uri: str, kind: type[T]) -> Iterator[T]:
    """Read and validate the records of a file that `storage.write_lines_zst` wrote.

    Raises:
        CorpusError: The file or a record is damaged; names the line.
    """
    for number, line in enumerate(storage.read_lines_zst(uri)):
        yield record(kind, line, uri, number)


def record(kind: type[T], line: str, uri: str, number: int) -> T:
    """Validate one record; `number` is the index of its line, from 0.

    Raises:
        CorpusError: The record is damaged.
    """
    try:
        return from_json(kind, line)
    except ValueError as error:
        raise CorpusError(f"{uri}: line {number + 1} is damaged: {error}. {CURE}") from None


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
