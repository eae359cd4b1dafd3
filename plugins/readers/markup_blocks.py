"""Text of marked-up XML or HTML in blocks: paragraphs, items of lists, rows of tables.

    <p>, <div>, <sec> …     a paragraph: a blank line before and after it
    <li>, <list-item>       - a line, or 1. a line; items of an inner list are indented
    <dt> and <dd>           - a line, and a line below it that is indented
    <tr>, <row>             the cells of a row on one line: 140 | 72; nothing below a cell of several rows;
                            signs in columns of their own join their numbers: $ | 5 | % is $5%
    <br>, <lb>, <break>     a new line
    <label>                 the beginning of the next line: 1. Introduction
    <pre>                   its lines, unchanged

Within a line the rules of `markup.py` hold, so that no number changes. A row with lists or tables in its
cells only arranges a page: its cells become paragraphs. So does a row with text in one cell, if no row
of the table has text in more, or if the text is several paragraphs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from xml.etree.ElementTree import Element

from plugins.readers.markup import LOOKS, Script, joined, lines_of, script_of, text_of
from plugins.readers.mathml import name_of

_BREAKS = {"br", "lb", "break"}
_ROWS = {"tr", "row"}
_ITEMS = {"li", "item", "list-item", "dt", "dd", "def-item"}
_AS_THEY_ARE = {"pre", "preformat"}
_PERHAPS = {"code", "quote"}  # what trafilatura calls <pre>
_NESTED = {"table", "ul", "ol", "list"}
_PARAGRAPHS = {"p", "div", *_BREAKS}
_MOST_COLUMNS = 1_000  # of a cell, as in the HTML standard
_BEFORE_NUMBER = re.compile(r"\(?(?:[A-Z]{0,3}\$|[€£¥₹₩])?\(?")
_AFTER_NUMBER = re.compile(r"\)?[%‰]?\)?")
_DIGIT = re.compile(r"\d")
_GROUPS = {"thead", "tbody", "tfoot", "tgroup"}
_INLINE = {
    *("img", "picture", "source", "input", "button", "rt", "rp", "del", "s", "strike"),
    *("inline-graphic", "overline"),
}


def blocks_of(element: Element | None, skipped: Container[str] = ()) -> str:
    """Return the text of an element, without the elements of the skipped names; "" without an element.

    Raises:
        RecursionError: Elements are nested too deeply.
    """
    if element is None:
        return ""
    writer = _Writer(skipped)
    writer.write(element)
    writer.end_paragraph()
    return "\n".join(writer.lines).strip("\n")


class _Writer:
    """Lines that are written, and the pieces of the one that is open."""

    def __init__(self, skipped: Container[str]):
        self.lines: list[str] = []
        self._skipped = skipped
        self._pieces: list[str | Script] = []
        self._label = 0  # number of pieces of a label, which waits for the text of the next block
        self._bullet = ""  # waits for the text of its item
        self._indent = ""  # of lines in the open items
        self._number: int | None = None  # of the next item; None in a list without numbers
        self._has_columns = False  # of the open table
        self._spanned: Counter[int] = Counter()  # rows that a cell above still covers, by column
        self._rows: list[tuple[int, list[str]]] = []  # of the open table: places in `lines`, and cells

    def write(self, element: Element) -> None:
        name = name_of(element)
        if name in self._skipped:
            return
        if script := script_of(element):
            self._pieces.append(script)
        elif name in _AS_THEY_ARE or (name in _PERHAPS and not len(element) and "\n" in (element.text or "")):
            self.end_paragraph()
            self.lines += lines_of(element).strip("\n").splitlines()
            self.end_paragraph()
        elif name in LOOKS:
            self._inside(element)
        elif name == "label":
            self._inside(element)
            self._pieces.append(" ")
            self._label = len(self._pieces)
        elif name in _BREAKS:
            self._end_line()
        elif name in _ROWS and not self._arranges(element):
            self._end_line()
            self._rows.append((len(self.lines), [*self._cells(element)]))
            self.lines.append(_line(self._rows[-1][1]))
        elif name in _ITEMS:
            self._item(element, name)
        elif name in _ROWS | _GROUPS:
            self._inside(element)
        elif name in _INLINE:
            self._pieces.append(" ")
            self._inside(element)
            self._pieces.append(" ")
        else:
            outer = self._number, self._has_columns, self._spanned, self._rows
            self._number = _first_number(element)
            if name == "table":
                self._spanned, self._rows = Counter(), []
                rows = (each for each in element.iter() if name_of(each) in _ROWS)
                self._has_columns = any(len(_filled(row)) > 1 for row in rows)
            self.end_paragraph(is_last=False)
            self._inside(element)
            if name == "table":
                self._end_table()
            self.end_paragraph()
            self._number, self._has_columns, self._spanned, self._rows = outer

    def end_paragraph(self, *, is_last: bool = True) -> None:
        self._end_line(is_last=is_last)
        if self.lines and self.lines[-1] and not self._indent:
            self.lines.append("")

    def _item(self, element: Element, name: str) -> None:
        self._end_line()
        mark = "- "
        if "dd" in (name, element.get("rend", "").partition("-")[0]):
            mark = "  "
        elif label := element.get("n"):
            mark = f"{label} "
        elif self._number is not None:
            mark, self._number = f"{self._number}. ", self._number + 1
        outer, self._bullet = self._indent, self._indent + mark
        self._indent += " " * len(mark)
        self._inside(element)
        self._end_line()
        self._indent, self._bullet = outer, ""

    def _cells(self, row: Element) -> Iterator[str]:
        """Yield the texts of a row's cells, "" for each place that a cell of a row above covers."""
        column = 0
        for cell in row:
            while self._spanned[column] > 0:
                self._spanned[column] -= 1
                column += 1
                yield ""
            yield text_of(cell)
            for _ in range(min(_span(cell, "colspan"), _MOST_COLUMNS)):
                self._spanned[column] = _span(cell, "rowspan") - 1
                column += 1

    def _end_table(self) -> None:
        """Write the rows of a table; signs in columns of their own join their numbers."""
        alike: dict[int, list[list[str]]] = defaultdict(list)
        for _, cells in self._rows:
            alike[len(cells)].append(cells)
        for rows in alike.values():
            for column in reversed(range(len(rows[0]))):
                _join_signs(rows, column)
        for at, cells in self._rows:
            self.lines[at] = _line(cells)

    def _inside(self, element: Element) -> None:
        self._pieces.append(element.text or "")
        for child in element:
            self.write(child)
            self._pieces.append(child.tail or "")

    def _end_line(self, *, is_last: bool = True) -> None:
        """End the open line; one that is a label alone only if it is the last of its block."""
        if self._label and not is_last and not joined(self._pieces[self._label :]).strip():
            return
        self._label = 0
        text = joined(self._pieces).strip()
        if not text.isprintable() or "  " in text:  # other white space, or more of it
            text = " ".join(text.split())
        if text:
            self.lines.append((self._bullet or self._indent) + text)
            self._bullet = ""
        self._pieces = []

    def _arranges(self, row: Element) -> bool:
        filled = _filled(row)
        inner = [name_of(each) for cell in filled for each in cell.iter()]
        if len(filled) > 1 or not _NESTED.isdisjoint(inner):
            return not _NESTED.isdisjoint(inner)
        return not (filled and self._has_columns) or sum(name in _PARAGRAPHS for name in inner) > 1


def _line(cells: list[str]) -> str:
    return " | ".join(cells).rstrip(" |").lstrip()


def _join_signs(rows: list[list[str]], column: int) -> None:
    """Join a column of signs to the numbers beside it, if it holds nothing else: $ | 5 | % is $5%."""
    for pattern, beside in ((_BEFORE_NUMBER, column + 1), (_AFTER_NUMBER, column - 1)):
        if not 0 <= beside < len(rows[0]):
            continue
        pairs = [(row[column], row[beside]) for row in rows if row[column] and row[beside]]
        if pairs and all(pattern.fullmatch(sign) and _DIGIT.search(number) for sign, number in pairs):
            left = min(column, beside)
            for row in rows:
                row[left : left + 2] = [row[left] + row[left + 1]]
            return


def _filled(row: Element) -> list[Element]:
    return [cell for cell in row if any(text.strip() for text in cell.itertext())]


def _span(cell: Element, name: str) -> int:
    span = cell.get(name, "")
    return int(span) if re.fullmatch(r"[1-9][0-9]{0,4}", span) else 1


def _first_number(element: Element) -> int | None:
    """Return the number of the first item of a list of JATS; None if it has none, or names its items."""
    is_named = any(name_of(each) == "label" for item in element for each in item)
    return 1 if element.get("list-type") == "order" and not is_named else None
