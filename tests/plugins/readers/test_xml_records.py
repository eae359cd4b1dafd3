"""Records of XML files: what the readers of articles, citations and wikis have in common."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from schemas.records import Document
from tests.plugins.readers.reading import places, read, texts, write

RECORDS = {
    "jats": "<article><body><p>{}</p></body></article>",
    "medline": "<PubmedArticle><MedlineCitation><Article><ArticleTitle>{}</ArticleTitle></Article>"
    "</MedlineCitation></PubmedArticle>",
    "mediawiki": "<page><title>t</title><revision><text>{}</text></revision></page>",
}
ROOTS = {"jats": "pmc-articleset", "medline": "PubmedArticleSet", "mediawiki": "mediawiki"}
READERS = sorted(RECORDS)


def file_of(reader: str, *texts: str, between: str = "\n", end: bool = True) -> str:
    records = between.join(RECORDS[reader].format(text) for text in texts)
    return f"<{ROOTS[reader]}>{records}" + (f"</{ROOTS[reader]}>" if end else "")


@pytest.mark.parametrize("reader", READERS)
def test_an_encoding_is_declared_or_named_or_found(tmp_path: Path, reader: str) -> None:
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' + file_of(reader, "naïve", "Ångström")
    path = write(tmp_path / "a.xml", declared.encode("latin-1"))
    assert places(path, read(reader, path)) == [("1", "naïve"), ("2", "Ångström")]
    found, _ = read(reader, path, encoding="auto")
    assert isinstance(found, Document)
    assert found.metadata == {"detected_encoding": "ISO-8859-1", "encoding_confidence": "1.00"}
    path = write(tmp_path / "b.xml", file_of(reader, "naïve").encode("utf-16"))
    assert places(path, read(reader, path, encoding="utf-16")) == [("1", "naïve")]
    (found,) = read(reader, path, encoding="auto")
    assert isinstance(found, Document)
    assert found.metadata == {"detected_encoding": "utf-16", "encoding_confidence": "1.00"}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_ends_early_is_a_truncated_file(tmp_path: Path, reader: str) -> None:
    path = write(tmp_path / "a.xml", file_of(reader, "one", end=False).encode())
    assert places(path, read(reader, path)) == [("1", "one"), ("2", "truncated_file")]
    path = write(tmp_path / "a.xml", file_of(reader, "one", "two", end=False).encode()[:-12])
    assert places(path, read(reader, path)) == [("1", "one"), ("2", "truncated_file")]
    both = file_of(reader, "one") + file_of(reader, "two", end=False)
    path = write(tmp_path / "a.xml", both.encode())
    assert places(path, read(reader, path)) == [("1", "one"), ("2", "two"), ("3", "truncated_file")]


@pytest.mark.parametrize("reader", READERS)
def test_a_record_without_its_end_costs_only_itself(tmp_path: Path, reader: str) -> None:
    end = RECORDS[reader][RECORDS[reader].rindex("</") :]
    whole = file_of(reader, "one", "two", "three")
    for number, expected in enumerate(["one", "two", "three"], start=1):
        at = whole.index(end, whole.index(expected))
        path = write(tmp_path / "a.xml", (whole[:at] + whole[at + len(end) :]).encode())
        found = dict(places(path, read(reader, path)))
        assert found == {"1": "one", "2": "two", "3": "three"} | {str(number): "truncated_record"}


@pytest.mark.parametrize("reader", READERS)
def test_an_element_beside_the_records_is_told(tmp_path: Path, reader: str) -> None:
    data = file_of(reader, "one", "two", between='<other id="7"><inner/></other>')
    found = read(reader, path := write(tmp_path / "a.xml", data.encode()))
    assert places(path, found) == [("1", "one"), ("", "unknown_record"), ("2", "two")]
    assert getattr(found[1], "detail", "") == "found <other> after record 1, which is not read"


@pytest.mark.parametrize("reader", READERS)
def test_a_long_start_tag_and_white_space_in_tags_are_read(tmp_path: Path, reader: str) -> None:
    name = RECORDS[reader][1:].partition(">")[0]
    attributes = " ".join(f'a{number}="{"x" * 99}"' for number in range(99))
    data = file_of(reader, "one", "two").replace(f"<{name}>", f"<{name}\n{attributes} >")
    path = write(tmp_path / "a.xml", data.replace(f"</{name}>", f"</{name}\n >").encode())
    assert places(path, read(reader, path)) == [("1", "one"), ("2", "two")]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
@pytest.mark.parametrize("encoding", [None, "auto"])
def test_utf_16_is_known_by_its_mark(tmp_path: Path, mark: bytes, encoding: str | None) -> None:
    name = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    data = '<?xml version="1.0" encoding="UTF-16"?><article><body><p>na\u00efve</p></body></article>'
    path = write(tmp_path / "a.xml", mark + data.encode(name))
    assert texts(read("jats", path, encoding=encoding)) == ["na\u00efve"]
