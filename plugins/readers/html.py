"""HTML pages: one document a file, its main text. `html_text.py` says how, and by which libraries."""

from __future__ import annotations

from collections.abc import Iterator

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.html_text import HtmlError, decode_page, has_tags, html_text


class HtmlReader(WholeFileReader):
    """Reads a page as one document. Fields of a row: the source's `text_field`, and `title`."""

    own_fields = frozenset({"encoding"})
    needs_html = True
    fields = frozenset({"title"})

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        yield self._row(data)

    def _row(self, data: bytes) -> Row | BadRow:
        if foreign := text_encoding.foreign(data, text_encoding.AUTO):
            return BadRow("", "not_html", foreign)
        try:
            page, fields = decode_page(data, self.source.encoding)
            if not has_tags(page):
                return BadRow("", "not_html", "no tag is in it. Reader text reads plain text")
            title, text = html_text(page)
        except (text_encoding.Undecodable, HtmlError) as error:
            return BadRow("", *error.args)
        if not text:
            return BadRow("", "no_main_text", "trafilatura finds no main text in the page")
        return Row("", {"title": title, **fields, self.source.text_field: text})
