from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from schemas.errors import MachineError
from schemas.replaced_internals import Internal, replaced


class Reader:
    def read(self, path: str, *more: Any) -> str:
        return path


def _read(self: Any, path: str) -> str:
    return path.upper()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("library")
    module.__version__ = "3.1"
    module.LIMIT = 5
    monkeypatch.setattr(Reader, "__module__", "library.readers")
    monkeypatch.setitem(sys.modules, "library", module)
    return module


def test_internals_are_replaced_until_the_block_ends_or_fails(library: types.ModuleType) -> None:
    theirs = Reader.read
    with pytest.raises(ZeroDivisionError):
        with replaced(Internal(Reader, "read", _read), Internal(library, "LIMIT", 1)):
            assert (Reader().read("a"), library.LIMIT) == ("A", 1)
            1 / 0  # noqa: B018
    assert Reader.read is theirs
    assert library.LIMIT == 5


def test_the_last_of_overlapping_blocks_restores(library: types.ModuleType) -> None:
    internal, may_end = Internal(library, "LIMIT", 1), threading.Event()
    started = threading.Event()

    def first() -> None:
        with replaced(internal):
            started.set()
            may_end.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    started.wait(30)
    with replaced(internal):
        may_end.set()
        thread.join()
        assert library.LIMIT == 1
    assert library.LIMIT == 5


@pytest.mark.parametrize(
    ("name", "ours", "found"),
    [
        ("read_all", _read, "library.readers.Reader.read_all does not exist."),
        (
            "read",
            lambda self, uri: uri,
            "library.readers.Reader.read takes ['self', 'path'], expected ['self', 'uri'].",
        ),
        ("read", 5, "library.readers.Reader.read takes ['self', 'path'], expected None."),
    ],
)
def test_an_internal_that_changed_is_named_with_the_version(
    library: types.ModuleType, name: str, ours: Any, found: str
) -> None:
    with pytest.raises(MachineError) as raised:
        with replaced(Internal(library, "LIMIT", 1), Internal(Reader, name, ours)):
            pass
    assert str(raised.value) == (
        f"library 3.1: {found} Tutelage depends on this internal: install a version of library that "
        "docs/internals.md names."
    )
    assert library.LIMIT == 5
