"""Elements of HTML and XHTML, by lxml (BSD): nothing is fetched, expanded or executed.

lxml adds the tags that are missing, as browsers do. What a page shows as a superscript, a subscript or a
formula without saying so by an element gets that element here, so that no number changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from typing import Any

import lxml.html
from lxml import etree

from plugins.readers.markup import LOOKS, TooDeep, text_of
from plugins.readers.mathml import name_of
from schemas.records import well_formed

_UNSEEN = (
    *("head", "script", "style", "template", "noscript", "svg", "iframe", "object"),
    *("audio", "canvas", "video", "rt", "rp"),
)
"""Elements that show no text of their own, and readings above a line of Chinese or Japanese."""

_NOT_IN_XML = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\U00100000-\U0010fffd]"
"""Characters that no text of lxml may have, and those of the last plane, which have no meaning here."""

_PERHAPS_NOT_IN_XML = re.compile(rf"{_NOT_IN_XML}|&#[xX]?[0-9a-fA-F]{{1,8}};?")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_FRACTION_LINE = re.compile(r"⁄|&frasl;|&#8260;|&#x2044;", re.IGNORECASE)
_ROMAN = {1000: "m", 900: "cm", 500: "d", 400: "cd", 100: "c", 90: "xc", 50: "l", 40: "xl", 10: "x"}
_ROMAN |= {9: "ix", 5: "v", 4: "iv", 1: "i"}
_BREAK_ENDS = re.compile(r"</br\s*>", re.IGNORECASE)  # a break, too, to browsers
_WORD_BREAKS = re.compile(r"</?wbr\s*/?>", re.IGNORECASE)  # places within a word
_SHOWN_AS_SCRIPT = etree.XPath(
    "descendant::*[@style][contains(@style, 'vertical-align') or contains(@style, 'relative')]"
    "[not(descendant-or-self::sup or descendant-or-self::sub)]"
)
_RAISED_OR_LOWERED = re.compile(
    r"vertical-align\s*:\s*(?:(?P<sup>super\b)|(?P<sub>sub\b)|(?P<by>[+-]?[\d.]+))|"
    r"(?<![\w-])(?:top\s*:\s*(?P<down>[+-]?[\d.]+)|bottom\s*:\s*(?P<up>[+-]?[\d.]+))",
    re.IGNORECASE,
)
_MOST_SHIFTED = 16  # characters that a length raises or lowers; more are no script
_TEX = etree.XPath(
    "descendant::script[starts-with(@type, 'math/tex')] | descendant::img[@alt]"
    "[contains(concat(' ', @class, ' '), ' tex ') or contains(concat(' ', @class, ' '), ' latex ')]"
)
"""Formulas of MathJax, MediaWiki and WordPress, whose source is in the page."""

_TWINS = etree.XPath("descendant::span[@class='katex-html']")
"""Formulas a second time, for the eye."""

_PERHAPS_NOTES = etree.XPath(
    "descendant::sup[.//a[contains(@href, '#')] or starts-with(normalize-space(), '[')] | "
    "descendant::a[not(ancestor::sup)][@role='doc-noteref' or contains(@*[name()='epub:type'], 'noteref') or "
    "contains(@class, 'footnote-ref')]"
)


def parse(html: str) -> Any:
    """Return the element `html` of a page, a piece of one, or nothing.

    Raises:
        TooDeep: Elements are nested deeper than lxml reads.
    """
    html = _WORD_BREAKS.sub("", html)
    html = _BREAK_ENDS.sub("<br>", _PERHAPS_NOT_IN_XML.sub(_in_xml, well_formed(html)))
    if html.lstrip().startswith("<?xml"):
        html = _CDATA.sub(lambda found: escape(found[1]), html)  # a comment in HTML
    html = _FRACTION_LINE.sub("/", html)
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        tree = lxml.html.document_fromstring(html.encode(), parser=parser)
    except etree.ParserError:  # nothing is in it
        return etree.Element("html")
    if any("depth" in each.message for each in parser.error_log):
        raise TooDeep("elements are nested deeper than 256")
    for element in _SHOWN_AS_SCRIPT(tree):
        element.tag = _script_shown(element) or element.tag
    for element in _TEX(tree):
        text = element.get("alt") or element.text
        element.clear(keep_tail=True)
        element.tag, element.text = "span", text
    for formula in tree.iter("math", "mml:math"):
        for outer in formula.iterancestors("span"):
            outer.attrib.pop("style", None)  # which hides it beside a picture
    for twin in _TWINS(tree):
        twin.drop_tree()
    for numbered in tree.iter("ol"):
        _number(numbered)
    for quote in tree.iter("q"):  # a browser shows the signs
        quote.tag, quote.text = "span", f'"{quote.text or ""}'
        quote.tail = f'"{quote.tail or ""}'
    return tree


def _number(numbered: Any) -> None:
    """Give each item of a list the label that browsers show, as TEI does: n="3."."""
    if "none" in numbered.get("style", ""):
        return
    items = [each for each in numbered if name_of(each) == "li"]
    is_reversed = numbered.get("reversed") is not None
    number = _integer(numbered.get("start"), len(items) if is_reversed else 1)
    for item in items:
        number = _integer(item.get("value"), number)
        item.set("n", f"{_label(number, numbered.get('type', '1'))}.")
        number += -1 if is_reversed else 1


def _integer(value: str | None, default: int) -> int:
    return int(value) if value and re.fullmatch(r"-?[0-9]{1,9}", value) else default


def _label(number: int, kind: str) -> str:
    """Return a number as `type` of a list wants it: 4, d, D, iv or IV."""
    label = ""
    if kind in ("i", "I") and 0 < number < 4_000:
        for value, digits in _ROMAN.items():
            label += digits * (number // value)
            number %= value
    elif kind in ("a", "A") and number > 0:
        while number:
            number, letter = divmod(number - 1, 26)
            label = chr(ord("a") + letter) + label
    return (label.upper() if kind.isupper() else label) or str(number)


def _script_shown(element: Any) -> str:
    """Return `sup` or `sub` for what a style raises or lowers, else ""."""
    for found in _RAISED_OR_LOWERED.finditer(element.get("style")):
        if found["sup"] or found["sub"]:
            return "sup" if found["sup"] else "sub"
        if name_of(element) in LOOKS and len(text_of(element)) <= _MOST_SHIFTED:
            shift = (found["by"] or found["up"] or found["down"]).strip(".")
            if shift.strip("+-0."):
                return "sub" if shift.startswith("-") != bool(found["down"]) else "sup"
    return ""


def _in_xml(found: re.Match[str]) -> str:
    """Return a character or its reference; white space or U+FFFD for it, if it may be in no text."""
    character = unescape(found[0])
    if character and not re.match(_NOT_IN_XML, character):
        return found[0]
    return " " if character.isspace() else "\ufffd"


def visible(tree: Any) -> Any:
    """Take what shows no text out of a tree, and write marks of notes as [1]; return the tree."""
    etree.strip_elements(tree, *_UNSEEN, with_tail=False)
    for mark in note_marks(tree):
        text = text_of(mark).strip("[]^ ")
        mark.clear(keep_tail=True)
        mark.tag, mark.text = "span", f"[{text}]"
    return tree


def note_marks(tree: Any) -> Iterator[Any]:
    """Yield the superscripts that refer to a note: a link to a place in a page, or text in brackets."""
    for mark in _PERHAPS_NOTES(tree):
        text = text_of(mark)
        outside = "".join(mark.xpath(".//text()[not(ancestor::a)]")).strip("[](), \n")
        if text and (not outside or (text[0], text[-1]) == ("[", "]")):
            yield mark
