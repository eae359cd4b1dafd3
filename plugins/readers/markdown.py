"""Markdown: a document a file, its markup taken out or kept.

Library: markdown-it-py (MIT), which follows CommonMark, with its tables. The reader lets it make HTML, of
which `markup_blocks.py` makes text, so that `10<sup>6</sup>` becomes 10^6; addresses of links and
pictures go, the text of links and code stays. A block between lines of `---` at the beginning gives fields,
not text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from markdown_it import MarkdownIt

from plugins.readers.base import BadRow, Row
from plugins.readers.html_tree import TooDeep, parse
from plugins.readers.markup import text_of
from plugins.readers.markup_blocks import UNSEEN, blocks_of
from plugins.readers.text import TextReader
from schemas.config import Section

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*\n", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"""^(title|author|date|lang)[ \t]*:[ \t]*["']?(.*?)["']?[ \t]*$""", re.MULTILINE)
_MOST_NESTED = 1_000
"""More than Python's stack has room for, because markdown-it silently passes over what is nested deeper."""

_PARSER = MarkdownIt("commonmark", {"maxNesting": _MOST_NESTED}).enable(["table", "strikethrough"])


class MarkupOptions(Section):
    """Options of readers `markdown` and `rst`.

    Attributes:
        keep_markup: True keeps the text of the file as it is; false takes its markup out.
    """

    keep_markup: bool = False


class MarkdownReader(TextReader):
    """Reads Markdown. Fields of a row: the text; `title`, `author`, `date`, `lang` if the file gives them."""

    own_fields = frozenset({"encoding"})
    extracts_itself = True
    Options = MarkupOptions

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        for row in super().rows(uri):
            if isinstance(row, Row):
                row = self._of(row.values)
            yield row

    def _of(self, values: Mapping[str, Any]) -> Row | BadRow:
        text = values[self.source.text_field].replace("\r\n", "\n")
        front = _FRONT.match(text)
        fields = dict(_FIELD.findall(front[1])) if front else {}
        try:
            tree = parse(_PARSER.render(text[front.end() :] if front else text))
            if heading := text_of(tree.find("h1")):
                fields.setdefault("title", heading)
            plain = text if self.options.keep_markup else blocks_of(tree, UNSEEN)
        except (TooDeep, RecursionError) as error:
            return BadRow("", "beyond_limits", str(error))
        return Row("", {**values, **fields, self.source.text_field: plain})


def plain_text(markdown: str) -> str:
    """Return the text of Markdown without its markup."""
    return blocks_of(parse(_PARSER.render(markdown)), UNSEEN)
