"""HTML: main text, titles, encodings, and `extract: html` on other readers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from plugins.readers import READERS, open_reader
from plugins.readers.html_text import decode_page, html_text
from schemas import limits
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document
from tests.plugins.readers.reading import jsonl, only_reject, places, read, texts, write

ARTICLE = (
    "Gentamicin is given once a day, because its effect depends on the peak of its concentration, and the "
    "kidneys need the rest of the day to recover. The dose of adults is five milligrams a kilogram."
)
PAGE = f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>Gentamicin &amp; kidneys</title>
<script>var hidden = 1;</script><style>p {{color: red}}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav>
<main><article><h1>Dosing of gentamicin</h1><p>{ARTICLE}</p>
<h2>Levels</h2><ul><li>peak 20 mg/l</li><li>trough 1 mg/l</li></ul>
<table><caption>Doses</caption><tr><th>Weight</th><th>Dose</th></tr><tr><td>70</td><td>350</td></tr></table>
<pre>one  two
  three</pre></article></main>
<footer>Copyright 2020. All rights reserved. <a href="/privacy">Privacy policy</a></footer></body></html>"""
MAIN = (
    f"Dosing of gentamicin\n\n{ARTICLE}\n\nLevels\n\n- peak 20 mg/l\n- trough 1 mg/l\n\nDoses\n"
    "Weight | Dose\n70 | 350\n\none  two\n  three"
)


def test_a_page_is_its_main_text_with_its_title(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", PAGE.encode())
    (found,) = read("html", path, metadata_fields=("title",))
    assert isinstance(found, Document)
    assert found.text == MAIN
    assert found.document_id == str(path)
    assert dict(found.metadata) == {"title": "Gentamicin & kidneys"}


def test_all_of_a_page_can_be_taken() -> None:
    title, text = html_text(PAGE, main_only=False)
    assert title == "Gentamicin & kidneys"
    assert text.startswith("- Home\n- About us\n\nDosing") and "Privacy policy" in text
    assert "hidden" not in text and "color" not in text


def test_a_page_without_a_title_takes_its_first_heading() -> None:
    assert html_text(PAGE.replace("<title>Gentamicin &amp; kidneys</title>", "")).title == (
        "Dosing of gentamicin"
    )


@pytest.mark.parametrize(
    ("data", "header", "expected"),
    [
        ("<p>naïve</p>".encode("cp1252"), "text/html; charset=ISO-8859-1", "cp1252"),
        ("<p>naïve</p>".encode("utf-16"), "text/html; charset=utf-8", "utf-16"),
        ("<p>naïve</p>".encode(), "text/html; charset=windows-1252", "utf-8"),
        ('<meta charset="windows-1252"><p>naïve</p>'.encode("cp1252"), "", "cp1252"),
        ('<meta charset="koi8-r"><p>naïve</p>'.encode("cp1252"), "text/html;charset=cp1252", "cp1252"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"><p>患者①</p>'.encode(
                "cp932"
            ),
            "",
            "cp932",
        ),
        ('<?xml version="1.0" encoding="GB2312"?><p>患者</p>'.encode("gb18030"), "", "gb18030"),
        ("<meta charset=x-sjis><p>患者</p>".encode("cp932"), "", "cp932"),
        ("<meta charset=windows-874><p>ผู้ป่วย</p>".encode("cp874"), "", "cp874"),
        ("<meta charset=tis-620><p>“ผู้ป่วย”</p>".encode("cp874"), "", "cp874"),
        ("<p>Привет</p>".encode("cp1251"), "text/html; charset=x-cp1251", "cp1251"),
        ("<meta charset=iso-8859-8-i><p>שלום</p>".encode("iso8859-8"), "", "iso8859-8"),
        ("<!-- <meta charset=koi8-r> --><meta charset=cp1251><p>Привет</p>".encode("cp1251"), "", "cp1251"),
        ("<meta charset=iso-2022-kr><p>환자</p>".encode("iso2022_kr"), "", "iso2022_kr"),
        (b"<p>a\x00b</p>", "", "utf-8"),
        (b'<meta charset="utf-16"><p>ascii</p>', "", "utf-8"),
        (b'<meta charset="no-such"><p>ascii</p>', "", "utf-8"),
        (b'<meta charset="base64"><p>ascii</p>', "", "utf-8"),
    ],
)
def test_the_encoding_is_that_of_mark_content_header_or_declaration(
    data: bytes, header: str, expected: str
) -> None:
    text, fields = decode_page(data, "auto", header)
    assert fields == {"detected_encoding": expected, "encoding_confidence": "1.00"}
    assert text == data.decode(expected)
    assert decode_page(data, None, header) == (text, {})


def test_a_named_encoding_wins_over_what_a_page_says(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", '<meta charset="utf-8"><p>患者</p>'.encode("shift_jis"))
    assert texts(read("html", path, encoding="shift_jis")) == ["患者"]
    reject = only_reject(read("html", path))
    assert reject.reason == "invalid_utf8"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7 <p>", "not_html"),
        (b"no tag in it, 5 < 6", "not_html"),
        (b"<html><body><script>x</script></body></html>", "no_main_text"),
        (b"<html></html>", "no_main_text"),
        (b"<body>" + b"<div>" * 100_000 + b"deep", "nested_too_deeply"),
        (b"<div>" * 300 + b"deep", "nested_too_deeply"),
        (b"<body><math>" + b"<msqrt>" * 240 + b"<mn>2</mn>", "nested_too_deeply"),
    ],
)
def test_what_is_no_readable_page_is_a_reject(tmp_path: Path, data: bytes, reason: str) -> None:
    reject = only_reject(read("html", write(tmp_path / "a.html", data)))
    assert reject.reason == reason and reject.detail


def test_a_page_beyond_the_limit_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTML_CHARACTERS", 100)
    reject = only_reject(read("html", write(tmp_path / "a.html", PAGE.encode())))
    assert (reject.reason, reject.detail) == (
        "record_too_long",
        f"it has {len(PAGE):,} characters; a page may have 100",
    )


def test_entities_of_a_document_type_expand_to_nothing(tmp_path: Path) -> None:
    doctype = (
        '<!DOCTYPE html [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY f SYSTEM "/etc/hostname">]>'
    )
    page = f"{doctype}<html><body><p>{ARTICLE}</p><p>x &b; &f; y</p></body></html>"
    (text,) = texts(read("html", write(tmp_path / "a.html", page.encode())))
    assert text.endswith("x &b; &f; y") and "aaaa" not in text


def test_hidden_formulas_and_references_are_read_as_they_look() -> None:
    page = (
        "<div>so<sup><a href='#1'>[1]</a></sup> <span style='display: none'><math><mn>5</mn></math></span>"
        "<span class='katex'><math><mn>7</mn></math><span class='katex-html'>7</span></span></div>"
    )
    assert html_text(page).text == "so[1] 5 7"


def test_a_row_that_arranges_a_page_becomes_paragraphs() -> None:
    inner = "<table><tr><td>1</td><td>2</td></tr></table>"
    page = f"<div><table><tr><td><p>one</p></td></tr><tr><td>{inner}</td><td>two</td></tr></table></div>"
    assert html_text(page).text == "one\n\n1 | 2\n\ntwo"


class TestExtract:
    def test_fields_of_other_formats_become_text(self, tmp_path: Path) -> None:
        rows = jsonl(
            {"text": "<p>10<sup>6</sup></p><p>b</p>"},
            {"text": "plain, 5 < 6 &amp;\nDoe <doe@example.org>"},
            {"text": PAGE},
            {"text": "<div>" * 300},
            {"text": "<script>x</script>"},
            {"text": 5},
        )
        path = write(tmp_path / "a.jsonl", rows)
        found = [text for _, text in places(path, read("jsonl", path, extract="html"))]
        plain = "plain, 5 < 6 &\nDoe <doe@example.org>"
        assert found == ["10^6\n\nb", plain, MAIN, "nested_too_deeply", "empty", "not_text"]

    def test_a_format_of_several_fields_extracts_each(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", jsonl({"q": "<b>Why</b>?", "a": "<p>So.</p>", "n": "<i>x</i>"}))
        (found,) = read("jsonl", path, extract="html", format="{q} {a}", metadata_fields=("n",))
        assert isinstance(found, Document)
        assert found.text == "Why? So." and dict(found.metadata) == {"n": "<i>x</i>"}

    def test_bytes_are_decoded_as_pages_are(self, tmp_path: Path) -> None:
        pages = ['<meta charset="cp1252"><p>naïve</p>'.encode("cp1252"), b'<meta charset="ascii"><p>\x81</p>']
        pyarrow.parquet.write_table(pyarrow.table({"text": pages}), tmp_path / "a")
        found = read("parquet", tmp_path / "a", extract="html")
        assert [text for _, text in places(tmp_path / "a", found)] == ["naïve", "undecodable"]

    def test_readers_take_markup_out_or_let_it_be_extracted(self) -> None:
        others = {name for name in READERS.names() if "extract" in READERS.load(name).own_fields}
        assert others == {"csv", "tsv", "jsonl", "parquet", "text", "huggingface"}

    @pytest.mark.parametrize(
        "reader", ["html", "jats", "medline", "pdf", "docx", "epub", "rst", "warc", None]
    )
    def test_readers_that_take_markup_out_refuse_it(self, reader: str | None) -> None:
        with pytest.raises(
            ConfigError, match=f"sets extract, which reader '{reader or 'folder'}' does not use"
        ):
            open_reader(SourceConfig(reader=reader, uri="a", extract="html"))


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "trafilatura" else found(name)
    )
    others = ({"reader": name} for name in ("edgar", "warc"))
    for fields in ({"reader": "html"}, {"reader": "jsonl", "extract": "html"}, *others):
        with pytest.raises(ConfigError) as caught:
            open_reader(SourceConfig(uri="a", **fields))
        assert str(caught.value) == (
            "reader 'html' needs a package that is not installed: no module named 'trafilatura'. "
            "Install the extra that carries it: pip install 'tutelage[html]'."
        )


def test_a_text_field_named_title_holds_the_text(tmp_path: Path) -> None:
    (found,) = read("html", write(tmp_path / "a.html", PAGE.encode()), text_field="title")
    assert texts([found]) == [MAIN]
