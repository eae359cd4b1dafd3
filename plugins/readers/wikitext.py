"""Text of wikitext: what a reader of the page sees in its paragraphs, lists and tables.

    10<sup>-6</sup>, H<sub>2</sub>O    10^-6, H2O           {| … |- | 1 || 2 |}    a line for each row: 1 | 2
    [[Eye|eyes]], [http://a b]         eyes, b              * item                 - item
    {{nowrap|140/72}}                  140/72               == Heading ==          a line, if text follows

mwparserfromhell (MIT) parses; bots of Wikipedia use it. It expands no template and fetches nothing. Templates
go, except those that only dress their words: a removed `{{val|1.5|e=-6}}` leaves a gap, not another number.
References, files with their captions, categories and galleries go too. Formulas stay in LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from plugins.readers.markup import text_of

ParserError = mwparserfromhell.parser.ParserError

_DROPPED = {
    *("ref", "references", "gallery", "timeline", "templatestyles", "imagemap", "graph", "score", "hiero"),
    *("inputbox", "section", "indicator", "mapframe", "maplink", "style", "script"),
}
_BLOCKS = {"p", "div", "center", "blockquote", "poem", "br", "hr", "ul", "ol", "dl"}
_VERBATIM = {"pre", "syntaxhighlight", "source"}
_SCRIPTS = {"sup", "sub"}
_DRESSING = {"nowrap", "nobr", "abbr", "small", "em", "lang", *_SCRIPTS}
"""Templates whose only effect is the look or the language of their words."""

_NUMBER = re.compile(r"[-−]?\d[\d.,]*")
_SWITCH = re.compile(r"__[A-Z]+__")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)?:\S")
_VERBATIM_LINE, _LINE, _HEADING = "verbatim", "line", "heading"


def plain_text(wikitext: str, *, unread: Collection[str], tables: bool) -> tuple[str, int]:
    """Return the text of a page, and the number of templates that were removed from it.

    Args:
        wikitext: Source of the page.
        unread: Names of namespaces, in lower case, to which no link is read: files and categories.
        tables: False leaves tables out.

    Raises:
        ParserError: mwparserfromhell gives up.
    """
    page = _Page(unread, tables)
    page.add(mwparserfromhell.parse(wikitext))
    return "\n".join(page.texts()).strip(), page.num_removed


class _Page:
    """Lines under construction. A line is an XML element, so that markup.py writes its exponents."""

    def __init__(self, unread: Collection[str], tables: bool):
        self.num_removed = 0
        self._unread = unread
        self._tables = tables
        self._lines = [Element(_LINE)]
        self._target = self._lines[0]  # the line, or a superscript in it
        self._in_cells = 0  # depth; a cell stays on the line of its row
        self._kind = _LINE

    def texts(self) -> Iterator[str]:
        """Yield the lines, without headings that no text follows and repeated blank lines."""
        kept: list[str] = []
        follows = 0.0  # level of the heading behind; infinite behind text
        for line in reversed(self._lines):
            text = text_of(line) if line.tag != _VERBATIM_LINE else line.text or ""
            level = float(line.get("level", "inf"))
            if line.tag != _HEADING and not text:
                if kept and kept[-1]:
                    kept.append("")
            elif line.tag != _HEADING or level < follows:
                follows = level
                kept.append(text)
        yield from reversed(kept)

    def add(self, code: Wikicode | None) -> None:
        """Add the nodes of parsed wikitext."""
        for node in code.nodes if code is not None else ():
            self._add(node)

    def _add(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Text):
            self._write(_SWITCH.sub("", str(node)))
        elif isinstance(node, nodes.Tag):
            self._tag(node)
        elif isinstance(node, nodes.Wikilink):
            self._link(node)
        elif isinstance(node, nodes.ExternalLink):
            self.add(node.title if node.brackets else node.url)
        elif isinstance(node, nodes.HTMLEntity):
            self._write(node.normalize())
        elif isinstance(node, nodes.Heading):
            self._break(_HEADING, level=str(node.level))
            self.add(node.title)
            self._break()
        elif isinstance(node, nodes.Template):
            self._template(node)

    def _tag(self, tag: nodes.Tag) -> None:
        name = str(tag.tag).strip().lower()
        if name in _DROPPED or (name == "table" and not self._tables):
            return
        if name in ("table", "tr"):
            self._break()
            self.add(tag.contents)
            self._break()
        elif name in ("td", "th"):
            self._cell(tag)
        elif name in _SCRIPTS:
            self._script(name, tag.contents)
        elif name in ("li", "dt", "dd"):
            if not tag.wiki_markup:
                self._break()
            is_open = bool(self._target.text or len(self._target))
            marks = {"li": "" if is_open else "- ", "dd": ": " if is_open else ""}
            self._write(marks.get(name, ""))
            self.add(tag.contents)
        elif name in _VERBATIM:
            self._break(_VERBATIM_LINE)
            self._kind = _VERBATIM_LINE
            self.add(tag.contents)
            self._kind = _LINE
            self._break()
        else:
            if name in _BLOCKS:
                self._break()
            self.add(tag.contents)
            if name in _BLOCKS and name != "br":
                self._break()

    def _cell(self, cell: nodes.Tag) -> None:
        if cell.wiki_markup == "|" and str(cell.contents).startswith("+"):  # the table's caption
            self.add(mwparserfromhell.parse(str(cell.contents)[1:].strip()))
            self._break()
            return
        if self._target.text or len(self._target):
            self._write(" | ")
        self._in_cells += 1
        self.add(cell.contents)
        self._in_cells -= 1

    def _script(self, name: str, code: Wikicode | None) -> None:
        line, self._target = self._target, SubElement(self._target, name)
        self._in_cells += 1
        self.add(code)
        self._in_cells -= 1
        self._target = line

    def _link(self, link: nodes.Wikilink) -> None:
        title = str(link.title).strip()
        if title.partition(":")[0].strip().lower() in self._unread:
            return
        if link.text is not None:
            self.add(link.text)
        elif not _LANGUAGE.match(title):
            self._write(title.lstrip(":"))

    def _template(self, template: nodes.Template) -> None:
        name = str(template.name).strip().lower()
        words: list[Any] = [each.value for each in template.params if not each.showkey]
        if name in _SCRIPTS and words:
            self._script(name, words[0])
        elif name in _DRESSING and words:
            self.add(words[-1 if name == "lang" else 0])
        elif name in ("convert", "cvt") and _is_one_quantity([str(each).strip() for each in words]):
            self._write(f"{str(words[0]).strip()} {str(words[1]).strip()}")
        else:
            self.num_removed += 1

    def _write(self, text: str) -> None:
        first, *others = [text.replace("\n", " ")] if self._in_cells else text.split("\n")
        for at, part in enumerate((first, *others)):
            if at:
                self._break(self._kind)
            if len(self._target):
                last = self._target[-1]
                last.tail = (last.tail or "") + part
            else:
                self._target.text = (self._target.text or "") + part

    def _break(self, kind: str = _LINE, **attributes: str) -> None:
        """Begin a new line; inside a cell, add a space."""
        if self._in_cells:
            self._write(" ")
        else:
            self._target = Element(kind, attributes)
            self._lines.append(self._target)


def _is_one_quantity(words: list[str]) -> bool:
    """True for `{{convert|5|km|mi}}`; not for ranges, or feet and inches."""
    return len(words) > 1 and [bool(_NUMBER.fullmatch(each)) for each in words[:3]] in (
        [True, False],
        [True, False, False],
    )
