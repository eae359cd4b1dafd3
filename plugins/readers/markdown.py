"""Markdown: a document a file, its markup taken out or kept.

Library: markdown-it-py (MIT), which follows CommonMark, with its tables. The reader lets it make HTML, of
which `markup_blocks.py` makes text, so that `10<sup>6</sup>` becomes 10^6; addresses of links and
pictures go, the text of links and code stays. A block between lines of `---` at the beginning gives fields,
not text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from markdown_it import MarkdownIt

from plugins.readers.base import BadRow
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup import text_of
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.text import MarkupReader

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*\n", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"""^(title|author|date|lang)[ \t]*:[ \t]*["']?(.*?)["']?[ \t]*$""", re.MULTILINE)
_MOST_NESTED = 1_000
"""More than Python's stack has room for, because markdown-it silently passes over what is nested deeper."""

_PARSER = MarkdownIt("commonmark", {"maxNesting": _MOST_NESTED}).enable(["table", "strikethrough"])


class MarkdownReader(MarkupReader):
    """Reads Markdown. Fields of a row: the text; `title`, `author`, `date`, `lang` if the file gives them."""

    def plain(self, text: str) -> Iterator[Mapping[str, str] | BadRow]:
        front = _FRONT.match(text)
        fields = dict(_FIELD.findall(front[1])) if front else {}
        tree = visible(parse(_PARSER.render(text[front.end() :] if front else text)))
        if heading := text_of(tree.find("body/h1")):
            fields.setdefault("title", heading)
        yield {
            **fields,
            self.source.text_field: text if self.options.keep_markup else blocks_of(tree),
        }


def plain_text(markdown: str) -> str:
    """Return the text of Markdown without its markup."""
    return blocks_of(visible(parse(_PARSER.render(markdown))))
