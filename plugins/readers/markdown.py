"""Markdown: a document a file, its markup taken out or kept.

Library: markdown-it-py (MIT), which follows CommonMark, with its tables. The reader lets it make HTML, of
which `markup_blocks.py` makes text, so that `10<sup>6</sup>` becomes 10^6; addresses of links and
pictures go, the text of links and code stays. A YAML mapping between lines of `---` at the beginning gives
fields, not text; what else is between such lines is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from plugins.readers.base import BadRow
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup import text_of
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.text import MarkupReader

_FRONT = re.compile(r"\A---[ \t]*\n(?=\S)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_MOST_FRONT = 1 << 16
"""Characters of front matter; PyYAML takes a second for ten times as many."""

_PRODUCT = re.compile(r"(?<=\d)\*(?=\d)")
_FIELDS = ("title", "author", "date", "lang")
_MOST_NESTED = 1_000
"""More than Python's stack has room for, because markdown-it silently passes over what is nested deeper."""


def _link_definition(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Take `[name]: address` for a definition, but no footnote: `[^1]: Yes.` would vanish."""
    at = state.bMarks[first] + state.tShift[first]
    return not state.src.startswith("[^", at) and reference(state, first, last, silent)


def _product(state: StateInline, silent: bool) -> bool:
    """Keep an asterisk between two digits: 2*3*4 is no 234."""
    if not _PRODUCT.match(state.src, state.pos):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


_PARSER = MarkdownIt("commonmark", {"maxNesting": _MOST_NESTED}).enable(["table", "strikethrough"])
_PARSER.block.ruler.at("reference", _link_definition)
_PARSER.inline.ruler.before("emphasis", "product", _product)


class MarkdownReader(MarkupReader):
    """Reads Markdown. Fields of a row: the text; `title`, `author`, `date`, `lang` if the file gives them."""

    def plain(self, text: str) -> Iterator[Mapping[str, str] | BadRow]:
        fields, bare, left_out = _front_matter(text)
        tree = visible(parse(_rendered(bare)))
        if heading := text_of(tree.find("body/h1")):
            fields.setdefault("title", heading)
        yield {
            **fields,
            self.source.text_field: text if self.options.keep_markup else blocks_of(tree),
        }
        if left_out and not self.options.keep_markup:
            yield BadRow("", "left_out", f"keys of its front matter: {', '.join(left_out)}")


def _rendered(markdown: str) -> str:
    """Return HTML whose lists have the numbers as they are written, unless all items of one have the same."""
    tokens = _PARSER.parse(markdown)
    items: dict[int, list[Token]] = {}
    for token in tokens:
        if token.type == "ordered_list_open":
            items[token.level] = []
        elif token.type == "list_item_open" and token.info:
            items[token.level - 1].append(token)
        elif token.type == "ordered_list_close" and len({each.info for each in items[token.level]}) > 1:
            for item in items[token.level]:
                item.attrSet("value", item.info)
    return str(_PARSER.renderer.render(tokens, _PARSER.options, {}))


def _front_matter(text: str) -> tuple[dict[str, str], str, list[str]]:
    """Return the fields of a file's front matter, the text without it, and the keys that give no field."""
    front = _FRONT.match(text)
    if front is None or len(front[1]) > _MOST_FRONT:
        return {}, text, []
    try:
        found: Any = yaml.load(front[1], Loader=yaml.BaseLoader)  # makes strings, lists and mappings only
    except (yaml.YAMLError, RecursionError):
        return {}, text, []
    if not isinstance(found, dict):
        return {}, text, []
    named = {name: found[name] for name in _FIELDS if name in found}
    fields = {
        name: ", ".join(map(str, each)) if isinstance(each, list) else each for name, each in named.items()
    }
    fields = {name: each for name, each in fields.items() if isinstance(each, str) and each}
    return fields, text[front.end() :], [str(name) for name in found if name not in fields and found[name]]


def plain_text(markdown: str) -> str:
    """Return the text of Markdown without its markup."""
    return blocks_of(visible(parse(_rendered(markdown))))
