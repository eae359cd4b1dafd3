"""Elements of HTML and XHTML, by lxml (BSD): nothing is fetched, expanded or executed.

lxml adds the tags that are missing, as browsers do. What a page shows as a superscript, a subscript or a
formula without saying so by an element gets that element here, so that no number changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import lxml.html
from lxml import etree

from plugins.readers.markup import TooDeep, text_of
from schemas.records import well_formed

_UNSEEN = (
    *("head", "script", "style", "template", "noscript", "svg", "iframe", "object"),
    *("audio", "canvas", "video", "rt", "rp"),
)
"""Elements that show no text of their own, and readings above a line of Chinese or Japanese."""

_SHOWN_AS_SCRIPT = etree.XPath(
    "descendant::*[@style][contains(@style, 'vertical-align')]"
    "[not(descendant-or-self::sup or descendant-or-self::sub)]"
)
_RAISED_OR_LOWERED = re.compile(r"vertical-align\s*:\s*(super|sub)\b", re.IGNORECASE)
_TEX = etree.XPath(
    "descendant::script[starts-with(@type, 'math/tex')] | descendant::img[@alt]"
    "[contains(concat(' ', @class, ' '), ' tex ') or contains(concat(' ', @class, ' '), ' latex ')]"
)
"""Formulas of MathJax, MediaWiki and WordPress, whose source is in the page."""

_TWINS = etree.XPath("descendant::span[@class='katex-html']")
"""Formulas a second time, for the eye."""

_PERHAPS_NOTES = etree.XPath(
    "descendant::sup[.//a[contains(@href, '#')] or starts-with(normalize-space(), '[')]"
)


def parse(html: str) -> Any:
    """Return the element `html` of a page, a piece of one, or nothing.

    Raises:
        TooDeep: Elements are nested deeper than lxml reads.
    """
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        tree = lxml.html.document_fromstring(well_formed(html).encode(), parser=parser)
    except etree.ParserError:  # nothing is in it
        return etree.Element("html")
    if any("depth" in each.message for each in parser.error_log):
        raise TooDeep("elements are nested deeper than 256")
    for element in _SHOWN_AS_SCRIPT(tree):
        if found := _RAISED_OR_LOWERED.search(element.get("style")):
            element.tag = {"super": "sup", "sub": "sub"}[found[1].lower()]
    for element in _TEX(tree):
        text = element.get("alt") or element.text
        element.clear(keep_tail=True)
        element.tag, element.text = "span", text
    for formula in tree.iter("math", "mml:math"):
        for outer in formula.iterancestors("span"):
            outer.attrib.pop("style", None)  # which hides it beside a picture
    for twin in _TWINS(tree):
        twin.drop_tree()
    for quote in tree.iter("q"):  # a browser shows the signs
        quote.tag, quote.text = "span", f'"{quote.text or ""}'
        quote.tail = f'"{quote.tail or ""}'
    return tree


def visible(tree: Any) -> Any:
    """Take what shows no text out of a tree, and write marks of notes as [1]; return the tree."""
    etree.strip_elements(tree, *_UNSEEN, with_tail=False)
    for mark in note_marks(tree):
        text = text_of(mark).strip("[] ")
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
