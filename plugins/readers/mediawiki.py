"""Dumps of MediaWiki in XML, such as Wikipedia's: one document a page; wikitext.py makes its text.

    <mediawiki>
      <siteinfo> … </siteinfo>     address of the wiki, names of its namespaces
      <page> … </page>             a document, or passed over
      anything else                a reject

`xml_records.py` cuts pages out of the file. Multistream dumps (`.xml.bz2`) are read as others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from plugins.readers.base import BadRow
from plugins.readers.wikitext import ParserError, plain_text
from plugins.readers.xml_records import XmlReader
from schemas.config import Section

_SITE = re.compile(rb"<siteinfo>.*?</siteinfo>", re.DOTALL)
_UNREAD = ("6", "14")
"""Keys of the namespaces of files and categories."""


class MediawikiOptions(Section):
    """Options of reader `mediawiki`.

    Attributes:
        leave_out: Parts of articles to leave out: tables.
    """

    leave_out: tuple[Literal["tables"], ...] = ()


class MediawikiReader(XmlReader):
    """Reads dumps of MediaWiki. Positions are numbers of pages from 1, of all kinds.

    Fields of a row: `text`, `title`, `id` (of the page), `revision`, `date`, `url`, and `removed_templates`,
    their number; what was removed from the pages of a file is counted by name. Pages outside namespace 0,
    redirects and pages without wikitext are passed over and counted. Of several revisions the last is read.
    """

    names = ("page",)
    roots = ("mediawiki",)
    fields = frozenset({"text", "title", "id", "revision", "date", "url", "removed_templates"})
    Options = MediawikiOptions

    def outside(self, text: bytes, number: int) -> Iterator[BadRow]:
        if fault := "" if number else _site(text).fault:
            yield BadRow("", "invalid_xml", f"{fault} of <siteinfo>; pages are read without addresses")
        yield from super().outside(_SITE.sub(b"", text), number)

    def found_in(self, record: bytes, position: str, head: bytes) -> Iterator[dict[str, Any] | BadRow | str]:
        page, site = ElementTree.fromstring(record), _site(head)
        revision = next(reversed(page.findall("revision")), None)
        if (space := page.findtext("ns") or "0") != "0":
            yield f"of namespace {space}"
        elif page.find("redirect") is not None:
            yield "redirects"
        elif revision is None:
            yield BadRow(position, "invalid_xml", "the page has no <revision>")
        elif (model := revision.findtext("model") or "wikitext") != "wikitext":
            yield f"of model {model}"
        else:
            title, wikitext = page.findtext("title") or "", revision.findtext("text") or ""
            try:
                text, removed = plain_text(wikitext, unread=site.unread, tables=not self.options.leave_out)
            except ParserError as error:
                yield BadRow(position, "invalid_wikitext", f"{type(error).__name__}: {error}")
                return
            values = {
                "text": text,
                "title": title,
                "id": page.findtext("id"),
                "revision": revision.findtext("id"),
                "date": revision.findtext("timestamp"),
                "url": site.url and site.url + quote(title.replace(" ", "_"), safe="/:,()"),
                "removed_templates": removed.total(),
            }
            yield {name: value for name, value in values.items() if value is not None}
            yield removed


class _Site(NamedTuple):
    """What a dump says about its wiki."""

    url: str | None  # address of its pages, to the last slash
    unread: set[str]  # names of its namespaces of files and categories, in lower case
    fault: str  # of its XML


@functools.lru_cache(maxsize=4)
def _site(head: bytes) -> _Site:
    info, fault = ElementTree.Element("siteinfo"), ""
    try:
        if found := _SITE.search(head):
            info = ElementTree.fromstring(found[0])
    except ElementTree.ParseError as error:
        fault = str(error)
    base, slash, _ = (info.findtext("base") or "").rpartition("/")
    names = {each.text or "" for each in info.iter("namespace") if each.get("key") in _UNREAD}
    unread = {name.lower() for name in {*names, "File", "Image", "Category"}}
    return _Site(base + slash or None, unread, fault)
