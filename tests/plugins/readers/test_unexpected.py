"""Unforeseen exceptions, in a row and in a file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from xml.parsers.expat import ExpatError

import pytest

from plugins.readers.base import BadRow, Reader, Row
from schemas.corpus_config import SourceConfig
from schemas.errors import InputError
from schemas.records import Document, Reject


class Odd:
    """A value that cannot become text."""

    def __str__(self) -> str:
        raise TypeError("no text")


class Given(Reader):
    """Yields given rows, and raises an exception among them."""

    def __init__(self, *items: str | Odd | BaseException):
        super().__init__(SourceConfig(reader="given", uri="a", metadata_fields=("odd",)))
        self.items = items

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        for number, item in enumerate(self.items):
            if isinstance(item, BaseException):
                raise item
            yield Row(position=str(number), values={"text": "text", "odd": item})


def found_by(reader: Reader) -> list[tuple[str, str, str]]:
    return [
        (each.source, each.reason, each.detail) if isinstance(each, Reject) else (each.source, "", "")
        for each in reader.read("a")
    ]


def test_an_unexpected_exception_of_a_row_costs_only_the_row() -> None:
    assert found_by(Given("x", Odd(), "y")) == [
        ("a:0", "", ""),
        ("a:1", "unexpected_error", "TypeError: no text"),
        ("a:2", "", ""),
    ]


@pytest.mark.parametrize(
    "error", [TypeError("odd"), OverflowError("odd"), KeyError("odd"), RecursionError("odd")]
)
def test_an_unexpected_exception_of_a_file_says_how_far_reading_got(error: Exception) -> None:
    assert found_by(Given("x", "y", error)) == [
        ("a:0", "", ""),
        ("a:1", "", ""),
        (
            "a",
            "unexpected_error",
            f"{type(error).__name__}: {error}; 2 rows were read before it, and none after it",
        ),
    ]


class OfTheNetwork(Exception):
    """An exception of an object store's client."""


@pytest.mark.parametrize(
    "error", [OSError("gone"), OfTheNetwork("gone"), MemoryError(), KeyboardInterrupt(), InputError("ours")]
)
def test_what_may_be_the_storage_or_the_machine_is_raised(error: BaseException) -> None:
    rows = Given("x", error).read("a")
    assert isinstance(next(rows), Document)
    with pytest.raises(type(error)):
        next(rows)


def test_of_a_file_on_this_machine_every_exception_of_a_library_is_about_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    for error in (OfTheNetwork("odd"), ExpatError("odd"), OSError("odd"), OSError(errno.EINVAL, "odd")):
        _, last = Given("x", error).read(str(path))
        assert isinstance(last, Reject) and last.reason == "unexpected_error"
    with pytest.raises(OSError, match="full"):
        list(Given("x", OSError(errno.ENOSPC, "full")).read(str(path)))
