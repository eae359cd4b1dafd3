"""PubMed's MEDLINE XML: one document an article or book chapter, made of its title and abstract.

    <PubmedArticleSet>
      <PubmedArticle> … </PubmedArticle>            cut out of the bytes, then parsed by itself
      <PubmedBookArticle> … </PubmedBookArticle>    the same
      <DeleteCitation> <PMID> … </DeleteCitation>   a deletion for each PMID; a reject without `deleted_field`
      anything else                                 a reject
    </PubmedArticleSet>

Because the reader cuts first, it holds one record at a time, a broken record costs only itself, and no
document type reaches the parser: an element cannot declare entities, so the parser expands and fetches none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks
from plugins.readers.markup import text_of
from schemas import limits, storage

_ROOT = re.compile(rb"<Pubmed(?:Book)?ArticleSet\b")
_ROOT_END = re.compile(rb"</Pubmed(?:Book)?ArticleSet\s*>")
_KINDS = rb"PubmedArticle|PubmedBookArticle|DeleteCitation|DeleteDocument"
_TAG = re.compile(rb"(</?(?:" + _KINDS + rb")(?:\s[^<>]{0,200})?/?>)")
_LONGEST_TAG = 256
"""Most bytes of a tag, with white space and attributes."""

_NAME = re.compile(rb"\w+")

_OPENED = re.compile(rb"<(?!Pubmed(?:Book)?ArticleSet\b)([A-Za-z][\w.:-]*)")
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")


class MedlineReader(Reader):
    """Reads MEDLINE XML. Positions are numbers of records from 1, of any kind.

    Fields of a row: `text` (title, a blank line, abstract), `title`, `abstract` (a line for each section,
    after its label), `pmid`, `journal` (of a chapter, the book), `year`, `revised` (date of the last
    revision, YYYY-MM-DD), `version` (number of the PMID's version). A row lacks the fields that the article
    lacks. A deletion has `pmid`, `version` and `deleted`, which is "true". Titles and abstracts in other
    languages are not read.
    """

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        number, opened, closed = 0, False, False
        start = b""  # tag of the record that is being read
        body = b""
        try:
            # Text and tags alternate: text, tag, text, …
            pieces = storage.split(chunks(uri), _TAG.split, _LONGEST_TAG, most=limits.RECORD_BYTES)
            for index, piece in enumerate(pieces):
                if index % 2 == 0:
                    body = piece
                    opened = opened or bool(not start and _ROOT.search(body))
                    closed = bool(_ROOT_END.search(body))
                    if not start and opened and (found := _OPENED.search(body)):
                        detail = f"found <{found[1].decode()}> after record {number}, which is not read"
                        yield BadRow("", "unknown_record", detail)
                    continue
                is_end = piece.startswith(b"</")
                if start and is_end and _name(piece) == _name(start):
                    yield from self._rows(start + body + piece, str(number))
                    start = b""
                    continue
                if start:
                    yield _truncated(start, body, str(number))
                start = b"" if is_end else piece
                number += bool(start)
                if piece.endswith(b"/>"):
                    yield from self._rows(piece, str(number))
                    start = b""
        except DAMAGED as error:
            number -= bool(start)
            yield BadRow.damaged(str(number + 1), error, f"{number} records")
            return
        if start:
            yield _truncated(start, body, str(number))
        if not opened:
            detail = "expected <PubmedArticleSet> before the first record; is this MEDLINE XML?"
            yield BadRow("", "not_medline", detail)
        elif not closed and not start:
            detail = f"the file ends without </PubmedArticleSet>; {number} records were read"
            yield BadRow(str(number + 1), "truncated_file", detail)

    def _rows(self, record: bytes, position: str) -> Iterator[Row | BadRow]:
        try:
            check_length(record)
            element = ElementTree.fromstring(record)
            if element.tag.startswith("Delete"):
                for pmid in element:
                    yield self._deletion(pmid, position)
            else:
                values = _article(element) if element.tag == "PubmedArticle" else _chapter(element)
                values["text"] = "\n\n".join(filter(None, [values["title"], values["abstract"]]))
                yield Row(position, {name: value for name, value in values.items() if value})
        except TooLong as error:
            yield BadRow(position, "record_too_long", str(error))
        except (ElementTree.ParseError, RecursionError) as error:
            yield BadRow(position, "invalid_xml", f"{error} of the record")

    def _deletion(self, element: ElementTree.Element, position: str) -> Row | BadRow:
        pmid = text_of(element)
        if self.source.deleted_field is not None:
            return Row(position, {"pmid": pmid, "version": element.get("Version", ""), "deleted": "true"})
        detail = (
            f"PubMed deletes PMID {pmid}; without deleted_field: deleted reading takes out no document. "
            f"`tutelage corpus withdraw FILE.yaml --id {pmid}` does it where ids are PMIDs"
        )
        return BadRow(position, "deleted_citation", detail)


def _name(tag: bytes) -> bytes:
    found = _NAME.search(tag)
    assert found is not None
    return found[0]


def _truncated(start: bytes, body: bytes, position: str) -> BadRow:
    detail = f"the record has no </{_name(start).decode()}>; {len(body):,} bytes follow its beginning"
    return BadRow(position, "truncated_record", detail)


def _article(record: ElementTree.Element) -> dict[str, str]:
    article = "MedlineCitation/Article"
    return {
        "title": text_of(record.find(f"{article}/ArticleTitle")),
        "abstract": _abstract(record, f"{article}/Abstract/AbstractText"),
        "pmid": text_of(record.find("MedlineCitation/PMID")),
        "journal": text_of(record.find(f"{article}/Journal/Title")),
        "year": _year(record, f"{article}/Journal/JournalIssue/PubDate"),
        **_revision(record, "MedlineCitation"),
    }


def _chapter(record: ElementTree.Element) -> dict[str, str]:
    """Return the fields of a chapter, or of a whole book under the book's title."""
    book = text_of(record.find("BookDocument/Book/BookTitle"))
    return {
        "title": text_of(record.find("BookDocument/ArticleTitle")) or book,
        "abstract": _abstract(record, "BookDocument/Abstract/AbstractText"),
        "pmid": text_of(record.find("BookDocument/PMID")),
        "journal": book,
        "year": _year(record, "BookDocument/Book/PubDate"),
        **_revision(record, "BookDocument"),
    }


def _revision(record: ElementTree.Element, document: str) -> dict[str, str]:
    pmid = record.find(f"{document}/PMID")
    parts = [text_of(record.find(f"{document}/DateRevised/{part}")) for part in ("Year", "Month", "Day")]
    return {
        "revised": "-".join(part.zfill(2) for part in parts) if all(parts) else "",
        "version": "" if pmid is None else pmid.get("Version", ""),
    }


def _abstract(record: ElementTree.Element, path: str) -> str:
    return "\n".join(filter(None, map(_section, record.iterfind(path))))


def _section(section: ElementTree.Element) -> str:
    text, label = text_of(section), section.get("Label", "")
    return f"{label}: {text}" if text and label else text


def _year(record: ElementTree.Element, date: str) -> str:
    # Some issues have a date in words in place of a year: "Winter 1998", "1998 Dec-1999 Jan".
    text = text_of(record.find(f"{date}/Year")) or text_of(record.find(f"{date}/MedlineDate"))
    found = _YEAR.search(text)
    return found[0] if found else ""
