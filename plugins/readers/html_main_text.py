"""Main text of an HTML page: trafilatura chooses its nodes.

trafilatura (Apache-2.0; its dependency tld is used under MPL-1.1) is maintained, keeps lists and tables that
resiliparse's heuristics drop, and takes a tree, so that a page is parsed once. It loses markup that carries
numbers (10<sup>6</sup> becomes 106), lists in cells and the lines of code with markup in it: these are
written as text before. Marks of notes and links to edit a section are taken out.

Cost: 3 ms of CPU for a page of 3 kB, nearly all of it in trafilatura.
"""

from __future__ import annotations

import functools
from typing import Any

from lxml import etree
from trafilatura import bare_extraction
from trafilatura.settings import Extractor

from plugins.readers.html_tree import note_marks
from plugins.readers.markup import LOOKS, SCRIPTS, Script, lines_of, pieces_of, written
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.mathml import name_of

_AROUND = etree.XPath(
    "descendant::*[@class][contains(@class, 'mw-editsection') or @class='reflist' or "
    "self::ol[contains(@class, 'references')]] | descendant::table[count(.//tr)=1 and count(.//a)>2 and "
    "not(.//text()[normalize-space()][not(ancestor::a)])]"
)
"""Links to edit a section, lists of references, and menus that are a table."""

_NUMBERED = etree.XPath("descendant::ol[@start or @reversed or @type or li/@value]")
_ITEMS_IN_CELLS = etree.XPath("descendant::td//li | descendant::th//li")
_LOOKS_ALONE = LOOKS - {"a"}
"""Inline elements that trafilatura does without. It counts links."""


def main_text(tree: Any) -> str:
    """Return the main text of a page, whose tree it changes; "" if the page has none."""
    for element in {*_AROUND(tree), *note_marks(tree)}:
        element.drop_tree()
    _write_scripts(tree)
    for numbers in _NUMBERED(tree):
        numbers.tag = "ul"  # trafilatura would number from 1
    for item in _ITEMS_IN_CELLS(tree):  # of which trafilatura keeps nothing
        item.tag, item.getparent().tag = "p", "div"
    for verbatim in tree.iter("pre"):  # whose white space trafilatura keeps if no element is in it
        text = lines_of(verbatim)
        del verbatim[:]
        verbatim.text = text
    for element in tree.iter(*_LOOKS_ALONE):
        if not element.attrib:  # classes tell trafilatura what a piece of text is
            element.tag = "dropped"
    etree.strip_tags(tree, "dropped")
    return blocks_of(getattr(bare_extraction(tree, options=_options()), "body", None))


@functools.cache
def _options() -> Extractor:
    """Return options of trafilatura; to make them takes a twentieth of its time for a page."""
    return Extractor(comments=False)


def _write_scripts(tree: Any) -> None:
    """Write each superscript, subscript and formula of a tree as text, by the text before and after it."""
    outer = (
        next(each for each in script.iterancestors() if name_of(each) not in LOOKS)
        for script in tree.iter(*SCRIPTS, "mml:math")
    )
    for block in dict.fromkeys(list(outer)):
        pieces: list[tuple[str | Script, Any]] = list(pieces_of(block))
        texts = written([piece for piece, _ in pieces])
        for text, (piece, element) in zip(texts, pieces, strict=True):
            if isinstance(piece, Script):
                element.clear(keep_tail=True)
                element.tag, element.text = "span", text
