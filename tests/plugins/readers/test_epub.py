"""Reader `epub`: chapters in order, numbers, metadata, limits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from schemas import limits
from schemas.records import Document, Reject
from tests.plugins.readers.reading import only_reject, places, read, texts, write

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)
HEAD = '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">'


def epub(*chapters: str | bytes, order: tuple[int, ...] | None = None, **files: str) -> bytes:
    numbers = order or tuple(range(len(chapters)))
    items = "".join(
        f'<item id="c{number}" href="text%20{number}.xhtml" media-type="application/xhtml+xml"/>'
        for number in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in numbers)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>On nerves</dc:title><dc:creator>A. Writer</dc:creator></metadata>"
        '<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    written: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": f"{HEAD}<body><p>Contents</p></body></html>",
        **{
            f"OEBPS/text {number}.xhtml": text
            if isinstance(text, bytes)
            else f"{HEAD}<body>{text}</body></html>"
            for number, text in enumerate(chapters)
        },
        **files,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in written.items():
            archive.writestr(name, text)
    return file.getvalue()


def test_chapters_come_in_the_order_of_the_spine(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub("<h1>Two</h1><p>b</p>", "<h1>One</h1><p>a</p>", order=(1, 0)))
    (found,) = read("epub", path, metadata_fields=["title", "author"])
    assert isinstance(found, Document)
    assert found.text == "One\n\na\n\nTwo\n\nb"
    assert found.metadata == {"title": "On nerves", "author": "A. Writer"}


def test_a_chapter_may_be_a_document(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub("<p>a</p>", "<p>b</p>"))
    found = read("epub", path, options={"chapters": True})
    assert places(path, found) == [("OEBPS/text 0.xhtml", "a"), ("OEBPS/text 1.xhtml", "b")]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>10<sup>6</sup> cells</p>", "10^6 cells"),
        ("<p>H<sub>2</sub>O</p>", "H2O"),
        ("<p>140<br/>72</p>", "140\n72"),
        ("<p>a&nbsp;b &mdash; 140&#47;72 &lt; 3</p>", "a b — 140/72 < 3"),
        ("<table><tr><td>140</td><td>72</td></tr><tr><th>a</th></tr></table>", "140 | 72\na"),
        ("<ul><li>one</li><li>two<ol><li>three</li></ol></li></ul>", "- one\n- two\n  1. three"),
        ("<pre>x = 1\n  y = 2</pre><p>z</p>", "x = 1\n  y = 2\n\nz"),
        ("<p>a<a id='x'/>b</p><script>var x</script><p/><p>c</p>", "ab\n\nc"),
        ("<div>a<p>b</p>c</div>", "a\n\nb\n\nc"),
        (
            "<p>of <m:math xmlns:m='M'><m:mfrac><m:mn>140</m:mn><m:mn>72</m:mn></m:mfrac></m:math></p>",
            "of 140/72",
        ),
    ],
)
def test_markup_is_readable_and_no_number_changes(tmp_path: Path, markup: str, text: str) -> None:
    assert texts(read("epub", write(tmp_path / "a.epub", epub(markup)))) == [text]


def test_other_encodings_are_read(tmp_path: Path) -> None:
    utf16 = f"{HEAD.replace('utf-8', 'utf-16')}<body><p>café</p></body></html>".encode("utf-16")
    latin = f"{HEAD.replace('utf-8', 'iso-8859-1')}<body><p>café</p></body></html>".encode("latin-1")
    assert texts(read("epub", write(tmp_path / "a.epub", epub(utf16, latin)))) == ["café\n\ncafé"]


def test_a_bad_chapter_costs_only_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub("<p>a</p>", b"\xff\xff\xff", "<div>" * 1_000))
    found = read("epub", path)
    assert places(path, found) == [
        ("", "a"),
        ("OEBPS/text 1.xhtml", "bad_chapter"),
        ("OEBPS/text 2.xhtml", "bad_chapter"),
    ]
    last = found[-1]
    assert isinstance(last, Reject) and last.detail == "TooDeep: elements are nested deeper than 256"


def test_an_encrypted_chapter_and_one_that_is_missing_are_told(tmp_path: Path) -> None:
    encryption = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData '
        'xmlns="http://www.w3.org/2001/04/xmlenc#"><CipherData><CipherReference URI="OEBPS/text%200.xhtml"/>'
        "</CipherData></EncryptedData></encryption>"
    )
    data = epub("<p>locked bytes</p>", "<p>a</p>", order=(0, 1, 7), **{"META-INF/encryption.xml": encryption})
    path = write(tmp_path / "a.epub", data)
    assert places(path, read("epub", path)) == [
        ("", "a"),
        ("OEBPS/text 0.xhtml", "encrypted"),
        ("c7", "bad_chapter"),
    ]


def test_a_page_that_is_no_markup_is_told(tmp_path: Path) -> None:
    data = epub("<p>a</p>")
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as copy:
        for name in archive.namelist():
            text = archive.read(name).decode()
            item = '<item id="s" href="map.svg" media-type="image/svg+xml"/></manifest>'
            text = text.replace("</manifest>", item).replace("<spine>", '<spine><itemref idref="s"/>')
            copy.writestr(name, text)
    path = write(tmp_path / "a.epub", file.getvalue())
    found = read("epub", path)
    assert places(path, found) == [("", "a"), ("OEBPS/map.svg", "left_out")]
    assert only_reject(found).detail == "a page of the kind 'image/svg+xml', which is no markup"


def test_what_a_spine_names_in_vain_or_twice_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub("<p>a</p>", "<p>b</p>", order=(1, 7, 0, 1)))
    found = read("epub", path)
    assert places(path, found) == [
        ("", "b\n\na"),
        ("c7", "bad_chapter"),
        ("OEBPS/text 1.xhtml", "repeated_chapter"),
    ]
    details = [each.detail for each in found if isinstance(each, Reject)]
    assert details == [
        "the spine names it, and the book's list of files does not have it",
        "it comes twice in the spine, and is read once",
    ]


def test_end_tags_without_a_start_are_cheap(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub("<b>" * 200 + "a" + "</i>" * 200_000))
    assert texts(read("epub", path)) == ["a"]


def test_declared_entities_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.epub", epub('<!DOCTYPE a [<!ENTITY x "ha">]><p>&x;</p>'))
    assert only_reject(read("epub", path)).detail == "OEBPS/text 0.xhtml declares entities"


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKUP_BYTES", 1 << 20)
    path = write(tmp_path / "a.epub", epub("a" * (limits.MARKUP_BYTES + 1)))
    assert only_reject(read("epub", path)).reason == "beyond_limits"


@pytest.mark.parametrize("data", [b"PK\x03\x04", epub("<p>a</p>")[:300]])
def test_a_damaged_file_is_told(tmp_path: Path, data: bytes) -> None:
    assert only_reject(read("epub", write(tmp_path / "a.epub", data))).reason == "damaged_file"


def test_a_book_without_text_is_told(tmp_path: Path) -> None:
    assert only_reject(read("epub", write(tmp_path / "a.epub", epub("<img src='a.png'/>")))).reason == "empty"
