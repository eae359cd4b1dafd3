"""Reading order of a PDF: words to lines, columns and paragraphs; running heads left out.

    words ─► lines, cut at wide gaps ─► without heads and feet ─► columns ─► paragraphs ─► pages joined
 A head or foot is a line in the outer tenth of a page that stands at the same height on other pages too, with
other numbers at most. A gutter is a vertical strip that no line of a zone crosses, with long lines on both
sides: short ones are the cells of a table, which is read row by row, its cells apart by a tab. A hyphen at
the end of a line goes if the next line continues in lower case, unless the document has the word with its
hyphen elsewhere.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from plugins.readers.markup import Script, joined
from plugins.readers.pdf_words import SMALLER, Box, Word, script_sign

_GAP = 1.0
_TOUCHING = 0.12
"""Gaps between words, in line heights: beyond the first a line is cut, below the second a word goes on."""

_MARGIN = 0.1
"""Share of a page's height, at its top and bottom, in which heads and feet stand."""

_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"\W*[ivxlc]+\W*")
_UNSPACED = "[\u0e00-\u0eff\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
_LEFTWARD = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
"""Scripts that are written from right to left; PDFium gives their letters and words as they are read."""

_NO_SPACE = re.compile(f"{_UNSPACED}\n{_UNSPACED}")
"""Ends of lines in scripts without spaces: Thai, Lao, Khmer, Chinese, Japanese."""

_BULLET = re.compile(r"[•‣▪◦●○■–*·-]\s|\(?(?:\d{1,2}|[a-z])[.)]\s")
_NOTE = re.compile(r"\^?\(?(?:\d{1,3}|[*†‡§¶a-z])\)?[.\s]?\s*[^\W\d]")
_ENDED = re.compile(r"[.!?:;。！？]['\"”’)\]]*(?:\^?\d+)?$")
_HYPHENATED = re.compile(r"\w+-\w+")
_HYPHEN = re.compile(r"([^\W\d_]+)[-\u2010\xad]$")
_TAIL = 80
"""Characters at the end of a text that decide how it goes on."""

_LEADERS = re.compile(r"(?:\.\s?){5}")
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


@dataclasses.dataclass(slots=True)
class Paragraph:
    """Lines that belong together, on a page."""

    text: str
    size: float
    separator: str  # between it and the paragraph before


def lines_of(words: Iterable[Word]) -> list[Line]:
    """Join the words of a page to lines, cut where a gap is wide or the next word stands elsewhere."""
    lines: list[Line] = []
    pieces: list[str | Script] = []
    words = _scripts_behind_their_words(list(words))
    left = right = bottom = top = 0.0
    for word in words:
        box = word.box
        size, other = top - bottom, box.top - box.bottom
        gap, overlap = box.left - right, min(top, box.top) - max(bottom, box.bottom)
        if gap < 0 and isinstance(word.pieces[0], str) and _LEFTWARD.match(word.pieces[0]):
            gap = left - box.right
        size, smaller = (size, other) if size > other else (other, size)
        if not pieces or overlap < 0.4 * smaller or not -0.4 * size < gap < _GAP * size:
            if pieces:
                lines.append(Line(" ".join(joined(pieces).split()), Box(left, right, bottom, top)))
            pieces = [*word.pieces]
            left, right, bottom, top = box
            continue
        if word.is_spaced or gap > _TOUCHING * size:
            pieces.append(" ")
        if smaller < size and (sign := script_sign(box, Box(left, right, bottom, top))):
            pieces.append(Script(sign, joined([*word.pieces])))
        else:
            pieces += word.pieces
        if other > top - bottom:
            bottom, top = box.bottom, box.top
        left, right = min(left, box.left), max(right, box.right)
    if pieces:
        lines.append(Line(" ".join(joined(pieces).split()), Box(left, right, bottom, top)))
    return [line for line in lines if line.text]


def _scripts_behind_their_words(words: list[Word]) -> list[Word]:
    """Put small raised or lowered words behind those that they touch: some files draw them apart."""
    usual = statistics.median(word.box.height for word in words) if words else 0.0
    small = {at for at, word in enumerate(words) if word.box.height < SMALLER * usual}
    if not 0 < len(small) < len(words) / 2:
        return words
    ends: dict[int, list[int]] = {}
    for at in set(range(len(words))) - small:
        ends.setdefault(round(words[at].box.right), []).append(at)
    behind: dict[int, int] = {}
    for at in sorted(small):
        box = words[at].box
        places = (ends.get(round(box.left) + step, ()) for step in (0, -1, 1))
        for other in itertools.chain.from_iterable(places):
            base = words[other].box
            is_near = (
                abs(box.left - base.right) < _TOUCHING * base.height
                and box.bottom < base.top < box.top + usual
            )
            if is_near and box.top > base.bottom and script_sign(box, base):
                behind[other] = at
                break
    moved = {*behind.values()}
    order = (each for at in range(len(words)) if at not in moved for each in (at, behind.get(at)))
    return [words[at] for at in order if at is not None]


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


def text_of_pages(pages: Sequence[Page]) -> str:
    """Return the text of pages in reading order: a blank line between paragraphs, none between list items."""
    sizes = [line.box.height for page in pages for line in page.lines for _ in line.text.split()]
    body = statistics.median(sizes) if sizes else 1.0
    known = {word for page in pages for line in page.lines for word in _HYPHENATED.findall(line.text.lower())}
    paragraphs: list[Paragraph] = []
    notes: list[Paragraph] = []
    for page in pages:
        of_page: list[Paragraph] = []
        below: list[Paragraph] = []
        for zone in _zones(page.lines):
            found = _paragraphs(zone, known)
            end = len(found)
            while end and found[end - 1].size < 0.93 * body and _NOTE.match(found[end - 1].text):
                end -= 1
            of_page += found[:end]
            below += found[end:]
        for each in of_page:
            last = paragraphs[-1] if paragraphs else None
            if last is not None and _continues(last, each):
                last.text = _join(last.text, each.text, known)
                continue
            # Notes wait until the paragraph above them has ended, perhaps on the next page.
            paragraphs += [*notes, each]
            notes = []
        notes += below
    paragraphs += notes
    return "".join(f"{each.separator}{each.text}" for each in paragraphs).strip()


def _continues(last: Paragraph, following: Paragraph) -> bool:
    """True if a paragraph goes on at the top of the next column or page."""
    if "\t" in last.text or "\t" in following.text or abs(last.size - following.size) > 0.12 * last.size:
        return False
    return (
        not _ENDED.search(last.text[-_TAIL:])
        and following.text[:1].islower()
        and not _BULLET.match(following.text)
    )


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


def _zones(lines: Sequence[Line]) -> Iterator[list[Line]]:
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
                yield from _zones(column)
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


def _paragraphs(lines: Sequence[Line], known: set[str]) -> list[Paragraph]:
    found: list[Paragraph] = []
    left, right = min(line.box.left for line in lines), max(line.box.right for line in lines)
    steps = [above.box.bottom - below.box.bottom for above, below in itertools.pairwise(lines)]
    usual = statistics.median_low(steps) if steps else 0.0
    before: Line | None = None
    indent = 0.0  # of the line before
    for line in lines:
        line.is_row = line.is_row or bool(_LEADERS.search(line.text))  # a table of contents
        size, is_item = line.box.height, bool(_BULLET.match(line.text))
        separator = "\n\n"
        if before is not None:
            step, at = before.box.bottom - line.box.bottom, line.box.left - left
            is_short = before.box.right < right - 0.15 * (right - left)
            ended = bool(_ENDED.search(before.text[-_TAIL:]))
            starts_item = is_item and (ended or is_short or line.text[0] in "•‣▪◦●○■")
            is_apart = step > 1.35 * usual or abs(size - before.box.height) > 0.12 * size
            if line.is_row or before.is_row or starts_item:
                separator = "\n\n" if is_apart and not (line.is_row and before.is_row) else "\n"
            elif not is_apart and not (is_short and ended):
                starts = at > indent + 0.8 * size and not _BULLET.match(found[-1].text) and ended
                leaves = at < indent - 0.8 * size and bool(_BULLET.match(found[-1].text)) and ended
                separator = "\n\n" if starts or leaves else ""
        if separator:
            found.append(Paragraph(line.text, size, separator))
        else:
            found[-1].text = _join(found[-1].text, line.text, known)
        before, indent = line, line.box.left - left
    return found


def _join(text: str, following: str, known: set[str]) -> str:
    """Join two lines of a paragraph, and the halves of a word cut by a hyphen."""
    if not (found := _HYPHEN.search(text[-_TAIL:])):
        if _NO_SPACE.fullmatch(f"{text[-1:]}\n{following[:1]}"):
            return f"{text}{following}"
        # A number or a name keeps its hyphen: 10-\n20 mg, COVID-\n19.
        return f"{text}{following}" if re.search(r"\w[-\u2010]$", text[-2:]) else f"{text} {following}"
    rest = re.match(r"\w*", following)
    assert rest is not None
    whole = f"{found[1]}-{rest[0]}".lower()
    if not following[:1].islower() or (text[-1] != "\xad" and whole in known):
        return f"{text}{following}"
    return f"{text[:-1]}{following}"
