"""Files of one kind each, with made-up texts of some 10 kB."""

from __future__ import annotations

import csv
import gzip
import html
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from benchmarks.ingestion import made_up_texts

_MENU = "".join(f'<li><a href="/{number}">Page {number}</a></li>' for number in range(30))


def make(kind: str, folder: Path, num_bytes: int) -> Path:
    """Write a file of a kind, or a folder of pages, with about `num_bytes` of text; return its path."""
    path = folder / f"made{ENDINGS[kind]}"
    texts = made_up_texts(num_bytes)
    if kind == "html":
        path.mkdir()
        for number, text in enumerate(texts):
            (path / f"{number}.html").write_text(page(text))
    elif kind == "parquet":
        rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind in ("warc", "wet"):
        with path.open("wb") as file:
            for number, text in enumerate(texts):
                file.write(gzip.compress(_record(kind, number, text)))
    elif kind == "csv":
        with path.open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerows([("id", "text"), *((str(number), text) for number, text in enumerate(texts))])
    else:
        path.write_text("".join(_pieces(kind, texts)))
    return path


ENDINGS = {
    **{"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "warc": ".warc.gz", "wet": ".warc.wet.gz"},
    **{"mediawiki": ".xml", "edgar": ".txt", "medline": ".xml", "jats": ".xml", "html": ""},
}
"""Ending of a file's name, by kind; pages are in a folder."""


def page(text: str) -> str:
    """Return a page with a menu, a text of paragraphs and a foot."""
    paragraphs = "".join(f"<p>{html.escape(each)}</p>\n" for each in text.split("\n\n"))
    return (
        f"<!DOCTYPE html><html><head><title>{text[:40]}</title></head><body><nav><ul>{_MENU}</ul></nav>"
        f"<article><h1>{text[:40]}</h1>{paragraphs}</article><footer>Imprint</footer></body></html>"
    )


def _pieces(kind: str, texts: Iterator[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if kind == "jsonl":
            yield json.dumps({"id": str(number), "text": text}) + "\n"
        elif kind == "mediawiki":
            yield (
                "" if number else "<mediawiki><siteinfo><base>https://example.org/wiki/A</base></siteinfo>\n"
            )
            yield (
                f"<page><title>{number}</title><ns>0</ns><id>{number}</id><revision><id>1</id><model>wikitext"
                f"</model><text>{html.escape(_wikitext(text))}</text></revision></page>\n"
            )
        elif kind == "edgar":
            yield (
                ""
                if number
                else "<SEC-HEADER>\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n<html><body>\n"
            )
            yield f"<p>Item {number % 15 + 1}. Name</p>\n" + "".join(
                f"<p>{html.escape(each)}</p>\n" for each in text.split("\n\n")
            )
        elif kind == "medline":
            yield "" if number else "<PubmedArticleSet>\n"
            yield (
                f"<PubmedArticle><MedlineCitation><PMID>{number}</PMID><Article><ArticleTitle>On</ArticleTitle>"
                f"<Abstract><AbstractText>{html.escape(text)}</AbstractText></Abstract></Article>"
                "</MedlineCitation></PubmedArticle>\n"
            )
        elif kind == "jats":
            yield "" if number else "<pmc-articleset>\n"
            paragraphs = "".join(f"<p>{html.escape(each)}</p>" for each in text.split("\n\n"))
            yield (
                f"<article><front><article-meta><title-group><article-title>On {number}</article-title>"
                f"</title-group></article-meta></front><body><sec><title>One</title>{paragraphs}</sec></body>"
                "</article>\n"
            )
    yield {
        "mediawiki": "</mediawiki>\n",
        "edgar": "</body></html>\n</TEXT>\n</DOCUMENT>\n",
        "medline": "</PubmedArticleSet>\n",
        "jats": "</pmc-articleset>\n",
    }.get(kind, "")


def _wikitext(text: str) -> str:
    """Return a text with the markup of an article: a template, links, references, headings."""
    paragraphs = text.split("\n\n")
    marked = (
        f"== Part {number} ==\n'''{each[:20]}'''{each[20:200]}<ref name=a{number}>A book</ref> "
        f"[[Page|{each[200:230]}]]"
        f"{each[230:]} {{{{cite|a=b}}}}"
        for number, each in enumerate(paragraphs)
    )
    return "{{Infobox|a=1|b=2}}\n" + "\n\n".join(marked) + "\n[[Category:Made]]"


def _record(kind: str, number: int, text: str) -> bytes:
    if kind == "wet":
        block, what, form = text.encode(), "conversion", "text/plain"
    else:
        form, what = "application/http; msgtype=response", "response"
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page(text).encode()
    identified = "text/html" if kind == "warc" else "text/plain"
    head = (
        f"WARC/1.0\r\nWARC-Type: {what}\r\nWARC-Target-URI: http://example.org/{number}\r\n"
        f"WARC-Date: 2024-05-01T10:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Identified-Payload-Type: {identified}\r\nContent-Type: {form}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"
