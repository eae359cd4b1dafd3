"""Paragraphs of a PDF: lines in reading order to text.

    lines of a column ─► paragraphs ─► notes behind the paragraph above them ─► columns and pages joined

A hyphen at the end of a line goes if the next line continues in lower case, unless the document shows that it
belongs to the word: it has `well-known` elsewhere; or `well` and `known`, but not `wellknown`.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import re
import statistics
from collections import Counter
from collections.abc import Sequence

from plugins.readers.pdf_layout import TABLE_STEP, Line, Page, columns_of
from schemas.page_starts import page_start

_UNSPACED = "[\u0e00-\u0eff\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
_NO_SPACE = re.compile(f"{_UNSPACED}\n{_UNSPACED}")
"""Ends of lines in scripts without spaces: Thai, Lao, Khmer, Chinese, Japanese."""

_SYMBOLS = "•‣▪◦●○■"
_BULLET = re.compile(rf"[{_SYMBOLS}–*·-]\s|\(?(?:\d{{1,2}}|[a-z])[.)]\s")
_NUMBERED = re.compile(r"\(?(\d{1,2})[.)]\s")
_NOTE = re.compile(r"\^?\(?(?:\d{1,3}|[*†‡§¶a-z])\)?[.\s]?\s*[^\W\d]")
_ENDED = re.compile(r"[.!?:;。！？]['\"”’)\]]*(?:\^?\d+)?$")
_LEADERS = re.compile(r"(?:\.\s?){5}")
_HYPHENS = "-\u2010\xad"
_TERM = re.compile(r"\w+(?:[-\u2010]\w+)*(?![\w\u2010\xad-])")
"""A word or compound; the first half of one that a hyphen cuts at the end of a line is none."""

_FIRST_WORD, _LAST_WORD = re.compile(r"\w*"), re.compile(r"[^\W\d_]+$")
_SHOWN = dict(zip(map(ord, "ﬀﬁﬂﬃﬄﬅﬆ\xad"), ("ff", "fi", "fl", "ffi", "ffl", "st", "st", ""), strict=True))
"""Ligatures as letters, and soft hyphens, which show only at the end of a line."""

_SUSPENDED = frozenset(("and", "or", "und", "oder"))
"""Words behind a hyphen that stands for a later word: pre- and postoperative."""

_SHORT = 0.15
"""Share of a column's width that a short line leaves free."""

_ADDRESS = re.compile(r"(?:://|www\.|@)\S*$")
_TAIL = 80
"""Characters at the end of a text that decide how it goes on."""


@dataclasses.dataclass(slots=True)
class Paragraph:
    """Lines that belong together."""

    text: str
    size: float
    separator: str  # between it and the paragraph before
    starts: list[tuple[int, int]]  # number of a page, and the offset of its first character


def text_of_pages(pages: Sequence[Page]) -> tuple[str, tuple[str, ...]]:
    """Return the text of pages, and entries of their starts (schemas/page_starts.py).

    A blank line stands between paragraphs, none between list items. A page begins twice if its notes wait for
    the end of a paragraph, which may be on the next page.
    """
    lines = [line for page in pages for line in page.lines]
    sizes = [line.box.height for line in lines for _ in line.text.split()]
    body = statistics.median(sizes) if sizes else 1.0
    terms = Counter(term for line in lines for term in _TERM.findall(line.text.lower()))
    paragraphs: list[Paragraph] = []
    notes: list[Paragraph] = []
    for page in pages:
        below: list[Paragraph] = []
        for column in columns_of(page.lines):
            found = _paragraphs(column, terms, page.number)
            end = len(found)
            while end and found[end - 1].size < 0.93 * body and _NOTE.match(found[end - 1].text):
                end -= 1
            below += found[end:]
            for number, each in enumerate(found[:end]):
                if paragraphs and not number and _continues(paragraphs[-1], each):
                    _append(paragraphs[-1], each.text, terms, page.number)
                else:
                    paragraphs += [*notes, each]
                    notes = []
        notes += below
    text = ""
    starts: list[tuple[int, int]] = []
    for each in [*paragraphs, *notes]:
        text += each.separator if text else ""
        for number, offset in each.starts:
            if not starts or starts[-1][0] != number:
                starts.append((number, len(text) + len(each.text[:offset].translate(_SHOWN))))
        text += each.text.translate(_SHOWN)
    return text, tuple(page_start(number, text, offset) for number, offset in starts)


def _paragraphs(lines: Sequence[Line], terms: Counter[str], page_number: int) -> list[Paragraph]:
    """Join the lines of a column to paragraphs, list items and rows."""
    found: list[Paragraph] = []
    left, right = min(line.box.left for line in lines), max(line.box.right for line in lines)
    steps = [above.box.bottom - below.box.bottom for above, below in itertools.pairwise(lines)]
    usual = statistics.median_low(steps) if steps else 0.0
    rights = _right_edges(lines, right, usual)
    before: Line | None = None
    indent = 0.0  # of the line before
    for line, edge in zip(lines, [0.0, *rights], strict=False):
        line.is_row = line.is_row or bool(_LEADERS.search(line.text))  # a table of contents
        size, at, is_item = line.box.height, line.box.left - left, bool(_BULLET.match(line.text))
        separator = "\n\n"
        if before is not None:
            is_short = before.box.right < right - _SHORT * (right - left)
            ended = bool(_ENDED.search(before.text[-_TAIL:]))
            is_next = is_item and _number(line.text) == _number(found[-1].text) + 1 > 1
            starts_item = is_item and (ended or is_short or is_next or line.text[0] in _SYMBOLS)
            step = before.box.bottom - line.box.bottom
            is_apart = step > 1.35 * usual or abs(size - before.box.height) > 0.12 * size
            if line.is_row or before.is_row or starts_item:
                is_apart = step > TABLE_STEP * usual if line.is_row and before.is_row else is_apart
                separator = "\n\n" if is_apart else "\n"
            elif not is_apart and not (is_short and ended):
                # An indented line begins a paragraph; one that is less indented ends a list item.
                moved = indent - at if _BULLET.match(found[-1].text) else at - indent
                separator = "\n\n" if ended and moved > 0.8 * size else ""
                has_half = before.text[-1] in _HYPHENS
                if not separator and not has_half and _breaks(before, line, edge, right - left):
                    separator = "\n"
        if separator:
            found.append(Paragraph(line.text, size, separator, [(page_number, 0)]))
        else:
            found[-1].text = _join(found[-1].text, line.text, terms)
        before, indent = line, at
    return found


def _right_edges(lines: Sequence[Line], right: float, usual: float) -> list[float]:
    """Return how far each line could go: to the edge that most lines of its block reach, or the column's."""
    edges: list[float] = []
    steps = (above.box.bottom - below.box.bottom > 1.35 * usual for above, below in itertools.pairwise(lines))
    numbers = itertools.accumulate(steps, initial=0)
    for _, group in itertools.groupby(zip(numbers, lines, strict=False), key=operator.itemgetter(0)):
        block = [line.box for _, line in group]
        most, start = max(box.right for box in block), min(box.left for box in block)
        num_full = sum(box.right > most - _SHORT * (most - start) for box in block[:-1])
        is_prose = len(block) > 2 and num_full > 0.6 * (len(block) - 1)
        edges += [most if is_prose else right] * len(block)
    return edges


def _breaks(before: Line, line: Line, edge: float, width: float) -> bool:
    """True if a line ends although the next word would have fit: a verse, an address, an item, code."""
    room = edge - before.box.right
    word = line.text.split(maxsplit=1)[0]
    needed = (len(word) + 1) * (line.box.right - line.box.left) / len(line.text)
    return room > max(_SHORT * width, 1.5 * needed)


def _number(text: str) -> int:
    """Return the number of a list item, 0 for other texts."""
    found = _NUMBERED.match(text)
    return int(found[1]) if found else 0


def _continues(last: Paragraph, following: Paragraph) -> bool:
    """True if a paragraph goes on at the top of the next column or page."""
    if "\t" in last.text or "\t" in following.text or abs(last.size - following.size) > 0.12 * last.size:
        return False
    goes_on = following.text[:1].islower() and not _BULLET.match(following.text)
    return goes_on and not _ENDED.search(last.text[-_TAIL:])


def _append(last: Paragraph, following: str, terms: Counter[str], page_number: int) -> None:
    last.text = _join(last.text, following, terms)
    last.starts.append((page_number, len(last.text) - len(following)))


def _join(text: str, following: str, terms: Counter[str]) -> str:
    """Join two lines of a paragraph, and the halves of a word cut by a hyphen."""
    if text[-1] not in _HYPHENS:
        return text + ("" if _NO_SPACE.fullmatch(f"{text[-1]}\n{following[:1]}") else " ") + following
    half = _LAST_WORD.search(text[-_TAIL:-1])
    if half and following[:1].islower():
        rest = _FIRST_WORD.match(following)
        assert rest is not None
        first, second = half[0].lower(), rest[0].lower()
        if second in _SUSPENDED and not terms[first + second]:
            return f"{text} {following}"
        keeps = text[-1] != "\xad" and (_is_compound(first, second, terms) or _ADDRESS.search(text[-_TAIL:]))
        return (text if keeps else text[:-1]) + following
    # A number or a name keeps its hyphen: 10-\n20 mg, COVID-\n19.
    is_part = text[-2:-1].isalnum() and (half or text[-1] != "\xad")
    return text + ("" if is_part else " ") + following


def _is_compound(first: str, second: str, terms: Counter[str]) -> bool:
    if terms[first + second] or terms[f"{first}-{second}"]:
        return terms[first + second] < terms[f"{first}-{second}"]
    # The second half at the beginning of its line is one of its own occurrences.
    return min(len(first), len(second)) > 3 and terms[first] > 0 and terms[second] > 1
