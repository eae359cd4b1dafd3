"""JATS, the XML of PubMed Central and of publishers: one document an article.

    <pmc-articleset> <article> … </article> … </pmc-articleset>      each article is cut out, then parsed
    <article> … </article>                                           the same

    title ─ abstract ─ sections with their headings, lists, captions, tables ─ notes, without references

As reader `medline` does, this one cuts first: it holds one article at a time, a broken one costs only itself,
and no document type reaches the parser, so that no entity expands and nothing is fetched. The parser is
Python's own. Names of characters (&alpha;) are those of HTML, which has all that JATS allows.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks, peek
from plugins.readers.markup import text_of
from plugins.readers.markup_blocks import blocks_of
from plugins.readers.mathml import name_of
from schemas import limits, storage
from schemas.config import Section
from schemas.corpus_config import SourceConfig

_LONGEST_TAG = 4096
"""Most bytes of an article's start tag, with its namespaces."""

_TAG = re.compile(rb"(</?article(?:\s[^<>]{0,4000})?>)")
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}\sencoding\s*=\s*["']([\w.:-]+)""")
_PREFIXES = {
    b"mml": b"http://www.w3.org/1998/Math/MathML",
    b"xlink": b"http://www.w3.org/1999/xlink",
    b"ali": b"http://www.niso.org/schemas/ali/1.0/",
    b"xsi": b"http://www.w3.org/2001/XMLSchema-instance",
}
"""Namespaces that an article may have from the element around it, and uses by these prefixes."""

_DOCTYPE = b'<!DOCTYPE article SYSTEM "jats">'
"""Has the parser ask `_ENTITIES` for names of characters. Nothing reads what it names."""

_ENTITIES = {name.rstrip(";"): text for name, text in html.entities.html5.items() if name[-1] == ";"}
_PARTS = {
    "references": {"ref-list"},
    "tables": {"table-wrap", "table-wrap-group"},
    "figures": {"fig", "fig-group"},
    "notes": {"ack", "fn-group", "glossary", "app-group", "notes"},
}
"""Elements of the parts that option `leave_out` names."""

_TEX = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)


class JatsOptions(Section):
    """Options of reader `jats`.

    Attributes:
        leave_out: Parts of articles to leave out: references, tables, figures, notes.
    """

    leave_out: tuple[Literal["references", "tables", "figures", "notes"], ...] = ("references",)


class JatsReader(Reader):
    """Reads JATS. Positions are numbers of articles from 1.

    Fields of a row: `text`, `title`, `abstract`, `pmcid`, `pmid`, `doi`, `journal`, `year` (of the earliest
    publication), `license` (its address, or its words). A row lacks the fields that the article lacks.
    Sub-articles, such as reviews and translations, are not read, and are counted as rejects.
    """

    own_fields = frozenset({"encoding"})
    Options = JatsOptions

    def __init__(self, source: SourceConfig):
        super().__init__(source)
        self._skipped = {"sub-article", "response"}.union(*(_PARTS[name] for name in self.options.leave_out))

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        number, start, body = 0, b"", b""
        head, data = peek(chunks(uri), _LONGEST_TAG)
        declared = _DECLARED.search(head)
        wanted = self.source.encoding or (declared[1].decode() if declared else None)
        try:
            found, fields = text_encoding.as_utf8(data, wanted)
        except LookupError as error:
            yield BadRow("", "unknown_encoding", f"{error}. Name its encoding in `encoding`")
            return
        except text_encoding.Undecodable as error:
            yield BadRow("", *error.args)
            return
        try:
            pieces = storage.split(found, _TAG.split, _LONGEST_TAG, most=limits.RECORD_BYTES)
            for index, piece in enumerate(pieces):  # text, tag, text, …
                if index % 2 == 0:
                    body = piece
                elif piece.startswith(b"</"):
                    if start:
                        yield from self._article(start, body + piece, str(number), fields)
                    start = b""
                else:
                    if start:
                        yield _truncated(number)
                    start, number = piece, number + 1
        except DAMAGED as error:
            yield BadRow.damaged(str(number + 1 - bool(start)), error, f"{number - bool(start)} articles")
            return
        if start:
            yield _truncated(number)
        if not number:
            yield BadRow("", "not_jats", "expected an <article>; is this JATS XML?")

    def _article(
        self, start: bytes, rest: bytes, position: str, fields: dict[str, str]
    ) -> Iterator[Row | BadRow]:
        try:
            check_length(rest)
            missing = (
                b' xmlns:%s="%s"' % each for each in _PREFIXES.items() if b"xmlns:%s=" % each[0] not in start
            )
            parser = ElementTree.XMLParser()
            parser.entity.update(_ENTITIES)
            article = ElementTree.fromstring(_DOCTYPE + start[:-1] + b"".join(missing) + b">" + rest, parser)
            _keep_one_formula(article)
            values = {**_metadata(article), **self._text(article), **fields}
        except TooLong as error:
            yield BadRow(position, "record_too_long", str(error))
        except ElementTree.ParseError as error:
            yield BadRow(position, "invalid_xml", f"{error} of the article")
        except RecursionError:
            yield BadRow(position, "nested_too_deeply", "its elements are nested too deeply")
        else:
            yield Row(position, {name: value for name, value in values.items() if value})
            if inner := sum(name_of(each) in ("sub-article", "response") for each in article):
                detail = f"{inner} sub-articles of the article, such as reviews or translations, are not read"
                yield BadRow(position, "sub_article", detail)

    def _text(self, article: Element) -> dict[str, str]:
        meta = article.find("front/article-meta")
        title = text_of(meta.find("title-group/article-title")) if meta is not None else ""
        found = [] if meta is None else meta.findall("abstract")
        abstract = "\n\n".join(filter(None, (blocks_of(each, self._skipped) for each in found)))
        rest = [blocks_of(article.find(name), self._skipped) for name in ("body", "back")]
        text = "\n\n".join(filter(None, [title, abstract, *rest]))
        return {"text": text, "title": title, "abstract": abstract}


def _truncated(number: int) -> BadRow:
    return BadRow(str(number), "truncated_record", "the article has no </article>")


def _metadata(article: Element) -> dict[str, str]:
    meta = article.find("front/article-meta")
    if meta is None:
        return {}
    ids = {each.get("pub-id-type", ""): text_of(each) for each in meta.iterfind("article-id")}
    pmcid = ids.get("pmcid") or ids.get("pmc") or ids.get("pmcaid") or ""
    years = [year for each in meta.iterfind("pub-date/year") if (year := text_of(each)).isdecimal()]
    license = meta.find("permissions/license")
    found = "" if license is None else next((v for k, v in license.items() if k.endswith("}href")), "")
    inner = [] if license is None else [each for each in license.iter() if name_of(each) == "license_ref"]
    return {
        "pmcid": pmcid if not pmcid.isdecimal() else f"PMC{pmcid}",
        "pmid": ids.get("pmid", ""),
        "doi": ids.get("doi", ""),
        "journal": text_of(article.find("front/journal-meta/journal-title-group/journal-title")),
        "year": min(years, default=""),
        "license": found or (text_of(inner[0]) if inner else text_of(license)),
    }


def _keep_one_formula(article: Element) -> None:
    """Keep MathML where a formula has several notations, and of TeX only what stands in its document."""
    for element in article.iter():
        if name_of(element) in ("alternatives", "inline-formula", "disp-formula"):
            if any(name_of(each) == "math" for each in element):
                for each in [each for each in element if name_of(each) not in ("math", "label")]:
                    element.remove(each)
        elif name_of(element) == "tex-math" and (tex := _TEX.search(element.text or "")):
            element.text = tex[1].strip()
