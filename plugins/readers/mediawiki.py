"""Dumps of MediaWiki in XML, such as Wikipedia's: one document a page; wikitext.py makes its text.

    <mediawiki>
      <siteinfo> … </siteinfo>     address of the wiki, names of its namespaces
      <page> … </page>             cut out of the bytes, then parsed by itself
      anything else                not read

Because the reader cuts first, it holds one page at a time, a broken page costs only itself, and no document
type reaches the parser. Multistream dumps (`.xml.bz2`) are read as others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote
from xml.etree import ElementTree

from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks
from plugins.readers.wikitext import ParserError, plain_text
from schemas import limits, storage
from schemas.config import Section

_PAGE = re.compile(rb"(</?page>)")
_SITE = re.compile(rb"<siteinfo>.*?</siteinfo>", re.DOTALL)
_ROOT = re.compile(rb"<mediawiki\b")
_UNREAD = ("6", "14")
"""Keys of the namespaces of files and categories."""


class MediawikiOptions(Section):
    """Options of reader `mediawiki`.

    Attributes:
        leave_out: Parts of articles to leave out: tables.
    """

    leave_out: tuple[Literal["tables"], ...] = ()


class MediawikiReader(Reader):
    """Reads dumps of MediaWiki. Positions are numbers of pages from 1, of all kinds.

    Fields of a row: `text`, `title`, `id` (of the page), `revision`, `date`, `url`, and `removed_templates`,
    their number. Pages outside namespace 0, redirects and pages without wikitext are passed over and counted.
    Of several revisions the last is read.
    """

    Options = MediawikiOptions

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        passed_over: Counter[str] = Counter()
        number, is_open, body, has_root = 0, False, b"", False
        site = _Site(b"")
        try:
            # Text and tags alternate: text, tag, text, …
            pieces = storage.split(chunks(uri), _PAGE.split, len(b"</page>"), most=limits.RECORD_BYTES)
            for index, piece in enumerate(pieces):
                if index % 2 == 0:
                    body = piece
                    if not index:
                        has_root = bool(_ROOT.search(piece))
                        try:
                            site = _Site(piece)
                        except ElementTree.ParseError as error:
                            detail = f"{error} of <siteinfo>; pages are read without addresses"
                            yield BadRow("", "invalid_xml", detail)
                    continue
                if is_open:
                    row = self._row(body, str(number), site, is_whole=piece == b"</page>")
                    if isinstance(row, str):
                        passed_over[row] += 1
                    else:
                        yield row
                is_open = piece == b"<page>"
                number += is_open
        except DAMAGED as error:
            yield BadRow.damaged(str(number + (not is_open)), error, f"{number - is_open} pages")
        else:
            if not has_root:
                yield BadRow("", "not_mediawiki", "expected <mediawiki>; is this a dump of MediaWiki in XML?")
            elif is_open or b"</mediawiki>" not in body:
                detail = f"the file ends without </mediawiki>; {number - is_open} pages were read"
                yield BadRow(str(number + (not is_open)), "truncated_file", detail)
        yield from BadRow.passed_over(passed_over)

    def _row(self, body: bytes, position: str, site: _Site, *, is_whole: bool) -> Row | BadRow | str:
        """Return the row of a page, or what it is if the reader passes over it."""
        if not is_whole:
            return BadRow(position, "truncated_record", f"the page has no </page> in {len(body):,} bytes")
        try:
            check_length(body)
            page = ElementTree.fromstring(b"<page>" + body + b"</page>")
            if (space := page.findtext("ns") or "0") != "0":
                return f"of namespace {space}"
            if page.find("redirect") is not None:
                return "redirects"
            *_, revision = page.iterfind("revision")
            if (model := revision.findtext("model") or "wikitext") != "wikitext":
                return f"of model {model}"
            title, wikitext = page.findtext("title") or "", revision.findtext("text") or ""
            text, num_removed = plain_text(wikitext, unread=site.unread, tables=not self.options.leave_out)
        except TooLong as error:
            return BadRow(position, "record_too_long", str(error))
        except (ElementTree.ParseError, ValueError) as error:  # ValueError: no revision
            return BadRow(position, "invalid_xml", f"{error} of the page")
        except (ParserError, RecursionError) as error:
            return BadRow(position, "invalid_wikitext", f"{type(error).__name__}: {error}")
        values = {
            "text": text,
            "title": title,
            "id": page.findtext("id"),
            "revision": revision.findtext("id"),
            "date": revision.findtext("timestamp"),
            "url": site.url and site.url + quote(title.replace(" ", "_"), safe="/:,()"),
            "removed_templates": num_removed,
        }
        return Row(position, {name: value for name, value in values.items() if value is not None})


class _Site:
    """What a dump says about its wiki.

    Attributes:
        url: Address of its pages, to the last slash.
        unread: Names of its namespaces of files and categories.
    """

    def __init__(self, head: bytes):
        found = _SITE.search(head)
        info = ElementTree.fromstring(found[0]) if found else ElementTree.Element("siteinfo")
        base = info.findtext("base") or ""
        self.url = base[: base.rindex("/") + 1] if "/" in base else None
        names = {each.text or "" for each in info.iter("namespace") if each.get("key") in _UNREAD}
        self.unread = {name.lower() for name in {*names, "File", "Image", "Category"}}
