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

import mammoth

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.documents_in_zip import BROKEN, Refused, about, open_zip
from plugins.readers.docx_runs import ready_for_mammoth
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup import TooDeep
from plugins.readers.markup_blocks import blocks_of

_CORE = "docProps/core.xml"
_BACK = re.compile("#(?:foot|end)note-ref-")
_LEFT_OUT = re.compile(r"unrecognised element was ignored: (?:\{.*\})?(\S+)")


class DocxReader(WholeFileReader):
    """Reads docx. Fields of a row: the text, and `title`, `author`, `language` if the file has them."""

    fields = frozenset({"title", "author", "language"})

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        try:
            with open_zip(data) as archive:
                core = archive.read(_CORE) if _CORE in archive.namelist() else b"<none/>"
                fields = about(ElementTree.fromstring(core))
            converted = mammoth.convert_to_html(ready_for_mammoth(data), convert_image=lambda image: [])
            tree = visible(parse(converted.value))
        except (Refused, TooDeep, RecursionError) as error:
            yield BadRow("", "beyond_limits", str(error))
            return
        except BROKEN as error:
            yield BadRow("", "not_docx", f"{type(error).__name__}: {error}")
            return
        for link in tree.iter("a"):
            if _BACK.match(link.get("href", "")):  # the arrow behind a note
                link.text = ""
        yield Row("", {**fields, self.source.text_field: blocks_of(tree)})
        found = Counter(found[1] for each in converted.messages if (found := _LEFT_OUT.search(each.message)))
        if found:
            names = ", ".join(f"{number} of {name}" for name, number in found.most_common())
            yield BadRow("", "left_out", f"elements that mammoth does not read: {names}")
