"""reStructuredText: a document a file, its markup taken out or kept.

Library: docutils (public domain and BSD-2-Clause). It makes HTML, of which `markup_blocks.py` makes text.
Directives that read files or write raw output are off, and no configuration file is read.
docutils drops the content of directives that it does not know, such as Sphinx's: a reject names each kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from docutils import nodes
from docutils.core import publish_doctree, publish_from_doctree
from docutils.writers.html5_polyglot import Writer

from plugins.readers.base import BadRow
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.text import MarkupReader

_ROLE = re.compile(r":[\w.:+-]+:`([^`<]*?)(?:\s*<[^>]*>)?`")
"""A role of Sphinx, such as :ref:`text <target>`; its text stays."""

_ERROR = 3
_SETTINGS = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "embed_stylesheet": False,
    "math_output": "LaTeX",
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": "",
    "output_encoding": "unicode",
    "smart_quotes": False,
}


class RstReader(MarkupReader):
    """Reads reStructuredText. Fields of a row: the text, and `title` if the file has one."""

    def plain(self, text: str) -> Iterator[Mapping[str, str] | BadRow]:
        document = publish_doctree(text, settings_overrides=_SETTINGS)
        for each in document.findall(nodes.problematic):
            each.children = [nodes.Text(_ROLE.sub(r"\1", each.astext()))]
        html = publish_from_doctree(document, writer=Writer(), settings_overrides=_SETTINGS)
        plain = text if self.options.keep_markup else blocks_of(visible(parse(str(html))))
        title = {"title": document["title"]} if document.get("title") else {}
        yield {**title, self.source.text_field: plain}
        messages = [*document.parse_messages, *document.transform_messages]
        left_out = Counter(kind for each in messages if (kind := _left_out(each)))
        if left_out and not self.options.keep_markup:
            names = ", ".join(f"{number} of {name}" for name, number in left_out.most_common())
            yield BadRow("", "left_out", f"docutils left out what it does not know or may not do: {names}")


def _left_out(message: nodes.system_message) -> str:
    """Return the kind of a message about dropped content, "" for one about anything else."""
    first = message.astext().splitlines()[0].partition(") ")[2]
    is_off = "disabled" in first or "deactivated" in first
    if "role" in first or not (message["level"] >= _ERROR or is_off):
        return ""
    return str(first).rstrip(".")
