"""Reader `docling`, with a stand-in for the library."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from plugins.readers import docling
from schemas import limits
from schemas.errors import ConfigError
from tests.plugins.readers.reading import only_reject, places, read, write

MARKDOWN = "# Slide\n\n- one\n\n| a | 140 |\n|---|---|\n| b | 72 |"


class Converter:
    """Takes the arguments of docling's own, and gives a result of its shape."""

    status, errors = "SUCCESS", ()
    asked: dict[str, Any]

    def convert(self, source: Any, *, raises_on_error: bool, max_num_pages: int, max_file_size: int) -> Any:
        Converter.asked = {"name": source.name, "pages": max_num_pages, "bytes": max_file_size}
        assert not raises_on_error and source.stream.read() == b"slides"
        return SimpleNamespace(
            status=SimpleNamespace(name=self.status),
            errors=[SimpleNamespace(error_message=each) for each in self.errors],
            document=SimpleNamespace(export_to_markdown=lambda image_placeholder: MARKDOWN),
        )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    base, converter = ModuleType("docling.datamodel.base_models"), ModuleType("docling.document_converter")
    base.DocumentStream = lambda name, stream: SimpleNamespace(name=name, stream=stream)  # type: ignore[attr-defined]
    converter.DocumentConverter = Converter  # type: ignore[attr-defined]
    for name in ("docling", "docling.datamodel"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, base.__name__, base)
    monkeypatch.setitem(sys.modules, converter.__name__, converter)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    docling._converter.cache_clear()
    return write(tmp_path / "a.pptx", b"slides")


def test_a_file_becomes_text(file: Path) -> None:
    assert places(file, read("docling", file)) == [("", "Slide\n\n- one\n\na | 140\nb | 72")]
    assert Converter.asked == {"name": "a.pptx", "pages": 500, "bytes": limits.RECORD_BYTES}


def test_markup_is_kept_on_request(file: Path) -> None:
    assert places(file, read("docling", file, options={"keep_markup": True})) == [("", MARKDOWN)]


def test_a_file_that_docling_refuses_is_a_reject(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Converter, "status", "FAILURE")
    monkeypatch.setattr(Converter, "errors", ("too many pages",))
    found = only_reject(read("docling", file))
    assert (found.reason, found.detail) == ("not_converted", "too many pages")


def test_a_part_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Converter, "status", "PARTIAL_SUCCESS")
    found = only_reject(read("docling", file))
    assert (found.reason, found.detail) == (
        "left_out",
        "docling converted a part only: status PARTIAL_SUCCESS",
    )


def test_its_absence_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"reader 'docling' needs .* pip install 'tutelage\[docling\]'"):
        read("docling", "a.pptx")
