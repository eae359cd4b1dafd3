"""Main text of an HTML page, as readable plain text.

    bytes ─► encoding_of_page ─► lxml ─► markup that carries numbers ─► trafilatura ─► blocks_of
             mark, header,       tree    written as text: 10^6, H2O,    which nodes    paragraphs, lists,
             meta, content               140/72                         are main text  rows of tables

trafilatura (Apache-2.0; its dependency tld is used under MPL-1.1) chooses the nodes: it is maintained, keeps
lists and tables that resiliparse's heuristics drop, and takes a tree, so that a page is parsed once. lxml
(BSD) parses. Both lose markup that carries numbers (10<sup>6</sup> becomes 106), so that is written as text
before, and the nodes that trafilatura chose are written by `markup_blocks.py`.

Cost: 4 ms of CPU for a page of 3 kB, most of it in trafilatura. Nothing is fetched: lxml reads no network and
HTML declares no entities of its own.
"""

from __future__ import annotations

import codecs
import html
import importlib.util
import re
from typing import Any, NamedTuple

from plugins.readers import text_encoding
from plugins.readers.markup import LOOKS, SCRIPTS, Script, name_of, script_of, text_of, written
from plugins.readers.markup_blocks import UNSEEN, blocks_of
from schemas import limits
from schemas.errors import missing_package
from schemas.records import well_formed

_HEAD_BYTES = 4096
_DECLARED = re.compile(
    rb"""<(?:meta\s|\?xml\s)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_ON_THE_WEB = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "utf-8"),  # the declaration was read as ASCII
    **{"shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs", "iso8859-9": "cp1254"},
}
"""What an encoding's name means in a page, by the WHATWG standard."""

_PAGE = re.compile(r"<(?:!doctype\s|html\b|body\b)", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>")  # not <name@host>
_FOOTNOTE = re.compile(r"\[[^\[\]]*\]")
_KEPT = frozenset("a")
"""Inline elements that stay: trafilatura counts links."""


class HtmlError(Exception):
    """A page that cannot be read. Its arguments: a reason, and details."""


class HtmlText(NamedTuple):
    """Text of a page: "" if nothing in it is main text. `title` may be ""."""

    title: str
    text: str


def check_installed() -> None:
    """Refuse to read HTML without its libraries.

    Raises:
        ConfigError: lxml or trafilatura is not installed.
    """
    for name in ("lxml", "trafilatura"):
        if importlib.util.find_spec(name) is None:
            raise missing_package("reader 'html'", ImportError(f"no module named {name!r}", name=name))


def decode_page(data: bytes, wanted: str | None = None, header: str = "") -> tuple[str, dict[str, str]]:
    """Decode the bytes of a page; return its text, and with `auto` the fields of `text_encoding`.

    The first of these decides: an encoding that the source names; a byte order mark; bytes beyond ASCII that
    are valid UTF-8; `charset` in the HTTP header; the page's own declaration; text_encoding's guess.

    Args:
        data: The page.
        wanted: The source's `encoding`.
        header: The HTTP header Content-Type, if the caller has it: "text/html; charset=Shift_JIS".

    Raises:
        text_encoding.Undecodable: Some bytes are no text in the encoding.
    """
    if wanted not in (None, text_encoding.AUTO):
        return text_encoding.decode(data, wanted)
    declared = "" if text_encoding.is_marked(data) or _is_beyond_ascii(data) else _declared(data, header)
    text, fields = text_encoding.decode(data, declared or text_encoding.AUTO)
    if declared:
        fields = dict(zip(text_encoding.FIELDS, (declared, "1.00"), strict=True))
    return text, fields if wanted else {}


def has_tags(page: str) -> bool:
    """True if a text holds a tag of HTML."""
    return _TAG.search(page) is not None


def html_text(page: str, *, main_only: bool | None = None) -> HtmlText:
    """Return the title and the text of a page, or of a fragment of one.

    Args:
        page: HTML, decoded. A value without any tag keeps its lines; only entities are resolved.
        main_only: True leaves out navigation, boilerplate and comments; False keeps all visible text. None
            is True for a page, and False for a fragment without `<html>` or `<body>`.

    Raises:
        HtmlError: `nested_too_deeply` or `record_too_long`.
    """
    if len(page) > limits.HTML_CHARACTERS:
        detail = f"it has {len(page):,} characters; a page may have {limits.HTML_CHARACTERS:,}"
        raise HtmlError("record_too_long", detail)
    if not has_tags(page):
        return HtmlText("", html.unescape(page))
    if main_only is None:
        main_only = _PAGE.search(page) is not None
    tree = _parsed(page)
    if tree is None:
        return HtmlText("", "")
    title = text_of(next(tree.iter("title"), None)) or text_of(next(tree.iter("h1"), None))
    _keep_formulas(tree)
    if not main_only:
        return HtmlText(title, blocks_of(tree, UNSEEN))
    from trafilatura import bare_extraction

    _write_scripts(tree)
    for numbers in tree.xpath("//ol[@start or @reversed or li/@value]"):  # trafilatura would number from 1
        numbers.tag = "ul"
    for element in list(tree.iter(*LOOKS - _KEPT)):
        if not element.attrib:  # classes tell trafilatura what a piece of text is
            element.drop_tag()
    found = bare_extraction(tree, include_comments=False, deduplicate=False)
    return HtmlText(title, blocks_of(getattr(found, "body", None)))


def _is_beyond_ascii(data: bytes) -> bool:
    """True if bytes are valid UTF-8 with more than ASCII in it, which nothing else is by chance."""
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False


def _declared(data: bytes, header: str) -> str:
    """Return the encoding that the header or the page declares, by Python's name; "" without a known one."""
    for found in (_CHARSET.search(header), _DECLARED.search(data[:_HEAD_BYTES])):
        label = found[1] if found else ""
        try:
            label = label.decode() if isinstance(label, bytes) else label
            "".encode(label)  # refuses what is no encoding of text
            name = codecs.lookup(label).name
        except (LookupError, ValueError):
            continue
        return _ON_THE_WEB.get(name, name)
    return ""


def _parsed(page: str) -> Any:
    """Parse a page; None if nothing is in it."""
    import lxml.html

    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        tree = lxml.html.document_fromstring(well_formed(page).encode(), parser=parser)
    except lxml.etree.ParserError:
        return None
    if too_deep := [each.message for each in parser.error_log if "depth" in each.message]:
        raise HtmlError("nested_too_deeply", too_deep[0])
    return tree


def _keep_formulas(tree: Any) -> None:
    """Undo what pages do for the look of scripts: hidden MathML beside a picture, links in brackets."""
    for element in list(tree.iter("sup", "math", "mml:math")):
        if element.tag != "sup":
            for outer in element.iterancestors("span"):
                outer.attrib.pop("style", None)
        elif _FOOTNOTE.fullmatch(text_of(element)):
            element.tag = "span"
    for twin in tree.xpath("//span[@class='katex-html']"):  # the same formula, for the eye
        twin.drop_tree()


def _write_scripts(tree: Any) -> None:
    """Write each superscript, subscript and formula of a tree as text, by the text before and after it."""
    scripts = tree.iter(*SCRIPTS, "mml:math")
    outer = (
        next(each for each in script.iterancestors() if name_of(each) not in LOOKS) for script in scripts
    )
    for block in dict.fromkeys(each for each in list(outer) if name_of(each) not in SCRIPTS):
        lines: list[list[tuple[str | Script, Any]]] = [[]]
        _add_lines(block, lines)
        for line in lines:
            for text, (_, element) in zip(written([piece for piece, _ in line]), line, strict=True):
                if element is not None:
                    element.clear(keep_tail=True)
                    element.tag, element.text = "span", text


def _add_lines(element: Any, lines: list[list[tuple[str | Script, Any]]]) -> None:
    """Add the texts and scripts of an element, these with their elements; an inner block ends a line."""
    lines[-1].append((element.text or "", None))
    for child in element:
        if script := script_of(child):
            lines[-1].append((script, child))
        elif name_of(child) in LOOKS:
            _add_lines(child, lines)
        else:
            lines.append([])
        lines[-1].append((child.tail or "", None))
