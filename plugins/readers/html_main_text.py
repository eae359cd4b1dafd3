"""Main text of an HTML page: trafilatura chooses its nodes.

trafilatura (Apache-2.0; its dependency tld is used under MPL-1.1) is maintained, keeps lists and tables that
resiliparse's heuristics drop, and takes a tree, so that a page is parsed once. It loses markup that carries
numbers (10<sup>6</sup> becomes 106), dates within a sentence, lists in cells, figures, and the lines of code
with markup in it; of a thread it may keep one post, of a page that a table arranges one line. So the tree is
changed before. Marks of notes, links to edit a section and hidden elements are taken out. trafilatura drops
blocks with equal texts and the numbers of items, too: so each block bears a character of its own meanwhile.

Cost: 3 ms of CPU for a page of 3 kB, nearly all of it in trafilatura.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from typing import Any

import trafilatura.core
from lxml import etree
from trafilatura import bare_extraction
from trafilatura.baseline import basic_cleaning
from trafilatura.settings import Extractor
from trafilatura.xml import delete_element
from trafilatura.xpaths import BODY_XPATH

from plugins.readers.html_tree import note_marks, visible
from plugins.readers.markup import LOOKS, SCRIPTS, Script, lines_of, pieces_of, text_of, written
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.mathml import name_of

_AROUND = etree.XPath(
    "descendant::*[@class][contains(@class, 'mw-editsection') or @class='reflist' or "
    "self::ol[contains(@class, 'references')]] | descendant::table[count(.//tr)=1 and count(.//a)>2 and "
    "not(.//text()[normalize-space()][not(ancestor::a)])] | "
    "descendant::a[starts-with(@href, '#')][translate(normalize-space(), '¶#§🔗', '')='']"
    "[parent::h1 or parent::h2 or parent::h3 or parent::h4 or parent::h5 or parent::h6]"
)
"""Links to edit a section or to a heading, lists of references, and menus that are a table."""

_POSTS = etree.XPath(
    "descendant::h2[@class='topic-title'] | descendant::h1[../@id='topic-title' or ../@class='p-title'] | "
    "descendant::div[@class='content'][ancestor::div[@class='postbody']] | "
    "descendant::article[contains(@class, 'message-body')] | "
    "descendant::div[@class='post'][contains(../@class, 'crawler-post')]"
)
"""Titles and posts of threads, as phpBB, XenForo and Discourse write them. trafilatura may keep one post."""

_LAYOUTS = etree.XPath(
    "descendant::table[descendant::table or descendant::*[self::td or self::th][count(descendant::p) > 2]]"
)
_OF_CELLS = ("thead", "tbody", "tfoot", "tr", "td", "th")
_TIMES_IN_TEXT = etree.XPath(
    "descendant::time[../text()[string-length(normalize-space()) > 20] or (parent::p or parent::li or "
    "parent::td) and string-length(normalize-space(..)) - string-length(normalize-space()) > 20]"
)
_FIGURES_OF_TEXT = etree.XPath("descendant::figure[normalize-space()]")
_HIDDEN = etree.XPath(
    "descendant::template | descendant::*[@hidden][not(@hidden='until-found')][not(.//math)]"
)
_LINKED_HEADINGS = etree.XPath("descendant::h1[descendant::a or ancestor::a]")
"""Names of sites, unless the title begins with them."""

_JOINED = " or ".join(
    f"self::{each}" for each in ["div", "address", "aside", "nav", "footer", "form", "fieldset", "figure"]
)
"""Blocks that trafilatura joins to the text around them, or takes out of it."""

_AFTER_TEXT, _BEFORE_TEXT = (
    etree.XPath(f"descendant::*[{_JOINED}][{side}-sibling::node()[1][self::text()][normalize-space()]]")
    for side in ("preceding", "following")
)
_PROSE = etree.XPath("descendant::p[string-length(normalize-space()) > 60]")
_MOST = 0.8
"""Share of a page's prose that its main element holds."""

_LISTS_IN_CELLS = etree.XPath("descendant::td//li | descendant::td//ul | descendant::td//ol")
_FAILED = "discarding data: %s"
"""What trafilatura logs, without the name of the page, where `NotExtracted` is raised."""

_FIRST_MARK, _LAST_MARK = 0x100000, 0x10FFFD  # the last plane, which html_tree replaces in pages
_MARK = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}]")
_MARKED = (
    "p",
    "li",
    "dt",
    "dd",
    "td",
    "th",
    "caption",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "pre",
)
_WRITTEN = "styled-content"
"""A name for what is text from now on, one of LOOKS and none of HTML."""


class NotExtracted(Exception):
    """trafilatura failed at a page."""


def main_text(tree: Any, title: str) -> str:
    """Return the main text of a page, whose tree it changes; "" if the page has none.

    Raises:
        NotExtracted: trafilatura failed.
    """
    for element in {*_AROUND(tree), *note_marks(tree), *_HIDDEN(tree)}:
        element.drop_tree()
    headings = [text_of(each) for each in tree.iter("h1")]
    is_of_page = len(headings) == 1 and (title.startswith(headings[0]) or not _LINKED_HEADINGS(tree))
    if len(posts := _POSTS(tree)) > 1:
        visible(tree)
        return "\n\n".join(filter(None, map(blocks_of, posts)))
    for element in _of_layouts(tree):
        element.tag = "div"  # a page that a table arranges would be a row
    for figure in _FIGURES_OF_TEXT(tree):  # trafilatura drops all but tables
        figure.tag = "div"
        for caption in figure.iter("figcaption"):
            caption.tag = "div" if any(name_of(each) not in LOOKS for each in caption) else "p"
    for time in _TIMES_IN_TEXT(tree):  # dropped, too: right for bylines only
        time.tag = _WRITTEN
    _write_scripts(tree)
    for element in _LISTS_IN_CELLS(tree):  # of which trafilatura keeps nothing
        element.tag = "p" if element.tag == "li" else "div"
    for verbatim in tree.iter("pre"):  # whose white space trafilatura keeps if no element is in it
        text = lines_of(verbatim)
        del verbatim[:]
        verbatim.text = text
    for block in _AFTER_TEXT(tree):
        line = etree.Element("br")
        line.tail = " "
        block.addprevious(line)
    for block in _BEFORE_TEXT(tree):
        line = etree.Element("br")
        line.tail, block.tail = f" {block.tail}", None  # of items trafilatura drops the break
        block.addnext(line)
    _name_article(tree)
    labels = _mark(tree)
    body = getattr(bare_extraction(tree, options=_options()), "body", None)
    if body is None:
        raise NotExtracted("trafilatura could not read the page")
    for flat in [each for each in body if "\n" in (each.text or "") and not _MARK.search(each.text)]:
        body.replace(flat, _unflattened(flat, visible(basic_cleaning(tree))))
    text = blocks_of(_without_marks(body, labels))
    if text and is_of_page and headings[0] not in (" ".join(each.split()) for each in text.split("\n\n")):
        return f"{headings[0]}\n\n{text}"  # it stands before the article
    return text


def _name_article(tree: Any) -> None:
    """Make the smallest element with most of a page's prose its article, unless trafilatura finds one.

    trafilatura keeps headings and lists only in what it takes for the article.
    """
    if any(named(tree) for named in BODY_XPATH):
        return
    sizes: Counter[Any] = Counter()  # of the prose in each element
    total = 0
    for paragraph in _PROSE(tree):
        size = len(paragraph.text_content())
        total += size
        for element in paragraph.iterancestors():
            sizes[element] += size
    article = inner = tree.find("body")
    while inner is not None:
        article = inner
        parts = (each for each in article if each.tag in ("div", "section"))
        inner = next((each for each in parts if sizes[each] >= _MOST * total), None)
    if article is None or not total:
        return
    if article.tag == "body":
        inner = etree.Element("div")
        inner.text, article.text = article.text, None
        inner.extend(list(article))
        article.append(inner)
        article = inner
    article.set("itemprop", "articleBody")


def _unflattened(flat: Any, tree: Any) -> Any:
    """Return the body or article of a short page that trafilatura made one paragraph, else that."""
    return next((each for each in tree.iter("body", "article") if _letters(each) == _letters(flat)), flat)


def _letters(element: Any) -> str:
    return "".join(filter(str.isalnum, "".join(element.itertext())))


def _of_layouts(tree: Any) -> list[Any]:
    """Return the tables that arrange a page, with their rows and cells, without the tables in these."""
    if not (layouts := set(_LAYOUTS(tree))):
        return []
    return [
        *layouts,
        *(each for each in tree.iter(*_OF_CELLS) if next(each.iterancestors("table"), None) in layouts),
    ]


@functools.cache
def _options() -> Extractor:
    """Return options of trafilatura; to make them takes a twentieth of its time for a page."""
    options = Extractor(comments=False)
    options.min_output_size = 0  # a page without main text is no failure
    logging.getLogger(trafilatura.core.__name__).addFilter(lambda line: line.msg != _FAILED)
    return options


def _mark(tree: Any) -> dict[str, str]:
    """Begin each block of text with a character of its own; return the labels of items by these.

    trafilatura drops a block whose text equals an earlier one, and the numbers of items.
    """
    labels = {}
    blocks = (each for each in tree.iter(*_MARKED) if each.text or len(each))
    for code, block in zip(range(_FIRST_MARK, _LAST_MARK), blocks, strict=False):
        if (block.text or "").strip() or any(text.strip() for text in block.itertext()):
            block.text = chr(code) + (block.text or "")
            labels[chr(code)] = block.get("n", "")
    return labels


def _without_marks(body: Any, labels: dict[str, str]) -> Any:
    """Take the characters of `_mark` out of a tree, and give its items their labels; return the tree."""
    for item in body.iter("item"):
        mark = next(map(_MARK.match, item.itertext()), None)
        if mark and (label := labels.get(mark[0])):
            item.set("n", label)
    seen: set[str] = set()
    for element in list(body.iter()):
        if element.text and element.text[0] in seen:
            delete_element(element)  # trafilatura gives some blocks twice
            continue
        seen.update(_MARK.findall(element.text or ""))
        element.text = element.text and _MARK.sub("", element.text)
        element.tail = element.tail and _MARK.sub("", element.tail)
    return body


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
                element.tag, element.text = _WRITTEN, text
    etree.strip_tags(tree, _WRITTEN)
