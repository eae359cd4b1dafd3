"""Elements and readable text of HTML and XHTML, by the standard library.

    HTML ─► tree: end tags that are missing are added, others without a start are passed over
         ─► text: paragraphs apart by a blank line, `- ` before list items, ` | ` between cells
 The tree's elements are those of `xml.etree`, so that markup.py keeps numbers as they are. Nothing is
fetched, expanded or executed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

from plugins.readers.markup import text_of
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

_UNSEEN = {"head", "script", "style", "template", "noscript"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt"),
    *("figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li"),
    *("main", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
}


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


def readable(element: Element) -> str:
    """Return the text of an element and all blocks in it."""
    lines = [line for line in _blocks(element, "") if line.strip(" -|") or not line]
    before = ["", *lines]
    return "\n".join(line for line, above in zip(lines, before, strict=False) if line or above).strip("\n")


def _blocks(element: Element, indent: str) -> Iterator[str]:
    """Yield lines; "" is a paragraph's end."""
    if element.tag in _UNSEEN:
        return
    if element.tag == "pre":
        yield from ("", *"".join(element.itertext()).strip("\n").splitlines(), "")
        return
    if element.tag == "tr":
        yield " | ".join(text_of(cell) for cell in element)
        return
    if element.tag in ("ul", "ol", "dl"):
        yield from _items(element, indent)
        if not indent:
            yield ""
        return
    inline = Element("span")
    inline.text = element.text
    is_paragraph = element.tag in _BLOCKS and element.tag not in ("li", "dt", "dd")
    if is_paragraph:
        yield ""
    for child in element:
        if child.tag not in _BLOCKS and not any(each.tag in _BLOCKS for each in child.iter()):
            if child.tag not in _UNSEEN:
                inline.append(child)
            else:
                _add_text(inline, child.tail)
            continue
        yield from filter(None, (text_of(inline),))
        yield from _blocks(child, indent)
        inline = Element("span")
        inline.text = child.tail
    yield from filter(None, (text_of(inline),))
    if is_paragraph:
        yield ""


def _add_text(inline: Element, text: str | None) -> None:
    if len(inline):
        inline[-1].tail = f"{inline[-1].tail or ''}{text or ''}"
    else:
        inline.text = f"{inline.text or ''}{text or ''}"


def _items(element: Element, indent: str) -> Iterator[str]:
    number = int(element.get("start", "1")) if element.get("start", "1").isdigit() else 1
    for child in element:
        mark = f"{number}. " if element.tag == "ol" else "" if element.tag == "dl" else "- "
        lines = [line for line in _blocks(child, f"{indent}  ") if line]
        for at, line in enumerate(lines):
            if at:
                yield line if line.startswith(" ") else f"{indent}{' ' * len(mark)}{line}"
            else:
                yield f"{indent}{mark}{line}"
        number += child.tag == "li"
