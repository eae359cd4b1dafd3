"""Elements of HTML and XHTML, by the standard library: nothing is fetched, expanded or executed.

End tags that are missing are added, others without a start are passed over. The elements are those of
`xml.etree`, of which `markup_blocks.py` makes text.
"""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

from schemas import limits

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_ENDED_BY = {
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "tr": {"tr", "td", "th"},
    "td": {"td", "th"},
    "th": {"td", "th"},
    "p": {"p"},
}
"""Elements whose start ends an open element of these kinds, if that is the innermost one."""


class TooDeep(ValueError):
    """Elements are nested deeper than `limits.MARKUP_DEPTH`."""


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.builder = TreeBuilder()
        self.open: list[str] = []
        self.counts: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = tag.rpartition(":")[2]  # m:math of XHTML
        while self.open and self.open[-1] in _ENDED_BY.get(name, ()):
            self._end(self.open[-1])
        if len(self.open) >= limits.MARKUP_DEPTH:
            raise TooDeep(f"elements are nested deeper than {limits.MARKUP_DEPTH}")
        self.builder.start(name, {key: value or "" for key, value in attrs})
        self.open.append(name)
        self.counts[name] += 1
        if name in _VOID:
            self._end(name)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if (name := tag.rpartition(":")[2]) not in _VOID:
            self._end(name)

    def handle_endtag(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        while self.counts[name]:
            closed = self.open[-1]
            self._end(closed)
            if closed == name:
                break

    def handle_data(self, data: str) -> None:
        self.builder.data(data)

    def _end(self, name: str) -> None:
        self.builder.end(name)
        self.open.pop()
        self.counts[name] -= 1


def parse(html: str) -> Element:
    """Return the tree of a document or a piece of one, in an element `html` of its own.

    Raises:
        TooDeep: Elements are nested too deeply.
    """
    tree = _Tree()
    tree.handle_starttag("html", [])
    tree.feed(html)
    tree.close()
    while tree.open:
        tree._end(tree.open[-1])
    return tree.builder.close()
