"""Electronic books (epub): chapters in the order of the spine, a document a book or a chapter.

Read with zipfile and lxml (BSD): the known library for epub, ebooklib, is AGPL.
`markup_blocks.py` makes the text. Pictures are left out.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.documents_in_zip import BROKEN, Refused, about, open_zip, unreadable
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup import TooDeep
from plugins.readers.markup_blocks import blocks_of
from schemas.config import Section

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_REFERENCE = "{http://www.w3.org/2001/04/xmlenc#}CipherReference"
_MARKUP = ("application/xhtml+xml", "text/html")
_ENCODING = re.compile(rb"""<\?xml[^>]{0,100}encoding=["']([\w.-]{1,40})""")


class EpubOptions(Section):
    """Options of reader `epub`.

    Attributes:
        chapters: True makes a document of each file of the spine, false one of the book.
    """

    chapters: bool = False


class EpubReader(WholeFileReader):
    """Reads epub. Fields of a row: the text, and `title`, `author`, `language` if the book has them."""

    Options = EpubOptions

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        try:
            with open_zip(data) as archive:
                yield from self._rows(archive)
        except Refused as error:
            yield BadRow("", "beyond_limits", str(error))
        except BROKEN as error:
            yield unreadable(data, "epub", error)

    def _rows(self, archive: zipfile.ZipFile) -> Iterator[Row | BadRow]:
        container = ElementTree.fromstring(archive.read(_CONTAINER))
        root = next(
            (each.get("full-path", "") for each in container.iter() if each.tag.endswith("}rootfile")), ""
        )
        package = ElementTree.fromstring(archive.read(root))
        fields = about(package)
        texts: list[str] = []
        bad: list[BadRow] = []
        encrypted = _encrypted(archive)
        seen: set[str] = set()
        for name in _spine(package, posixpath.dirname(root)):
            if not isinstance(name, BadRow) and name in seen:
                name = BadRow(name, "repeated_chapter", "it comes twice in the spine, and is read once")
            if isinstance(name, BadRow):
                bad.append(name)
                continue
            seen.add(name)
            if name in encrypted:
                bad.append(BadRow(name, "encrypted", "the book's protection locks it; remove it first"))
                continue
            try:
                text = blocks_of(visible(parse(_decoded(archive.read(name)))))
            except (KeyError, UnicodeDecodeError, LookupError, TooDeep, RecursionError) as error:
                bad.append(BadRow(name, "bad_chapter", f"{type(error).__name__}: {error}"))
                continue
            if text and self.options.chapters:
                yield Row(name, {**fields, self.source.text_field: text})
            texts += [text] if text else []
        if not self.options.chapters and texts:
            yield Row("", {**fields, self.source.text_field: "\n\n".join(texts)})
        if not texts and not bad:
            bad.append(BadRow("", "empty", "no file of its spine has text"))
        yield from bad


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """Return the paths of encrypted files; in books that can be read these are fonts."""
    if _ENCRYPTION not in archive.namelist():
        return set()
    references = ElementTree.fromstring(archive.read(_ENCRYPTION)).iter(_REFERENCE)
    return {posixpath.normpath(unquote(each.get("URI", ""))) for each in references}


def _spine(package: Element, folder: str) -> Iterator[str | BadRow]:
    """Yield the paths of the book's files of markup in reading order, and a reject for each other entry."""
    items = {each.get("id"): each for each in package.iter() if str(each.tag).endswith("}item")}
    for reference in package.iter():
        if not str(reference.tag).endswith("}itemref"):
            continue
        name = reference.get("idref", "")
        item = items.get(name)
        if item is None:
            yield BadRow(
                name, "bad_chapter", "the spine names it, and the book's list of files does not have it"
            )
            continue
        path = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        if (kind := item.get("media-type", "")) not in _MARKUP:
            yield BadRow(path, "left_out", f"a page of the kind {kind!r}, which is no markup")
        elif "nav" not in item.get("properties", "").split():
            yield path


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    declared = _ENCODING.match(data.removeprefix(b"\xef\xbb\xbf"))
    return data.decode(declared[1].decode() if declared else "utf-8-sig").removeprefix("\ufeff")
