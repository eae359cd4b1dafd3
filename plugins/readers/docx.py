"""Word files (docx): text with headings, lists, tables, foot- and endnotes, a document a file.

Library: mammoth (BSD-2-Clause), because it gives notes, numbering and scripts as HTML, which python-docx
does not. `docx_runs.py` gives it formulas as text, `markup_blocks.py` makes text of the HTML: 10 with a
raised 6 becomes 10^6. Left out: page heads and feet, comments, deleted and hidden text, pictures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import mammoth

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.documents_in_zip import BROKEN, Refused, about, open_zip, unreadable
from plugins.readers.docx_runs import ready_for_mammoth
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup import TooDeep
from plugins.readers.markup_blocks import blocks_of

_CORE = "docProps/core.xml"
_BACK = re.compile("#(?:foot|end)note-ref-")
_SPACE = mammoth.html.text(" ")
"""Stands for a picture, so that the numbers beside it stay two."""

_MOST_IN_CELL = 200
"""Characters of a cell of data; a row with more only arranges a page."""

_LEFT_OUT = re.compile(r"unrecognised element was ignored: (?:\{.*\})?(\S+)")


class DocxReader(WholeFileReader):
    """Reads docx. Fields of a row: the text, and `title`, `author`, `language` if the file has them."""

    fields = frozenset({"title", "author", "language"})

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        try:
            with open_zip(data) as archive:
                core = archive.read(_CORE) if _CORE in archive.namelist() else b"<none/>"
                fields = about(ElementTree.fromstring(core))
            converted = mammoth.convert_to_html(ready_for_mammoth(data), convert_image=lambda image: [_SPACE])
            tree = visible(parse(converted.value))
        except (Refused, TooDeep, RecursionError) as error:
            yield BadRow.beyond_limits(error)
            return
        except BROKEN as error:
            yield unreadable(data, "docx", error)
            return
        for link in tree.iter("a"):
            if _BACK.match(link.get("href", "")):  # the arrow behind a note
                link.text = ""
        _flatten_inner_tables(tree)
        yield Row("", {**fields, self.source.text_field: blocks_of(tree)})
        found = Counter(found[1] for each in converted.messages if (found := _LEFT_OUT.search(each.message)))
        found["w:sym"] += sum("w:sym element" in each.message for each in converted.messages)
        if found := +found:
            names = ", ".join(f"{number} of {name}" for name, number in found.most_common())
            yield BadRow("", "left_out", f"elements that mammoth does not read: {names}")


def _flatten_inner_tables(tree: Element) -> None:
    """Write a small table in a cell as words of the cell, so that it does not tear its row."""
    for row in [row for row in tree.iter("tr") if row.find("td//table") is not None]:
        if any(len("".join(cell.itertext())) > _MOST_IN_CELL for cell in row):
            continue
        for each in [each for table in row.iterfind(".//table") for each in table.iter()]:
            if each.tag in ("tr", "td", "th"):
                each.tail = f" {each.tail or ''}"
            if each.tag in ("p", "table", "tbody", "thead", "tr", "td", "th"):
                each.tag = "span"
