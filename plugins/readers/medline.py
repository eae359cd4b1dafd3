"""PubMed's MEDLINE XML: one document an article, made of its title and abstract.

    <PubmedArticleSet>
      <PubmedArticle> … </PubmedArticle>      each cut out of the bytes, then parsed by itself
      <DeleteCitation> … </DeleteCitation>    not read: taking documents out is asked for, not read in
    </PubmedArticleSet>

Cutting first means that one record is held at a time, that a broken one costs only itself, and that no
document type reaches the parser: an element can declare no entity, so none can be expanded or fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from plugins.readers import files
from plugins.readers.base import BadRow, Reader, Row

_ROOT = b"<PubmedArticleSet"
_ROOT_END = b"</PubmedArticleSet>"
_START = b"<PubmedArticle>"
_END = b"</PubmedArticle>"


class MedlineReader(Reader):
    """Reads MEDLINE XML. Positions are numbers of records from 1.

    Fields of a row: `text` (title, a blank line, abstract), `title`, `abstract` (a line for each section,
    opened by its label), `pmid`, `journal`, `year`. What an article lacks is left out.
    """

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        number, opened, closed = 0, False, False
        try:
            for number, piece in enumerate(files.pieces(uri, _START)):
                if number == 0:
                    opened, closed = _ROOT in piece, _ROOT_END in piece
                    continue
                record, end, after = piece.partition(_END)
                closed = _ROOT_END in (after or record)
                if end:
                    yield _row(_START + record + _END, str(number))
                else:
                    closed = True  # said once
                    detail = f"the record has no {_END.decode()}; {len(record):,} bytes follow its beginning"
                    yield BadRow(position=str(number), reason="truncated_record", detail=detail)
        except files.DAMAGED as error:
            detail = f"{type(error).__name__}: {error}; {number} records were read before it"
            yield BadRow(position=str(number + 1), reason="damaged_file", detail=detail)
            return
        if not opened:
            detail = f"expected {_ROOT.decode()}> before the first record; is this MEDLINE XML?"
            yield BadRow(position="", reason="not_medline", detail=detail)
        elif not closed:
            detail = f"the file ends without {_ROOT_END.decode()}; {number} records were read"
            yield BadRow(position=str(number + 1), reason="truncated_file", detail=detail)


def _row(record: bytes, position: str) -> Row | BadRow:
    try:
        article = ElementTree.fromstring(record)
    except ElementTree.ParseError as error:
        return BadRow(position=position, reason="invalid_xml", detail=f"{error} of the record")
    title = _text(article.find("MedlineCitation/Article/ArticleTitle"))
    sections = article.iterfind("MedlineCitation/Article/Abstract/AbstractText")
    abstract = "\n".join(filter(None, map(_section, sections)))
    values = {
        "text": "\n\n".join(filter(None, [title, abstract])),
        "title": title,
        "abstract": abstract,
        "pmid": _text(article.find("MedlineCitation/PMID")),
        "journal": _text(article.find("MedlineCitation/Article/Journal/Title")),
        "year": _year(article),
    }
    return Row(position=position, values={name: value for name, value in values.items() if value})


def _section(section: ElementTree.Element) -> str:
    text, label = _text(section), section.get("Label", "")
    return f"{label}: {text}" if text and label else text


def _year(article: ElementTree.Element) -> str:
    date = "MedlineCitation/Article/Journal/JournalIssue/PubDate"
    # Some issues have no year of their own but a span in words: "1998 Dec-1999 Jan".
    return _text(article.find(f"{date}/Year")) or _text(article.find(f"{date}/MedlineDate"))[:4]


def _text(element: ElementTree.Element | None) -> str:
    """All text of an element, that of <i>, <sup> and their like included, on one line."""
    return "" if element is None else " ".join("".join(element.itertext()).split())
