"""Reading order of a PDF page: words to lines and columns; running heads left out.

    words ─► lines, cut at wide gaps ─► without heads and feet ─► columns from top to bottom
 A head or foot is a line in the outer tenth of a page that stands at the same height on other pages too, with
other numbers at most. A gutter is a vertical strip that no line of a zone crosses, with long lines on both
sides: short ones are the cells of a table, which is read row by row, its cells apart by a tab.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from plugins.readers.markup import Script, joined
from plugins.readers.pdf_words import GAP, SMALLEST, TOUCHING, Box, Word, script_sign

_MARGIN = 0.1
"""Share of a page's height, at its top and bottom, in which heads and feet stand."""

_NUMBER = re.compile(r"(?<!\w\w)(?<!\d)(?<!\d[.,])\d+(?!\w|[.,]\d)")
"""A whole number of its own, or S12: none in `P3L2` or 7.5."""

_ROMAN = re.compile(r"\W*[ivxlc]+\W*")
_LEFTWARD = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
"""Scripts that are written from right to left; PDFium gives their letters and words as they are read."""

_COLUMN_LINES = (2, 5)
"""Fewest lines of the shorter and of the longer of two columns."""

_COLUMN_CHARACTERS = 18
"""Fewest characters of the middle row of a column."""


_SCRIPT_CHARACTERS = 6
"""Most characters of a superscript that is no line of its own."""


_ITEM = re.compile(r"[^\w\s]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,5})[.)]?")
"""What stands before an item of a list, which is no cell."""

TABLE_STEP = 1.6
"""Between tables rows are further apart than in them, in usual steps between rows."""

_TABLE_CELLS = 3
"""Fewest cells of a full row of a table with empty cells; of two, an item and its number look the same."""


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


_Place = tuple[Page, Line]


def lines_of(words: Iterable[Word]) -> list[Line]:
    """Join the words of a page to lines, cut where a gap is wide or the next word stands elsewhere."""
    lines: list[list[Word]] = []
    left = right = bottom = top = 0.0
    for word in words:
        box = word.box
        size, other = top - bottom, box.top - box.bottom
        gap, overlap = box.left - right, min(top, box.top) - max(bottom, box.bottom)
        if gap < 0 and isinstance(word.pieces[0], str) and _LEFTWARD.match(word.pieces[0]):
            gap = left - box.right
        size, smaller = (size, other) if size > other else (other, size)
        if not lines or overlap < 0.4 * smaller or not -0.4 * size < gap < GAP * size:
            lines.append([word])
            left, right, bottom, top = box
            continue
        lines[-1].append(word._replace(is_spaced=word.is_spaced or gap > TOUCHING * size))
        if other > top - bottom:
            bottom, top = box.bottom, box.top
        left, right = min(left, box.left), max(right, box.right)
    return [line for line in map(_line, lines) if line.text]


def _line(words: list[Word]) -> Line:
    """Join words side by side; those above or below the base of the line are superscripts and subscripts."""
    if len(words) == 1:
        return Line(" ".join(joined([*words[0].pieces]).split()), words[0].box)
    base = _base(words)
    pieces: list[str | Script] = []
    for word in words:
        if word.is_spaced:
            pieces.append(" ")
        sign = script_sign(word.box, base)
        if sign and " " not in word.pieces[0]:
            pieces.append(Script(sign, joined([*word.pieces])))
        else:
            pieces += word.pieces
    left, right = min(word.box.left for word in words), max(word.box.right for word in words)
    return Line(" ".join(joined(pieces).split()), Box(left, right, base.bottom, base.top))


def _base(words: list[Word]) -> Box:
    """Return the box of the size and height that most characters of a line have.

    Short words right behind others do not count: 10^(-12) has more small characters than large ones.
    """
    first = words[0].box
    if all(word.box[2:] == first[2:] for word in words):
        return first
    weights: Counter[tuple[int, int]] = Counter()
    boxes: dict[tuple[int, int], Box] = {}
    before = 0.0  # height of the word before
    for word in words:
        key = round(word.box.height), round(word.box.bottom)
        boxes.setdefault(key, word.box)
        num_characters = sum(len(piece if isinstance(piece, str) else piece.text) for piece in word.pieces)
        is_script = num_characters <= _SCRIPT_CHARACTERS and word.box.height > SMALLEST * before
        weights[key] += 0 if before and is_script and not word.is_spaced else num_characters
        before = word.box.height
    return boxes[weights.most_common(1)[0][0]]


def remove_heads(pages: Sequence[Page]) -> list[list[Line]]:
    """Take running heads, feet and page numbers off the pages; return those of each kind."""
    found: dict[tuple[str, int], list[_Place]] = {}
    for page in (page for page in pages if page.height):
        for row in _rows(page.lines):
            bottom, top = min(each.box.bottom for each in row), max(each.box.top for each in row)
            if bottom > (1 - _MARGIN) * page.height or top < _MARGIN * page.height:
                for line in row:
                    key = _NUMBER.sub("#", line.text.lower())
                    key = "i" if _ROMAN.fullmatch(key) else key
                    # Heads of left and right pages stand at one height, but not at one side.
                    found.setdefault((key, round(bottom / 6)), []).append((page, line))
    removed: list[list[Line]] = []
    for (key, _), places in found.items():
        for heads in _alike(key, places):
            if len({page.number for page, _ in heads}) >= min(3, max(2, len(pages))):
                removed.append([line for _, line in heads])
                for page, line in heads:
                    page.lines.remove(line)
    return removed


def _alike(key: str, places: list[_Place]) -> Iterator[list[_Place]]:
    """Group lines by their numbers, apart from those that count the pages."""
    numbers = [list(map(int, _NUMBER.findall(line.text))) for _, line in places]
    first_pages = [  # of each number of each line, if it counts the pages from there on
        [number - page.number for number in found] for found, (page, _) in zip(numbers, places, strict=True)
    ]
    counted = [Counter(column) for column in zip(*first_pages, strict=True)]
    is_count = [max(each.values()) >= max(2, len(places) / 2) for each in counted]
    if not any(is_count) and not any(map(str.isalpha, key)):
        return  # numbers and signs that count nothing
    groups: dict[tuple[int, ...], list[_Place]] = {}
    for place, found, firsts in zip(places, numbers, first_pages, strict=True):
        others = (
            number for at, number in enumerate(found) if not is_count[at] or counted[at][firsts[at]] < 2
        )
        groups.setdefault(tuple(others), []).append(place)
    yield from groups.values()


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
        yield _table_rows(_rows(lines))
        return
    zone: list[Line] = []
    for row in [*_rows(lines), []]:
        if row and not any(line.box.left < gutter < line.box.right for line in row):
            zone += row
            continue
        yield from _zone(zone, gutter)
        zone = []
        if row:
            yield [_row(row)]


def _zone(lines: Sequence[Line], gutter: float) -> Iterator[list[Line]]:
    """Yield the columns of lines on both sides of a gutter, and those of what stands below both columns."""
    left = [line for line in lines if line.box.right <= gutter]
    right = [line for line in lines if line.box.left >= gutter]
    if left and right:
        end = max(min(line.box.bottom for line in side) for side in (left, right))
        beyond = [line for line in lines if line.box.bottom < end - 1]
        is_apart = bool(beyond) and end - max(line.box.top for line in beyond) > 1.2 * beyond[0].box.height
        if is_apart and not _is_prose(beyond):  # no paragraph of the longer column
            yield from _zone([line for line in lines if line.box.bottom >= end - 1], gutter)
            yield from columns_of(beyond)
            return
    for column in (right, left) if _is_leftward(lines) else (left, right):
        if column:
            yield from columns_of(column)


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


def _row(row: list[Line], has_cells: bool = False) -> Line:
    """Join the lines of one row: cells apart by a tab, words of a line with wide gaps by a space."""
    text, box = row[0].text, row[0].box
    is_row = False
    for line in row[1:]:
        is_cell = has_cells or max(line.box.left - box.right, box.left - line.box.right) > 1.5 * box.height
        is_row = is_row or is_cell
        text += ("\t" if is_cell else " ") + line.text
        left, right = min(box.left, line.box.left), max(box.right, line.box.right)
        box = Box(left, right, min(box.bottom, line.box.bottom), max(box.top, line.box.top))
    return Line(text, box, is_row)


def _table_rows(rows: Sequence[list[Line]]) -> list[Line]:
    """Join each row; in a table a cell keeps its column although cells before it are empty."""
    pairs = list(itertools.pairwise([[], *rows, []]))
    are_alike = [_are_alike(above, below) for above, below in pairs]
    joined_rows = [
        _row(row, above or below) for row, above, below in zip(rows, are_alike, are_alike[1:], strict=False)
    ]
    num_cells = [line.text.count("\t") + 1 for line in joined_rows]
    steps = [above.box.bottom - below.box.bottom for above, below in itertools.pairwise(joined_rows)]
    most = TABLE_STEP * statistics.median_low(steps) if steps else 0.0
    number_of_block = [0, *itertools.accumulate(step > most for step in steps)]

    def is_in_table(at: int) -> bool:
        is_between = (
            max(num_cells[max(at - 2, 0) : at], default=1) > 1 < max(num_cells[at + 1 : at + 3], default=1)
        )
        return num_cells[at] > 1 or is_between or (at > 0 and _is_below_cell(rows[at - 1], rows[at]))

    for (is_table, _), group in itertools.groupby(
        range(len(rows)), lambda at: (is_in_table(at), number_of_block[at])
    ):
        table = [*group]
        if not is_table:
            continue
        columns = _columns([rows[at] for at in table if len(rows[at]) == num_cells[at]])
        if len(columns) < _TABLE_CELLS:
            continue
        for at in table:
            cells = _cells(rows[at], columns)
            if cells and any(cells[1:]):
                joined_rows[at] = Line("\t".join(cells).rstrip("\t"), joined_rows[at].box, is_row=True)
    return joined_rows


def _columns(rows: Sequence[list[Line]]) -> list[tuple[float, float]]:
    """Return left and right of the columns of a table, nothing if cells stand in each other's way.

    They are those of its rows with most cells, or of all if no row has a cell in each.
    """
    most = max(map(len, rows), default=0)
    all_columns = _strips(rows)
    if len(all_columns) > most and all(len({*_places(row, all_columns)}) == len(row) for row in rows):
        return all_columns
    columns = _strips([row for row in rows if len(row) == most])
    return columns if len(columns) == most else []


def _strips(rows: Sequence[list[Line]]) -> list[tuple[float, float]]:
    strips: list[tuple[float, float]] = []
    for left, right in sorted((cell.box.left, cell.box.right) for row in rows for cell in row):
        if strips and left < strips[-1][1]:
            strips[-1] = strips[-1][0], max(right, strips[-1][1])
        else:
            strips.append((left, right))
    return strips


def _places(row: list[Line], strips: Sequence[tuple[float, float]]) -> list[int]:
    return [next(at for at, (_, right) in enumerate(strips) if cell.box.left < right) for cell in row]


def _are_alike(above: list[Line], below: list[Line]) -> bool:
    """True if at least two cells of two rows stand below or above one another, and none below several."""
    few, many = sorted((above, below), key=len)
    if len(few) < 2:
        return False
    if len(many) == 2 and _ITEM.fullmatch(many[0].text) and not many[1].text[0].isdigit():
        return False
    num_aligned = 0
    for one in few:
        over = [each for each in many if one.box.left < each.box.right and each.box.left < one.box.right]
        if len(over) > 1 or (over and not _is_aligned(one.box, over[0].box.left, over[0].box.right)):
            return False
        num_aligned += len(over)
    return num_aligned > 1


def _is_below_cell(above: list[Line], row: list[Line]) -> bool:
    """True for a row of one cell below a cell that is not the first of its row."""
    (first, *others), box = above, row[0].box
    is_below = any(_is_aligned(box, cell.box.left, cell.box.right) for cell in others)
    return len(row) == 1 and is_below and box.left > first.box.right


def _cells(row: list[Line], columns: Sequence[tuple[float, float]]) -> list[str]:
    """Return the text of a row in each column; nothing if a line is aligned with none, or stands in two."""
    cells = [""] * len(columns)
    for line in row:
        left, right, _, _ = line.box
        fits = [
            at
            for at, (start, end) in enumerate(columns)
            if (left < end and start < right) or _is_aligned(line.box, start, end)
        ]
        if len(fits) != 1 or not _is_aligned(line.box, *columns[fits[0]]):
            return []
        cells[fits[0]] = f"{cells[fits[0]]} {line.text}".strip()
    return cells


def _is_aligned(box: Box, start: float, end: float) -> bool:
    """True for a box within a column, or with its left, its right or its middle."""
    left, right = box.left - start, box.right - end
    return left >= 0 >= right or min(abs(left), abs(right), abs(left + right) / 2) < 0.5 * box.height
