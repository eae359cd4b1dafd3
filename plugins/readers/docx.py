"""Word files (docx): text with headings, lists, tables, foot- and endnotes, a document a file.

Library: mammoth (BSD-2-Clause), because it gives notes, numbering and scripts as HTML, which python-docx
does not. `markup_blocks.py` makes text of the HTML, so that 10 with a raised 6 becomes 10^6.
Left out: page heads and feet, comments, deleted text, pictures, and formulas of Word's editor, for which
there is a reject.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import mammoth

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.documents_in_zip import BROKEN, Refused, about, open_zip
from plugins.readers.docx_markup import rewritten
from plugins.readers.html_tree import TooDeep, parse
from plugins.readers.markup_blocks import UNSEEN, blocks_of

_CORE = "docProps/core.xml"
_NOTE = re.compile("#(?:foot|end)note-(ref-)?")
_SPACE = mammoth.html.text(" ")
"""Stands for a picture, so that the numbers beside it stay two."""

_MOST_IN_CELL = 200
"""Characters of a cell of data; a row with more only arranges a page."""

_LEFT_OUT = re.compile(r"unrecognised element was ignored: (?:\{.*\})?(\S+)")


class DocxReader(WholeFileReader):
    """Reads docx. Fields of a row: the text, and `title`, `author`, `language` if the file has them."""

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        try:
            with open_zip(data) as archive:
                core = archive.read(_CORE) if _CORE in archive.namelist() else b"<none/>"
                fields = about(ElementTree.fromstring(core))
                file, num_hidden = rewritten(archive)
            converted = mammoth.convert_to_html(file, convert_image=lambda image: [_SPACE])
            tree = parse(converted.value)
        except (Refused, TooDeep, RecursionError) as error:
            yield BadRow.beyond_limits(error)
            return
        except BROKEN as error:
            yield BadRow("", "not_docx", f"{type(error).__name__}: {error}")
            return
        _mark_notes(tree)
        _flatten_inner_tables(tree)
        yield Row("", {**fields, self.source.text_field: blocks_of(tree, UNSEEN)})
        found = Counter(found[1] for each in converted.messages if (found := _LEFT_OUT.search(each.message)))
        symbols = sum("w:sym element" in each.message for each in converted.messages)
        told = [f"{number} of {name}" for name, number in found.most_common()]
        told += [f"{symbols} of w:sym"] if symbols else []
        if told:
            yield BadRow("", "left_out", f"elements that mammoth does not read: {', '.join(told)}")
        if num_hidden:
            yield BadRow("", "left_out", f"{num_hidden:,} runs of hidden text")


def _flatten_inner_tables(tree: Element) -> None:
    """Write a small table in a cell as words of the cell, so that it does not tear its row."""
    rows = [row for row in tree.iter("tr") if row.find("td//table") is not None]
    for row in rows:
        if all(len("".join(cell.itertext())) <= _MOST_IN_CELL for cell in row):
            inner = [each for table in row.iterfind(".//table") for each in table.iter()]
            for each in inner:
                each.tag = "span" if each.tag in ("p", "table", "tbody", "thead") else each.tag
                if each.tag in ("tr", "td", "th"):
                    each.tag, each.tail = "span", f" {each.tail or ''}"


def _mark_notes(tree: Element) -> None:
    """Show references to notes as [1], not as exponents, and take out the arrows back."""
    for element in tree.iter():
        link = element.find("a") if element.tag == "sup" else None
        if link is not None and _NOTE.match(link.get("href", "")):
            element.tag = "span"
        if element.tag == "a" and (found := _NOTE.match(element.get("href", ""))) and found[1]:
            element.text = ""
