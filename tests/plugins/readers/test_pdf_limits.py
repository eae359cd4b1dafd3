"""Reader `pdf`: damaged, encrypted and hostile files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from schemas import limits
from schemas.records import Document, Reject
from tests.plugins.readers.pdf_making import Maker, drawn, pdf_of, raw_pdf
from tests.plugins.readers.reading import only_reject, places, read, write

TEXT = "Some words of a page."


def test_a_file_with_a_password_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", Maker(password="secret").lines([TEXT]).page().save())
    (found,) = read("pdf", path)
    assert isinstance(found, Reject)
    assert (found.reason, found.detail) == ("encrypted", "it needs a password; remove it first")


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"GIF89a and more of it", "not_pdf", "Is this a PDF?"),
        (
            b"%PDF-1.4 and then nothing of it",
            "truncated_file",
            "it is cut short: it has no %%EOF at its end.",
        ),
        (b"%PDF-1.4 and then nothing of it\n%%EOF", "damaged_file", "it is damaged."),
    ],
)
def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, data: bytes, reason: str, detail: str) -> None:
    (found,) = read("pdf", write(tmp_path / "a.pdf", data))
    assert isinstance(found, Reject) and found.reason == reason and detail in found.detail


def test_a_file_that_is_cut_short_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    data = Maker().lines([TEXT]).page().lines(["Two."]).page().save()
    path = write(tmp_path / "a.pdf", data[: data.index(b"startxref")])
    found = read("pdf", path)
    assert isinstance(found[0], Document) and TEXT in found[0].text
    assert only_reject(found).reason == "truncated_file"


def test_a_million_pages_that_are_announced_end_with_those_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PDF_DAMAGED_PAGES", 50)
    path = write(tmp_path / "a.pdf", raw_pdf(drawn(TEXT), count=1_000_000))
    found = read("pdf", path)
    assert places(path, found) == [
        ("", TEXT),
        ("page 53", "too_many_pages"),
        ("", "too_many_pages"),
        ("page 2", "damaged_page"),
    ]
    details = [each.detail for each in found if isinstance(each, Reject)]
    assert details[0] == "too many damaged pages: reading ended at page 53 of 1,000,000"
    assert details[2] == "52 pages cannot be loaded, from page 2 to page 53"


def test_pages_beyond_the_limit_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PDF_PAGES", 3)
    path = write(tmp_path / "a.pdf", raw_pdf(drawn(TEXT), count=5, pages=5))
    found = read("pdf", path)
    assert places(path, found) == [("", "\n\n".join([TEXT] * 3)), ("", "too_many_pages")]
    assert only_reject(found).detail == "the file announces 5 pages; only the first 3 are read"


def test_a_page_of_too_many_characters_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PDF_PAGE_CHARACTERS", 30)
    path = write(tmp_path / "a.pdf", Maker().lines(["Short."]).page().lines([TEXT] * 5).page().save())
    assert places(path, read("pdf", path)) == [("", "Short."), ("page 2", "page_too_long")]


@pytest.mark.slow
def test_two_thousand_pages_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", raw_pdf(drawn(TEXT), count=2_000, pages=2_000))
    (found,) = read("pdf", path)
    assert isinstance(found, Document) and found.text.count(TEXT) == 2_000


@pytest.mark.parametrize("layers", [1, 2])
def test_a_stream_that_expands_without_end_is_refused(
    tmp_path: Path, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PDF_STREAM_BYTES", 1 << 20)
    content, filters = b" " * (limits.PDF_STREAM_BYTES + 1), b"/Filter[" + b"/FlateDecode" * layers + b"]"
    for _ in range(layers):
        content = zlib.compress(content)
    (found,) = read("pdf", write(tmp_path / "a.pdf", raw_pdf(content, filters=filters)))
    assert isinstance(found, Reject) and found.reason == "stream_too_long"
    assert found.detail.endswith("has more than 1,048,576 bytes, the limit")


def test_fonts_without_unicode_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", raw_pdf(drawn("\x01\x02\x03\x04\x05\x06")))
    reject = only_reject(read("pdf", path))
    assert (reject.source, reject.reason) == (f"{path}:page 1", "no_unicode")


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf.gz", gzip.compress(pdf_of(TEXT)))
    assert places(path, read("pdf", path)) == [("", TEXT)]
