"""Reader `html` beside trafilatura's own defaults.

Bullets and numbers of items, and bars and rules of tables, are taken out of all texts before they are
compared: each side writes them in its own way. A Chinese or Japanese character counts as a word.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path

import trafilatura

from benchmarks.readers import html_files, html_sites
from benchmarks.readers.quality import report
from plugins.readers import open_reader
from schemas.corpus_config import SourceConfig
from schemas.records import Document

_MARKS = re.compile(r"^\s*(?:[-•*]|\d+\.) |\|(?:-+\|)*|^-{3,}$", re.MULTILINE)
_CHARACTER = re.compile(r"([\u3000-\u30ff\u3400-\u9fff\uff00-\uffef])")


def measure(first: int, worst: int) -> None:
    """Print the marks of both on all pages."""
    pages = [*html_files.files(first), *html_sites.files(first)]
    known = [dataclasses.replace(page, text=comparable(page.text)) for page in pages]
    report(known, {"reader html": ours, "trafilatura": defaults}, worst)


def comparable(text: str) -> str:
    """Return a text without signs of lists and tables, and with spaces around Chinese characters."""
    return _CHARACTER.sub(r" \1 ", _MARKS.sub(" ", text))


def ours(data: bytes) -> str:
    """Text of the page's one document; "" if the reader finds none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.html")
        path.write_bytes(data)
        found = list(open_reader(SourceConfig(reader="html", uri=str(path))).read(str(path)))
    return comparable("\n".join(each.text for each in found if isinstance(each, Document)))


def defaults(data: bytes) -> str:
    """Text of the page as trafilatura gives it without any option."""
    return comparable(trafilatura.extract(data) or "")
