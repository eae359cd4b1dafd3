"""Text of wikitext: what a reader of the page sees in its paragraphs, lists and tables.

    10<sup>-6</sup>, H<sub>2</sub>O    10^-6, H2O           {| … |- | 1 || 2 |}    a line for each row: 1 | 2
    [[Eye|eyes]], [http://a b]         eyes, b              * item                 - item
    {{nowrap|140/72}}                  140/72               == Heading ==          a line, if text follows

mwparserfromhell (MIT) parses; bots of Wikipedia use it. It expands no template and fetches nothing. Templates
go, except those whose words are their text, and a few that write numbers: {{frac|1|2}} 1/2, {{val|1.5|u=mg}}
1.5 mg, {{circa|1900}} c. 1900, {{chem|H|2|O}} H2O. What goes is counted by name.
References, files with their captions, categories and galleries go too. Formulas stay in LaTeX.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.wikicode import Wikicode

from plugins.readers.markup import text_of

ParserError = mwparserfromhell.parser.ParserError

_DROPPED = {
    *("ref", "references", "gallery", "timeline", "templatestyles", "imagemap", "graph", "score", "hiero"),
    *("inputbox", "section", "indicator", "mapframe", "maplink", "style", "script", "includeonly"),
}
_BLOCKS = {"p", "div", "center", "blockquote", "poem", "br", "hr", "ul", "ol", "dl"}
_STRUCK = {"s", "del", "strike"}
_VERBATIM = {"pre", "syntaxhighlight", "source"}
_SCRIPTS = {"sup", "sub"}
_DRESSING = {"nowrap", "nobr", "abbr", "small", "em", "lang", "math", "mvar", "chem2", *_SCRIPTS}
"""Templates whose only effect is the look or the language of their words."""

_DASH = " \u2013 "
_SIGNS = {
    **{"=": "=", "!": "|", "ndash": "\u2013", "mdash": "\u2014", "spaced ndash": _DASH, "snd": _DASH},
    **{"nbsp": " ", "minus": "\u2212", "times": "\u00d7", "pi": "\u03c0"},
}
"""Templates that are one character."""

_SHOWN_NAME = 40
_CHARGE = re.compile(r"\d*[+\-\u2212]")

_OF_VAL = {"u", "ul", "e", "fmt"}
_NUMBER = re.compile(r"[-−]?\d[\d.,]*")
_SWITCH = re.compile(r"__[A-Z]+__|~{3,5}")
_VARIANTS = re.compile(r"-\{(?:([^{}|]*)\|)?([^{}]*)\}-")
_VARIANT = re.compile(r"\s*[a-z]{2,3}(?:-[a-z]+)?:([^;]*)")
_UNCLOSED = re.compile(r"\{\{|^\{\|", re.MULTILINE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)?:\S")
_MARKS = "marks"  # attribute of a line: the signs of the list that it is an item of, such as "#*"
_VERBATIM_LINE, _LINE, _HEADING = "verbatim", "line", "heading"


def plain_text(wikitext: str, *, unread: Collection[str], tables: bool) -> tuple[str, Counter[str]]:
    """Return the text of a page, and the templates that were removed from it: `{{stub}}`.

    Of text in several scripts or variants of a language, `-{zh-hans:…;zh-hant:…}-`, the first is kept.
    Markup without its end stays as it is, and is counted among what was removed: `{{ without its end`.

    Args:
        wikitext: Source of the page.
        unread: Names of namespaces, in lower case, to which no link is read: files and categories.
        tables: False leaves tables out.

    Raises:
        ParserError: mwparserfromhell gives up.
    """
    page = _Page(unread, tables)
    page.add(mwparserfromhell.parse(wikitext))
    return "\n".join(page.texts()).strip(), page.removed


class _Page:
    """Lines under construction. A line is an XML element, so that markup.py writes its exponents."""

    def __init__(self, unread: Collection[str], tables: bool):
        self.removed: Counter[str] = Counter()
        self._unread = unread
        self._tables = tables
        self._lines = [Element(_LINE)]
        self._target = self._lines[0]  # the line, or a superscript in it
        self._in_cells = 0  # depth; a cell stays on the line of its row
        self._kind = _LINE
        self._has_gap = False  # True behind a number, where something was left out

    def texts(self) -> Iterator[str]:
        """Yield the lines, without headings that no text follows and repeated blank lines."""
        kept: list[str] = []
        _number(self._lines)
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
            text = _VARIANTS.sub(_first_variant, _SWITCH.sub("", str(node)))
            self.removed.update(f"{sign} without its end" for sign in _UNCLOSED.findall(text))
            self._write(text)
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
            self._leave_gap()
            return
        if name in ("table", "tr"):
            self._break()
            self.add(tag.contents)
            self._break()
        elif name == "nowiki":
            self._write(html.unescape(str(tag.contents)))
        elif name in ("td", "th"):
            self._cell(tag)
        elif name in _SCRIPTS:
            self._script(name, tag.contents)
        elif name in ("li", "dt", "dd"):
            if not tag.wiki_markup:
                self._break()
            is_open = bool(self._target.text or len(self._target))
            self._target.set(_MARKS, self._target.get(_MARKS, "") + (tag.wiki_markup or "*"))
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
            is_block = name in _BLOCKS
            apart = " " if name in _STRUCK else ""  # <s>5</s>6 is not 56
            self._break() if is_block else self._write(apart)
            self.add(tag.contents)
            if is_block and name != "br":
                self._break()
            self._write(apart)

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
        values = {str(each.name).strip(): each.value for each in template.params}
        words = [values.pop(str(at)) for at in range(1, len(values) + 1) if str(at) in values]
        text = _written(name, [str(each).strip() for each in words], values)
        if name in _SCRIPTS and words:
            self._script(name, words[0])
        elif name in _DRESSING and words:
            self.add(words[-1 if name == "lang" else 0])
        elif name == "chem" and words:
            for word in words:
                script = "sup" if _CHARGE.fullmatch(str(word)) else "sub" if str(word).isdecimal() else ""
                self._script(script, word) if script else self.add(word)
        elif text:
            if text[0].isdigit():
                self._leave_gap()
            self._write(text)
        else:
            self._leave_gap()
            self.removed[f"{{{{{name[:_SHOWN_NAME]}}}}}"] += 1

    def _write(self, text: str) -> None:
        if self._has_gap and text:
            text = f" {text}" if text[0].isdigit() else text
            self._has_gap = False
        first, *others = [text.replace("\n", " ")] if self._in_cells else text.split("\n")
        for at, part in enumerate((first, *others)):
            if at:
                self._break(self._kind)
            if len(self._target):
                last = self._target[-1]
                last.tail = (last.tail or "") + part
            else:
                self._target.text = (self._target.text or "") + part

    def _leave_gap(self) -> None:
        """Keep numbers apart where something between them goes: 5<ref>…</ref>6, 3{{frac|1|2}}."""
        before = (self._target[-1].tail if len(self._target) else self._target.text) or ""
        if before[-1:].isdigit():
            self._has_gap = True

    def _break(self, kind: str = _LINE, **attributes: str) -> None:
        """Begin a new line; inside a cell, add a space."""
        if self._in_cells:
            self._write(" ")
        else:
            self._target = Element(kind, attributes)
            self._lines.append(self._target)


def _written(name: str, words: list[str], named: Mapping[str, Any]) -> str:
    """Return the text of a template that writes a number or a sign, "" of others."""
    if name in _SIGNS:
        return _SIGNS[name]
    if name in ("circa", "c.", "circa.") and words:
        return _DASH.join(f"c. {word}" for word in words)
    if name in ("frac", "sfrac", "fraction") and 0 < len(words) < 4:
        *whole, top, bottom = ["1", *words] if len(words) == 1 else words
        return " ".join([*whole, f"{top}/{bottom}"])
    if (
        name == "val"
        and all(map(_NUMBER.fullmatch, words))
        and len(words) in (1, 2)
        and named.keys() <= _OF_VAL
    ):
        unit = str(named.get("u") or named.get("ul") or "").strip()
        number = "\u00b1".join(words)
        if power := str(named.get("e", "")).strip():
            number = f"({number})" if len(words) > 1 else number
            number += f"\u00d710^{power}"
        return f"{number} {unit}".strip()
    if name in ("convert", "cvt") and _is_one_quantity(words):
        return f"{words[0]} {words[1]}"
    return ""


def _number(lines: list[Element]) -> None:
    """Write the numbers of the items of numbered lists."""
    numbers: Counter[str] = Counter()
    for line in lines:
        marks = line.get(_MARKS, "")
        numbers = Counter({each: numbers[each] for each in numbers if marks.startswith(each)})
        if marks.endswith("#"):
            numbers[marks] += 1
            line.text = f"{numbers[marks]}. {(line.text or '').removeprefix('- ')}"


def _first_variant(found: re.Match[str]) -> str:
    flags, text = found[1] or "", found[2]
    if set(flags) & set("HT-D"):  # rules and titles, which a page does not show here
        return ""
    variant = _VARIANT.match(text)
    return variant[1].strip() if variant else text


def _is_one_quantity(words: list[str]) -> bool:
    """True for `{{convert|5|km|mi}}`; not for ranges, or feet and inches."""
    return len(words) > 1 and [bool(_NUMBER.fullmatch(each)) for each in words[:3]] in (
        [True, False],
        [True, False, False],
    )
