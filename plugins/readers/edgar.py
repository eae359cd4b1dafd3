"""Filings of the SEC's EDGAR: the items of a filing's main document, a document each.

    <SEC-HEADER> … CENTRAL INDEX KEY: … </SEC-HEADER>      fields of every row
    <DOCUMENT> <TYPE>10-K … <TEXT> … </TEXT> </DOCUMENT>   the main document, HTML or plain text
    <DOCUMENT> <TYPE>EX-21 …                               exhibits and pictures: passed over and counted

A file may also be the main document alone, in HTML. A line such as "Item 1A. Risk Factors" may begin an item.
Those lines count that rise in order and have the most text behind them, so a table of contents begins none.
Text before the first item is a document too, and so is a filing without items.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks, pieces
from plugins.readers.html_text import HtmlError, decode_page, html_text

_END = b"</DOCUMENT>"
_TEXT = re.compile(rb"<TEXT>(.*?)(</TEXT>|\Z)", re.DOTALL)
_TYPE = re.compile(rb"<TYPE>([^\s<]+)")
_PAGE = re.compile(rb"<(?:html|xbrl|body|!doctype html)\b", re.IGNORECASE)
_IN_PAGE = re.compile(rb"</?(?:p|div|span|font|br|hr|b|i|u|a|td|tr|li|h[1-6]|center)(?:\s[^<>]*)?/?>", re.I)
"""Tags of HTML that no plain text has, for pages without the tags around them."""

_SUBMISSION = re.compile(rb"<(?:SEC|IMS)-(?:HEADER|DOCUMENT)>")
_INLINE_XBRL = re.compile(r"<ix:header\b.*?</ix:header>|</?ix:[^<>]*>", re.DOTALL | re.IGNORECASE)
"""Hidden facts, and the tags around facts in the text."""

_OLD_TAGS = re.compile(r"</?(?:PAGE|TABLE|CAPTION|S|C|FN|F\d+|R)>", re.IGNORECASE)
"""Tags that older filings put into plain text."""

_HEADER = {
    "ACCESSION NUMBER": "accession",
    "CONFORMED SUBMISSION TYPE": "form",
    "CONFORMED PERIOD OF REPORT": "period",
    "FILED AS OF DATE": "filed",
    "COMPANY CONFORMED NAME": "company",
    "CENTRAL INDEX KEY": "cik",
    "STANDARD INDUSTRIAL CLASSIFICATION": "sic",
}
_LABELLED = re.compile(r"^[ \t]*([A-Z ]+):[ \t]*(\S[^\n\r]*)", re.MULTILINE)
_HEADING = re.compile(
    r"^[^\S\n|]*(?:part[^\S\n]+([ivx]+)\b"
    r"(?:[^\n\w]*|[^\S\n]*[-–—.:|][^\n]{0,100}|[^\S\n]+(?-i:[A-Z][^\na-z]{0,100})))?"  # the part's title
    r"(?:\bitem[^\S\n|]*(\d{1,2}(?:\.\d\d|[a-c])?)\b([^\n]{0,200}))?$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that begins a part, an item or both."""

_TITLE = re.compile(r"\s{0,200}(?:[^\n]{1,100}\n)?\s{0,200}")
"""What may stand between the line of a part and its first item."""

_PARTS = ("", "I", "II", "III", "IV")
_MOST_HEADINGS = 1_000
"""Lines that are looked at. A part or an item begins in each; filings have less than a hundred."""


class _Heading(NamedTuple):
    """A line that may begin an item: offset, number ("1A") and part ("II") of the item, the words behind."""

    start: int = 0
    number: str = ""
    part: str = ""
    title: str = ""

    @property
    def order(self) -> tuple[int, int, str]:
        """Rank among items: part, number, suffix such as "A" or ".02"."""
        part = _PARTS.index(self.part) if self.part in _PARTS else len(_PARTS)
        return part, int(re.split(r"\D", self.number)[0]), self.number

    @property
    def name(self) -> str:
        """Name of the item: "Part II Item 1A"; "" for text before the first."""
        return " ".join(
            filter(None, (self.part and f"Part {self.part}", self.number and f"Item {self.number}"))
        )


class EdgarReader(Reader):
    """Reads filings. Positions are items: `0000320193-23-000106.txt:Item 1A`, or none for a whole filing.

    Fields of a row: `text`, `item`, `part`, `title` (the heading), `id` (accession number, part, item), and
    of the header `cik`, `company`, `form`, `period`, `filed`, `accession`, `sic`. A row lacks the fields that
    the filing lacks: without a header there is no `id`. Of several filers the first counts. Positions in
    further submissions of a file begin with their number: `2:Item 1A`.
    """

    own_fields = frozenset({"encoding"})
    needs_html = True
    fields = frozenset({"text", "item", "part", "title", "id", *_HEADER.values()})

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        passed_over: Counter[str] = Counter()
        number, num_filings, data = 0, 1, b""
        try:
            for data in pieces(chunks(uri), _END):
                number += bool(data.strip())
                is_next = number > 1 and _SUBMISSION.search(data.partition(b"<TEXT>")[0]) is not None
                num_filings += is_next
                if number == 1 or is_next:
                    yield from self._filing(data, f"{num_filings}:" if is_next else "")
                elif found := _TYPE.search(data):
                    passed_over[found[1].decode("ascii", "replace")] += 1
        except DAMAGED as error:
            yield BadRow.damaged("", error, f"{number} documents of the filing")
        else:
            if number > 1 and b"<DOCUMENT>" in data:
                yield BadRow("", "truncated_file", f"the file ends in document {number} of the filing")
        yield from BadRow.passed_over(passed_over)

    def _filing(self, data: bytes, place: str) -> Iterator[Row | BadRow]:
        """Yield the rows of a header and main document, or of a page alone, at positions behind `place`."""
        try:
            check_length(data)
            header, text = self._header_and_text(data)
        except TooLong as error:
            yield BadRow(place, "record_too_long", str(error))
        except (_NoFiling, text_encoding.Undecodable, HtmlError) as error:
            yield BadRow(place, *error.args)
        else:
            accession = header.get("accession")
            for heading, body in items_of(text):
                values = {
                    **header,
                    "text": body,
                    "item": heading.number,
                    "part": heading.part,
                    "title": heading.title,
                    "id": accession and ":".join(filter(None, (accession, heading.name))),
                }
                yield Row(place + heading.name, {key: value for key, value in values.items() if value})

    def _header_and_text(self, data: bytes) -> tuple[dict[str, str], str]:
        if foreign := text_encoding.foreign(data, text_encoding.AUTO):
            raise _NoFiling("not_edgar", foreign)
        found = _TEXT.search(data)
        if found is None and (b"<SEC-" in data or not _PAGE.search(data)):
            expected = "expected <SEC-HEADER> and <DOCUMENT> … <TEXT>, or a page in HTML"
            raise _NoFiling("not_edgar", expected)
        if found is not None and not found[2]:
            raise _NoFiling("truncated_file", "the main document has no </TEXT>")
        head, body = (data[: found.start()], found[1]) if found else (b"", data)
        text, fields = decode_page(body, self.source.encoding)
        labelled = _LABELLED.findall(decode_page(head, self.source.encoding)[0])
        for label, value in reversed(labelled):  # of several filers the first counts
            if label in _HEADER:
                fields[_HEADER[label]] = value.strip()
        if _PAGE.search(body) is None and _IN_PAGE.search(body) is None:
            return fields, _OLD_TAGS.sub("", text)
        return fields, html_text(_INLINE_XBRL.sub("", text), main_only=False).text


class _NoFiling(Exception):
    """A file that cannot be read. Its arguments: a reason, and details."""


def items_of(text: str) -> Iterator[tuple[_Heading, str]]:
    """Yield the items of a filing's text in order, with all of its text; the whole text if it has none."""
    chosen = [_Heading(), *_chosen(_headings(text), len(text))]
    for heading, following in itertools.zip_longest(chosen, chosen[1:]):
        if body := text[heading.start : following and following.start].strip():
            yield heading, body


def _headings(text: str) -> list[_Heading]:
    """Return all lines that may begin an item. An item has no part only if it never has one."""
    part, found = "", []
    part_line: re.Match[str] | None = None  # until an item follows
    for line in itertools.islice(_HEADING.finditer(text), _MOST_HEADINGS):
        if line[1]:
            part, part_line = line[1].upper(), line
        if line[2]:
            start = line.start()
            if part_line and _TITLE.fullmatch(text, part_line.end(), max(start, part_line.end())):
                start = part_line.start()
            part_line = None
            found.append(_Heading(start, line[2].upper(), part, line[3].strip(" \t.:|-–—")))
    with_part = {each.number for each in found if each.part}
    return [each for each in found if each.part or each.number not in with_part]


def _chosen(headings: list[_Heading], length: int) -> list[_Heading]:
    """Return the headings in rising order of parts and items that have the most text behind them."""
    chains: list[tuple[int, list[_Heading]]] = []  # for each heading the best that ends in it, and its text
    ends = [*(each.start for each in headings[1:]), length]
    for heading, end in zip(headings, ends, strict=False):
        before = [each for each in reversed(chains) if each[1][-1].order < heading.order]
        text, chain = max(before, key=operator.itemgetter(0), default=(0, []))
        chains.append((text + end - heading.start, [*chain, heading]))
    return max(chains, key=operator.itemgetter(0), default=(0, []))[1]
