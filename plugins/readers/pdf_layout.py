"""Reading order of a PDF page: words to lines and columns; running heads left out.

    words ─► lines, cut at wide gaps ─► without heads and feet ─► columns from top to bottom
 A head or foot is a line in the outer tenth of a page that stands at the same height on other pages too, with
other numbers at most. A gutter is a vertical strip that no line of a zone crosses, with long lines on both
sides: short ones are the cells of a table, which is read row by row, its cells apart by a tab.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from plugins.readers.markup import Script, joined
from plugins.readers.pdf_words import GAP, TOUCHING, Box, Word, script_sign

_MARGIN = 0.1
"""Share of a page's height, at its top and bottom, in which heads and feet stand."""

_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"\W*[ivxlc]+\W*")
_LEFTWARD = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
"""Scripts that are written from right to left; PDFium gives their letters and words as they are read."""

_COLUMN_LINES = (2, 5)
"""Fewest lines of the shorter and of the longer of two columns."""

_COLUMN_CHARACTERS = 18
"""Fewest characters of the middle row of a column."""


@dataclasses.dataclass(slots=True)
class Line:
    """Text on one line of a column or cell."""

    text: str
    box: Box
    is_row: bool = False  # True for cells of a row, apart by tabs


@dataclasses.dataclass(slots=True)
class Page:
    """Lines of a page, in points."""

    number: int
    height: float  # 0 if an engine gave the text, whose lines have no place
    lines: list[Line]


def lines_of(words: Iterable[Word]) -> list[Line]:
    """Join the words of a page to lines, cut where a gap is wide or the next word stands elsewhere."""
    lines: list[Line] = []
    pieces: list[str | Script] = []
    left = right = bottom = top = 0.0
    for word in words:
        box = word.box
        size, other = top - bottom, box.top - box.bottom
        gap, overlap = box.left - right, min(top, box.top) - max(bottom, box.bottom)
        if gap < 0 and isinstance(word.pieces[0], str) and _LEFTWARD.match(word.pieces[0]):
            gap = left - box.right
        size, smaller = (size, other) if size > other else (other, size)
        if not pieces or overlap < 0.4 * smaller or not -0.4 * size < gap < GAP * size:
            if pieces:
                lines.append(Line(" ".join(joined(pieces).split()), Box(left, right, bottom, top)))
            pieces = [*word.pieces]
            left, right, bottom, top = box
            continue
        if word.is_spaced or gap > TOUCHING * size:
            pieces.append(" ")
        sign = script_sign(box, Box(left, right, bottom, top))
        if sign and " " not in word.pieces[0]:  # a line beside a large first letter is no script
            pieces.append(Script(sign, joined([*word.pieces])))
        else:
            pieces += word.pieces
        if other > top - bottom:
            bottom, top = box.bottom, box.top
        left, right = min(left, box.left), max(right, box.right)
    if pieces:
        lines.append(Line(" ".join(joined(pieces).split()), Box(left, right, bottom, top)))
    return [line for line in lines if line.text]


def remove_heads(pages: Sequence[Page]) -> list[str]:
    """Take running heads, feet and page numbers off the pages; return one of each kind that was removed."""
    found: dict[tuple[str, int], list[tuple[Page, Line]]] = {}
    for page in (page for page in pages if page.height):
        for row in _rows(page.lines):
            bottom, top = min(each.box.bottom for each in row), max(each.box.top for each in row)
            if bottom > (1 - _MARGIN) * page.height or top < _MARGIN * page.height:
                for line in row:
                    key = _NUMBER.sub("#", line.text.lower())
                    key = "i" if _ROMAN.fullmatch(key) else key
                    # Heads of left and right pages stand at one height, but not at one side.
                    found.setdefault((key, round(bottom / 6)), []).append((page, line))
    removed: list[str] = []
    for (key, _), places in found.items():
        if len({page.number for page, _ in places}) >= min(3, max(2, len(pages))) and _is_head(key, places):
            removed.append(places[0][1].text)
            for page, line in places:
                page.lines.remove(line)
    return removed


def _is_head(key: str, places: list[tuple[Page, Line]]) -> bool:
    """True for words, and for a number alone that counts the pages."""
    if any(map(str.isalpha, key)) or key.count("#") != 1:
        return any(map(str.isalpha, key))
    offsets = Counter(int(_NUMBER.findall(line.text)[0]) - page.number for page, line in places)
    return max(offsets.values()) >= len(places) / 2


def _rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Group lines that stand side by side, from top to bottom, each group as they are read."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: -(each.box.top + each.box.bottom)):
        first = rows[-1][0].box if rows else line.box
        overlap = min(first.top, line.box.top) - max(first.bottom, line.box.bottom)
        if rows and overlap > 0.5 * min(first.height, line.box.height):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.box.left, reverse=_is_leftward(row)) for row in rows]


def _is_leftward(lines: Sequence[Line]) -> bool:
    return 2 * sum(bool(_LEFTWARD.search(line.text)) for line in lines) > len(lines)


def columns_of(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield the columns of a page in reading order, each as lines from top to bottom."""
    gutter = _gutter(lines)
    if not lines:
        return
    if gutter is None:
        yield [_row(row) for row in _rows(lines)]
        return
    zone: list[Line] = []
    for row in [*_rows(lines), []]:
        if row and not any(_crosses(line, gutter) for line in row):
            zone += row
            continue
        for side in (False, True) if _is_leftward(zone) else (True, False):
            column = [line for line in zone if (line.box.right <= gutter) is side]
            if column:
                yield from columns_of(column)
        zone = []
        if row:
            yield [_row(row)]


def _gutter(lines: Sequence[Line]) -> float | None:
    """Return the place of the strip between two columns, just left of the right one; None without columns."""
    starts = Counter(round(line.box.left) for line in lines)
    best, found = 0, None
    for start, _ in starts.most_common(8):
        gutter = start - 1.0
        left = [line for line in lines if line.box.right <= gutter]
        right = [line for line in lines if line.box.left >= gutter]
        fewest, most = sorted((len(left), len(right)))
        score = fewest - (len(lines) - fewest - most)  # the latter cross it, such as headings
        is_tall_enough = fewest >= _COLUMN_LINES[0] and most >= _COLUMN_LINES[1]
        if is_tall_enough and score > best and _is_prose(left) and _is_prose(right):
            best, found = score, gutter
    return found


def _is_prose(lines: Sequence[Line]) -> bool:
    """True if most rows have many characters and few gaps, and are about as long as the longest ones."""
    rows = _rows(lines)
    characters = [sum(len(line.text) for line in row) for row in rows]
    lengths = [max(each.box.right for each in row) - min(each.box.left for each in row) for row in rows]
    filled = [
        sum(line.box.right - line.box.left for line in row) / max(length, 1.0)
        for row, length in zip(rows, lengths, strict=True)
    ]
    # A row of two inner columns is twice as long as one where only one column has a line.
    is_full = statistics.median(lengths) >= 0.4 * sorted(lengths)[len(lengths) * 9 // 10]
    return (
        is_full and statistics.median(characters) >= _COLUMN_CHARACTERS and statistics.median(filled) >= 0.6
    )


def _crosses(line: Line, gutter: float) -> bool:
    return line.box.left < gutter < line.box.right


def _row(row: list[Line]) -> Line:
    """Join the lines of one row: cells apart by a tab, words of a line with wide gaps by a space."""
    text, box = row[0].text, row[0].box
    is_row = False
    for line in row[1:]:
        is_cell = max(line.box.left - box.right, box.left - line.box.right) > 1.5 * box.height
        is_row = is_row or is_cell
        text += ("\t" if is_cell else " ") + line.text
        left, right = min(box.left, line.box.left), max(box.right, line.box.right)
        box = Box(left, right, min(box.bottom, line.box.bottom), max(box.top, line.box.top))
    return Line(text, box, is_row)
