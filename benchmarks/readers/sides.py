"""One side of `throughput.py` in a process of its own: texts of a file, and the CPU seconds that they took.

    python -m benchmarks.readers.sides ours|rows|plain KIND FILE

`ours` makes documents, with content hashes; `rows` stops before them. `plain` is a loop over the library that
the reader uses, or that a user would take.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from plugins.readers import open_reader
from plugins.readers.base import Row
from schemas.corpus_config import SourceConfig
from schemas.records import Document


def ours(kind: str, path: str) -> Iterator[str]:
    """Texts of the documents of our reader."""
    reader = open_reader(SourceConfig(reader=kind, uri=path))
    for file in _files(path):
        for found in reader.read(file):
            if isinstance(found, Document):
                yield found.text


def rows(kind: str, path: str) -> Iterator[str]:
    """Texts of the rows of our reader."""
    reader = open_reader(SourceConfig(reader=kind, uri=path))
    for file in _files(path):
        for found in reader.rows(file):
            if isinstance(found, Row):
                yield found.values["text"]


def _files(path: str) -> list[str]:
    return sorted(map(str, Path(path).iterdir())) if Path(path).is_dir() else [path]


def _jsonl(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def _csv(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["text"]


def _parquet(path: str) -> Iterator[str]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=["text"]):
        for row in batch.to_pylist():
            yield row["text"]


def _wet(path: str) -> Iterator[str]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with gzip.open(path) as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.conversion):
            yield record.reader.read().decode()


def _warc(path: str) -> Iterator[str]:
    import trafilatura
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with gzip.open(path) as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            yield trafilatura.extract(record.reader.read().decode()) or ""


def _html(path: str) -> Iterator[str]:
    import trafilatura

    for name in _files(path):
        with open(name, encoding="utf-8") as file:
            yield trafilatura.extract(file.read()) or ""


def _mediawiki(path: str) -> Iterator[str]:
    import mwparserfromhell

    for _, element in ElementTree.iterparse(path):
        if element.tag == "text":
            yield mwparserfromhell.parse(element.text).strip_code()
        elif element.tag == "page":
            element.clear()


def _edgar(path: str) -> Iterator[str]:
    import lxml.html

    with open(path, encoding="utf-8") as file:
        body = file.read().partition("<TEXT>")[2].partition("</TEXT>")[0]
    yield lxml.html.document_fromstring(body.strip()).text_content()


def _xml(tag: str) -> Callable[[str], Iterator[str]]:
    def texts(path: str) -> Iterator[str]:
        for _, element in ElementTree.iterparse(path):
            if element.tag == tag:
                yield "".join(element.itertext())
                element.clear()

    return texts


PLAIN: dict[str, Callable[[str], Iterator[str]]] = {
    **{"csv": _csv, "edgar": _edgar, "html": _html, "jats": _xml("article"), "jsonl": _jsonl},
    **{"mediawiki": _mediawiki, "medline": _xml("PubmedArticle"), "parquet": _parquet},
    **{"warc": _warc, "wet": _wet},
}
"""Loops over the plain libraries, by kind."""


def report(texts: Callable[[str], Iterator[str]], path: str) -> dict[str, Any]:
    """Run a side once to import, and once by the clock."""
    for _ in texts(path):
        break
    started = time.process_time()
    found = list(texts(path))
    seconds = time.process_time() - started
    digest = sum(zlib.crc32(text.strip().encode()) for text in found) % (1 << 32)
    return {"cpu_sec": seconds, "num_documents": len(found), "digest": digest}


def main() -> None:
    """Print the report of a side as JSON."""
    side, kind, path = sys.argv[1:]
    texts = {
        "ours": lambda path: ours(kind, path),
        "rows": lambda path: rows(kind, path),
        "plain": PLAIN[kind],
    }
    print(json.dumps(report(texts[side], path)))


if __name__ == "__main__":
    main()
