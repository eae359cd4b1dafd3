"""JATS, the XML of PubMed Central and of publishers: one document an article.

    <pmc-articleset> <article> … </article> … </pmc-articleset>
    <article> … </article>

    title ─ abstract ─ sections with their headings, lists, captions, tables ─ figures and tables that float
    ─ notes, without references

`xml_records.py` cuts articles out of the file. Namespaces make no difference. Names of characters (&alpha;)
are those of HTML, which has all that JATS allows.
"""

from __future__ import annotations

import functools
import html.entities
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from plugins.readers.markup import text_of
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.mathml import name_of
from plugins.readers.xml_records import XmlReader
from schemas.config import Section
from schemas.corpus_config import SourceConfig

_AROUND = b'<!DOCTYPE articles SYSTEM "jats"><articles%b>%b</articles>'
"""Declares the namespaces that an article may have from its collection. The document type has the parser ask
`_ENTITIES` for names of characters; nothing reads what it names."""

_XMLNS = re.compile(rb"""(\sxmlns:[\w.-]+)\s*=\s*("[^"<]*"|'[^'<]*')""")
_USUAL = b"""<_ xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink"
    xmlns:ali="http://www.niso.org/schemas/ali/1.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">"""

_ENTITIES = {name.rstrip(";"): text for name, text in html.entities.html5.items() if name[-1] == ";"}
_PARTS = {
    "references": {"ref-list"},
    "tables": {"table-wrap", "table-wrap-group"},
    "figures": {"fig", "fig-group"},
    "notes": {"ack", "fn-group", "glossary", "app-group", "notes"},
}
"""Elements of the parts that option `leave_out` names."""

_SUB_ARTICLES = {"sub-article", "response"}
_UNREAD = {*_SUB_ARTICLES, "trans-abstract", "trans-title-group", "trans-title", "trans-subtitle", "subtitle"}
"""Names of what is counted and not read: other articles in an article, and other titles and abstracts."""

_TEX = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)


class JatsOptions(Section):
    """Options of reader `jats`.

    Attributes:
        leave_out: Parts of articles to leave out: references, tables, figures, notes.
    """

    leave_out: tuple[Literal["references", "tables", "figures", "notes"], ...] = ("references",)


class JatsReader(XmlReader):
    """Reads JATS. Positions are numbers of articles from 1.

    Fields of a row: `text`, `title`, `abstract`, `pmcid`, `pmid`, `doi`, `journal`, `year` (of the earliest
    publication), `license` (its address, or its words), `keywords` (of all groups, joined by ", "). A row
    lacks the fields that the article lacks.
    Sub-articles (reviews, translations), subtitles, and titles and abstracts in other languages are not read,
    and are counted.
    """

    names = ("article",)
    roots = ("pmc-articleset",)
    needs_root = False
    fields = frozenset(
        {"text", "title", "abstract", "journal", "pmcid", "pmid", "doi", "year", "license", "keywords"}
    )
    Options = JatsOptions

    def __init__(self, source: SourceConfig):
        super().__init__(source)
        self._skipped = {*_SUB_ARTICLES}.union(*(_PARTS[name] for name in self.options.leave_out))

    def found_in(self, record: bytes, position: str, head: bytes) -> Iterator[dict[str, str] | Counter[str]]:
        parser = ElementTree.XMLParser()
        parser.entity.update(_ENTITIES)
        (article,) = ElementTree.fromstring(_AROUND % (_declared(head), record), parser)
        _simplify(article)
        meta = next(article.iterfind("front/article-meta"), Element("article-meta"))
        title = text_of(meta.find("title-group/article-title"))
        abstract = self._blocks(meta.iterfind("abstract"))
        text = [
            title,
            abstract,
            self._blocks(article.iterfind("body")),
            self._blocks(article.iterfind("floats-group")),
            self._blocks(article.iterfind("back")),
        ]
        values = {
            "text": "\n\n".join(filter(None, text)),
            "title": title,
            "abstract": abstract,
            "journal": text_of(article.find("front/journal-meta/journal-title-group/journal-title")),
            **_metadata(meta),
        }
        yield {name: value for name, value in values.items() if value}
        parts = (*article, *meta, *meta.iterfind("title-group/*"))
        yield Counter(each.tag for each in parts if each.tag in _UNREAD)

    def _blocks(self, elements: Iterable[Element]) -> str:
        return "\n\n".join(filter(None, (blocks_of(each, self._skipped) for each in elements)))


def _metadata(meta: Element) -> dict[str, str]:
    ids = {each.get("pub-id-type", ""): text_of(each) for each in meta.iterfind("article-id")}
    pmcid = ids.get("pmcid") or ids.get("pmc") or ids.get("pmcaid") or ""
    years = [year for each in meta.iterfind("pub-date/year") if (year := text_of(each)).isdecimal()]
    license = next(meta.iterfind("permissions/license"), Element("license"))
    keywords = (each for each in meta.iterfind("kwd-group//*") if each.tag in ("kwd", "compound-kwd"))
    address = next((value for name, value in license.items() if name.endswith("}href")), "")
    return {
        "pmcid": pmcid if not pmcid.isdecimal() else f"PMC{pmcid}",
        "pmid": ids.get("pmid", ""),
        "doi": ids.get("doi", ""),
        "year": min(years, default=""),
        "license": address or text_of(next(license.iterfind(".//license_ref"), license)),
        "keywords": ", ".join(filter(None, map(text_of, keywords))),
    }


@functools.lru_cache(maxsize=4)
def _declared(head: bytes) -> bytes:
    """Return the declarations of namespaces in a file before its first article, and the usual ones."""
    return b"".join(b"%b=%b" % each for each in dict(_XMLNS.findall(_USUAL + head)).items())


def _simplify(article: Element) -> None:
    """Take namespaces off all names, and keep one notation of each formula.

    That is MathML where there are several, and of TeX only what stands in its document.
    """
    for element in article.iter():
        element.tag = name_of(element)
        if element.tag in ("alternatives", "inline-formula", "disp-formula"):
            if any(name_of(each) == "math" for each in element):
                for each in [each for each in element if name_of(each) not in ("math", "label")]:
                    element.remove(each)
        elif element.tag == "tex-math" and (tex := _TEX.search(element.text or "")):
            element.text = tex[1].strip()
