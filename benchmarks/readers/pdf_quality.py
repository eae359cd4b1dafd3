"""Reader `pdf` beside the defaults of PDFium, and of pypdf, pdfminer.six and pdfplumber if installed."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable

import pypdfium2

from benchmarks.readers.pdf_files import files
from benchmarks.readers.quality import report
from plugins.readers import open_reader
from plugins.readers.base import Row
from schemas.corpus_config import SourceConfig


def measure(first: int, worst: int) -> None:
    """Print the marks of all extractors on all files."""
    extractors: dict[str, Callable[[bytes], str]] = {"reader pdf": ours, "pypdfium2": pdfium}
    for name, extract in {"pypdf": pypdf, "pdfminer": pdfminer, "pdfplumber": pdfplumber}.items():
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed, and left out")
        else:
            extractors[name] = extract
    report(list(files(first)), extractors, worst)


def ours(data: bytes) -> str:
    """Text of the file's one document."""
    (row,) = open_reader(SourceConfig(reader="pdf", uri="a.pdf")).rows_in(data, "a.pdf")
    assert isinstance(row, Row), row
    return str(row.values["text"])


def pdfium(data: bytes) -> str:
    """Text of all pages in PDFium's order."""
    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(data))


def pypdf(data: bytes) -> str:
    """Text of all pages by pypdf's default."""
    reader = importlib.import_module("pypdf").PdfReader(io.BytesIO(data))
    return "\n".join(page.extract_text() for page in reader.pages)


def pdfminer(data: bytes) -> str:
    """Text of the file by pdfminer's default layout analysis."""
    text: str = importlib.import_module("pdfminer.high_level").extract_text(io.BytesIO(data))
    return text


def pdfplumber(data: bytes) -> str:
    """Text of all pages by pdfplumber's default, which lays out words of pdfminer.six."""
    with importlib.import_module("pdfplumber").open(io.BytesIO(data)) as file:
        return "\n".join(page.extract_text() for page in file.pages)
