"""PubMed's MEDLINE XML: one document an article or book chapter, made of its title and abstract.

    <PubmedArticleSet>
      <PubmedArticle> … </PubmedArticle>            a document
      <PubmedBookArticle> … </PubmedBookArticle>    the same
      <DeleteCitation> <PMID> … </DeleteCitation>   a deletion for each PMID; a reject without `deleted_field`
      anything else                                 a reject
    </PubmedArticleSet>

`xml_records.py` cuts records out of the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from plugins.readers.base import BadRow
from plugins.readers.markup import text_of
from plugins.readers.xml_records import XmlReader

_ARTICLE = "MedlineCitation/Article"
_BOOK = "BookDocument/Book"
_SECTION = "Abstract/AbstractText"
_UNREAD = f"{_ARTICLE}/VernacularTitle", "MedlineCitation/OtherAbstract", "BookDocument/OtherAbstract"
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")


class MedlineReader(XmlReader):
    """Reads MEDLINE XML. Positions are numbers of records from 1, of any kind.

    Fields of a row: `text` (title, a blank line, abstract), `title`, `abstract` (a line for each section,
    after its label), `pmid`, `journal` (of a chapter, the book), `year`, `revised` (date of the last
    revision, YYYY-MM-DD), `version` (number of the PMID's version). A row lacks the fields that the article
    lacks. A deletion has `pmid`, `version` and `deleted`, which is "true". Titles and abstracts in other
    languages, and other abstracts, are not read, and are counted.
    """

    names = ("PubmedArticle", "PubmedBookArticle", "DeleteCitation", "DeleteDocument")
    roots = ("PubmedArticleSet", "PubmedBookArticleSet")
    fields = frozenset(
        {"text", "title", "abstract", "pmid", "version", "journal", "year", "revised", "deleted"}
    )

    def found_in(
        self, record: bytes, position: str, head: bytes
    ) -> Iterator[dict[str, str] | BadRow | Counter[str]]:
        parsed = ElementTree.fromstring(record)
        if not parsed.tag.startswith("Delete"):
            yield {name: value for name, value in _fields(parsed).items() if value}
            yield Counter(each.tag for path in _UNREAD for each in parsed.iterfind(path))
            return
        for element in parsed:
            pmid = text_of(element)
            if self.source.deleted_field is not None:
                yield {"pmid": pmid, "version": element.get("Version", ""), "deleted": "true"}
                continue
            detail = (
                f"PubMed deletes PMID {pmid}; without deleted_field: deleted reading takes out no document. "
                f"`tutelage corpus withdraw FILE.yaml --id {pmid}` does it where ids are PMIDs"
            )
            yield BadRow(position, "deleted_citation", detail)


def _fields(record: Element) -> dict[str, str]:
    """Return the fields of an article, of a chapter, or of a whole book under the book's title."""

    def text(*paths: str) -> str:
        return next(filter(None, (text_of(record.find(path)) for path in paths)), "")

    title = text(f"{_ARTICLE}/ArticleTitle", "BookDocument/ArticleTitle", f"{_BOOK}/BookTitle")
    sections = (*record.iterfind(f"{_ARTICLE}/{_SECTION}"), *record.iterfind(f"BookDocument/{_SECTION}"))
    abstract = "\n".join(filter(None, map(_labelled, sections)))
    # Some issues have a date in words in place of a year: "Winter 1998", "1998 Dec-1999 Jan".
    dates = f"{_ARTICLE}/Journal/JournalIssue/PubDate", f"{_BOOK}/PubDate"
    year = _YEAR.search(text(*(f"{date}/{part}" for date in dates for part in ("Year", "MedlineDate"))))
    revised = [text(f"*/DateRevised/{part}") for part in ("Year", "Month", "Day")]
    pmid = record.find("*/PMID")
    return {
        "text": "\n\n".join(filter(None, (title, abstract))),
        "title": title,
        "abstract": abstract,
        "pmid": text_of(pmid),
        "version": "" if pmid is None else pmid.get("Version", ""),
        "journal": text(f"{_ARTICLE}/Journal/Title", f"{_BOOK}/BookTitle"),
        "year": year[0] if year else "",
        "revised": "-".join(part.zfill(2) for part in revised) if all(revised) else "",
    }


def _labelled(section: Element) -> str:
    text, label = text_of(section), section.get("Label", "")
    return f"{label}: {text}" if text and label else text
