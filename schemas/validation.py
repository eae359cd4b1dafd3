"""Validation of what a corpus holds, whoever wrote it, before anything of it is used.

    JSON files        read_json      bytes and nesting limited, then a strict pydantic model
    lines of records  read_records   the same for each line, as a record of schemas/records.py

Strict means that a number is no string, that no key is unknown, and that no number is coerced. Names that
become paths have the types below, so that none leads out of the folder it is joined to.
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

CURE = "Restore it from a copy; if it is not yours, ask whoever made it."

_SHOWN_CHARACTERS = 80

_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"

Name = Annotated[str, pydantic.Field(pattern=f"^{_NAME}$", max_length=255)]
"""A name of a file or folder: no separator, and none that begins with a dot."""

RelativePath = Annotated[str, pydantic.Field(pattern=f"^{_NAME}(/{_NAME})*$", max_length=1024)]
"""A path inside the folder that it is joined to."""

Count = Annotated[int, pydantic.Field(ge=0, le=limits.COUNT)]
"""How many of something there are."""


class Strict(pydantic.BaseModel):
    """A part of a file of a corpus: frozen, strict about its keys and the types of their values."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


def read_json(uri: str, kind: Any, *, cure: str = CURE) -> Any:
    """Read a JSON file of a corpus.

    Args:
        uri: The file.
        kind: The type of what it holds, a pydantic model or what pydantic makes one of.
        cure: What to do about a damaged one.

    Raises:
        FileNotFoundError: There is none.
        CorpusError: It is too large, no JSON, or holds something else.
    """
    return parse(kind, storage.read_bytes(uri, limit=limits.JSON_BYTES), name=uri, cure=cure)


def parse(kind: Any, data: bytes | str, *, name: str, cure: str = CURE) -> Any:
    """Validate JSON; `name` opens the message.

    Raises:
        CorpusError: It is no JSON or holds something else; names the key, what was found and expected.
    """
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        raise CorpusError(f"{name}: is damaged: {explain(error)}. {cure}") from None


def explain(error: pydantic.ValidationError) -> str:
    """The first thing that was refused, and how many more there are."""
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
    """The records of a file that `storage.write_lines_zst` wrote, each checked.

    Raises:
        CorpusError: The file or a record is damaged; names the line.
    """
    for number, line in enumerate(storage.read_lines_zst(uri)):
        yield record(kind, line, uri, number)


def record(kind: type[T], line: str, uri: str, number: int) -> T:
    """One record of such a file; `number` is its line's, counted from 0.

    Raises:
        CorpusError: It is damaged.
    """
    try:
        return from_json(kind, line)
    except ValueError as error:
        raise CorpusError(f"{uri}: line {number + 1} is damaged: {error}. {CURE}") from None


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)
