"""Text of an HTML page, as readable plain text.

    bytes ─► decode_page ─► lxml ─► all of the page ─────────────────────────────► blocks_of
             mark, header,  tree    its main text, which trafilatura chooses       paragraphs, lists,
             meta, content                                                         rows of tables

`html_tree.py` parses, `html_main_text.py` finds the main text, `markup_blocks.py` writes both. webencodings
(BSD) knows what an encoding's name means in a page.
"""

from __future__ import annotations

import codecs
import html
import importlib.util
import re
from typing import NamedTuple

from plugins.readers import text_encoding
from plugins.readers.markup import TooDeep, text_of
from plugins.readers.markup_blocks import blocks_of
from schemas import limits
from schemas.errors import missing_package

_HEAD_BYTES = 4096
_DECLARED = re.compile(
    rb"""<(?:meta\s|\?xml\s)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_READ_AS = {"gbk": "gb18030", "utf-16-le": "utf-8", "utf-16-be": "utf-8"}
"""What is decoded instead: a superset, and what a declaration that was read as ASCII cannot mean."""

_PAGE = re.compile(r"<(?:!doctype\s|html\b|body\b)", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>")  # not <name@host>


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
    for name in ("lxml", "trafilatura", "webencodings"):
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
        main_only: True leaves out navigation, boilerplate and comments; False keeps all text. None
            is True for a page, and False for a fragment without `<html>` or `<body>`.

    Raises:
        HtmlError: `nested_too_deeply`, `not_extracted` or `record_too_long`.
    """
    if len(page) > limits.HTML_CHARACTERS:
        detail = f"it has {len(page):,} characters; a page may have {limits.HTML_CHARACTERS:,}"
        raise HtmlError("record_too_long", detail)
    if not has_tags(page):
        return HtmlText("", html.unescape(page))
    if main_only is None:
        main_only = _PAGE.search(page) is not None
    from plugins.readers.html_main_text import NotExtracted, main_text
    from plugins.readers.html_tree import parse, visible

    try:
        tree = parse(page)
        title = text_of(tree.find(".//title")) or text_of(tree.find(".//h1"))
        return HtmlText(title, main_text(tree, title) if main_only else blocks_of(visible(tree)))
    except (TooDeep, RecursionError) as error:
        raise HtmlError("nested_too_deeply", str(error)) from None
    except NotExtracted as error:
        raise HtmlError("not_extracted", str(error)) from None


def _is_beyond_ascii(data: bytes) -> bool:
    """True if bytes are valid UTF-8 with more than ASCII in it, which nothing else is by chance."""
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False


def _declared(data: bytes, header: str) -> str:
    """Return the encoding that the header or the page declares, by Python's name; "" without a known one."""
    import webencodings

    head = _COMMENT.sub(b"", data[:_HEAD_BYTES])
    for found in (_CHARSET.search(header), _DECLARED.search(head)):
        label = found[1] if found else ""
        try:
            label = label.decode() if isinstance(label, bytes) else label
            known = webencodings.lookup(label)
            name = known.codec_info.name if known and known.name != "replacement" else label
            "".encode(name)  # refuses what is no encoding of text
            name = codecs.lookup(name).name
        except (LookupError, ValueError):
            continue
        return _READ_AS.get(name, name)
    return ""
