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
_INLINE_XBRL = re.compile(r"<ix:header\b.*?</ix:header>|</?ix:[^<>]*>", re.DOTALL | re.IGNORECASE)
"""Hidden facts, and the tags around facts in the text."""

_OLD_TAGS = re.compile(r"</?(?:PAGE|TABLE|CAPTION|S|C|FN|F\d+|R)>", re.IGNORECASE)
"""Tags that older filings put into plain text."""

_HEADER = {
    "accession": "ACCESSION NUMBER",
    "form": "CONFORMED SUBMISSION TYPE",
    "period": "CONFORMED PERIOD OF REPORT",
    "filed": "FILED AS OF DATE",
    "company": "COMPANY CONFORMED NAME",
    "cik": "CENTRAL INDEX KEY",
    "sic": "STANDARD INDUSTRIAL CLASSIFICATION",
}
_HEADING = re.compile(
    r"^[^\S\n|]*(?:part[^\S\n]+([ivx]+)\b[^\n\w]*)?"
    r"(?:item[^\S\n|]*(\d{1,2}(?:\.\d\d|[a-c])?)\b([^\n]{0,200}))?$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that begins a part, an item or both."""

_PARTS = ("", "I", "II", "III", "IV")
_MOST_HEADINGS = 1_000
"""Lines that are looked at. A part or an item begins in each; filings have less than a hundred."""


class _Heading(NamedTuple):
    """A line that may begin an item: its offset, the item's number and part, and the words behind them."""

    start: int
    number: str
    part: str
    title: str

    @property
    def order(self) -> tuple[int, int, str]:
        """Rank among items: part, number, suffix such as "A" or ".02"."""
        digits = re.match(r"\d+", self.number)
        assert digits is not None
        return (
            len(_PARTS) if self.part not in _PARTS else _PARTS.index(self.part),
            int(digits[0]),
            self.number,
        )


class _Item(NamedTuple):
    """An item of a filing: its number ("1A"), its part ("II" or ""), its heading, and its text."""

    number: str
    part: str
    title: str
    text: str


class EdgarReader(Reader):
    """Reads filings. Positions are items: `0000320193-23-000106.txt:Item 1A`, or none for a whole filing.

    Fields of a row: `text`, `item`, `part`, `title` (the heading), `id` (accession number, part, item), and
    of the header `cik`, `company`, `form`, `period`, `filed`, `accession`, `sic`. A row lacks the fields that
    the filing lacks. Of several filers the first counts.
    """

    own_fields = frozenset({"encoding"})
    needs_html = True

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        passed_over: Counter[str] = Counter()
        number, data = 0, b""
        try:
            for data in pieces(chunks(uri), _END):
                number += bool(data.strip())
                if number == 1:
                    yield from self._filing(data)
                elif found := _TYPE.search(data):
                    passed_over[found[1].decode("ascii", "replace")] += 1
        except DAMAGED as error:
            yield BadRow.damaged("", error, f"{number} documents of the filing")
        else:
            if number > 1 and b"<DOCUMENT>" in data:
                yield BadRow("", "truncated_file", f"the file ends in document {number} of the filing")
        yield from BadRow.passed_over(passed_over)

    def _filing(self, data: bytes) -> Iterator[Row | BadRow]:
        """Yield the rows of a header and main document, or of a page alone."""
        found = _TEXT.search(data)
        try:
            check_length(data)
            if foreign := text_encoding.foreign(data, text_encoding.AUTO):
                yield BadRow("", "not_edgar", foreign)
                return
            if found is None and not (b"<SEC-" not in data and _PAGE.search(data)):
                yield BadRow(
                    "", "not_edgar", "expected <SEC-HEADER> and <DOCUMENT> … <TEXT>, or a page in HTML"
                )
                return
            if found is not None and not found[2]:
                yield BadRow("", "truncated_file", "the main document has no </TEXT>")
                return
            body = found[1] if found else data
            text, fields = decode_page(body, self.source.encoding)
            is_page = _PAGE.search(body) is not None
            text = (_INLINE_XBRL if is_page else _OLD_TAGS).sub("", text)
            text = html_text(text, main_only=False).text if is_page else text
            header = dict(_header(data[: found.start()].decode("utf-8", "replace"))) if found else {}
        except TooLong as error:
            yield BadRow("", "record_too_long", str(error))
            return
        except (text_encoding.Undecodable, HtmlError) as error:
            yield BadRow("", *error.args)
            return
        for item in items_of(text):
            name = " ".join(
                filter(None, (item.part and f"Part {item.part}", item.number and f"Item {item.number}"))
            )
            values = {
                **header,
                **fields,
                "text": item.text,
                "item": item.number,
                "part": item.part,
                "title": item.title,
                "id": ":".join(filter(None, (header.get("accession"), name))),
            }
            yield Row(name, {key: value for key, value in values.items() if value})


def _header(text: str) -> Iterator[tuple[str, str]]:
    for name, label in _HEADER.items():
        if found := re.search(rf"^\s*{label}:[ \t]*(\S[^\n\r]*)", text, re.MULTILINE):
            yield name, found[1].strip()


def items_of(text: str) -> Iterator[_Item]:
    """Yield the items of a filing's text in order, with all of its text; the whole text if it has none."""
    chosen = _chosen(_headings(text), len(text))
    ends = [*(each.start for each in chosen), len(text)]
    for item, end in zip([_Heading(0, "", "", ""), *chosen], ends, strict=True):
        if body := text[item.start : end].strip():
            yield _Item(item.number, item.part, item.title, body)


def _headings(text: str) -> list[_Heading]:
    """Return all lines that may begin an item. An item has no part only if it never has one."""
    part, found = "", []
    for line in itertools.islice(_HEADING.finditer(text), _MOST_HEADINGS):
        part = (line[1] or part).upper()
        if line[2]:
            found.append(_Heading(line.start(), line[2].upper(), part, line[3].strip(" \t.:|-–—")))
    with_part = {each.number for each in found if each.part}
    return [each for each in found if each.part or each.number not in with_part]


def _chosen(headings: list[_Heading], length: int) -> list[_Heading]:
    """Return the headings in rising order of parts and items that have the most text behind them."""
    ends = [*(each.start for each in headings[1:]), length]
    best: list[
        tuple[int, int]
    ] = []  # for each heading the text of the chain that ends in it, and its previous
    for heading, end in zip(headings, ends if headings else [], strict=True):
        order = heading.order
        before = [(total, at) for at, (total, _) in enumerate(best) if headings[at].order < order]
        total, previous = max(before, default=(0, -1))
        best.append((total + end - heading.start, previous))
    at = max(range(len(best)), key=lambda index: best[index][0], default=-1)
    chain: list[_Heading] = []
    while at >= 0:
        chain.append(headings[at])
        _, at = best[at]
    return chain[::-1]
