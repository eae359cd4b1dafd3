"""Words of a PDF page with their boxes, by PDFium.

    characters as the file draws them ─► words ─► small words behind their bases ─► runs of words side by side

PDFium gives white space where it sees gaps. A box is a call of 0.5 µs, so that the reader asks for those of a
word's first and last character only, and for all of a word with digits or of two sizes, where a superscript
may hide: 10 and a raised 6 must not become 106.
"""

from __future__ import annotations

import itertools
import operator
import re
import sys
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import pypdfium2.raw as pdfium

from plugins.readers.markup import Script

_Array = np.ndarray[Any, np.dtype[Any]]

_WORD = re.compile(r"[^\s\x02\ufffe]*[\x02\ufffe]|\S+")
_PIECE_CHARACTERS = 2_000
"""Most characters of a word: longer runs without white space are cut, so that a page stays cheap."""

_LINE_HYPHENS = str.maketrans("\x02\ufffe", "--")
"""PDFium's marks for a hyphen at the end of a line, which stand for the line break too."""

_SPACES = [*map(ord, " \t\xa0")]
_SMALLER = 0.85
SMALLEST = 0.45
_RAISED = 0.15
_RAISED_AS_LARGE = 0.25
"""Shares of the height of a line: a script is lower than the first, and raised by more than the third; one as
large as its base is raised by more than the fourth. Beside a large first letter, text is below the second."""

_BELOW = 10.0
"""Height in points of lines for words that stand sideways."""

GAP = 0.8
TOUCHING = 0.12
"""Gaps between words, in line heights: beyond the first a line is cut, below the second a word goes on."""


class Box(NamedTuple):
    """A rectangle in points, the origin at the lower left of the page as it is read."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


class Word(NamedTuple):
    """Words side by side, or one with scripts: its pieces, and the box of its full-size characters."""

    pieces: tuple[str | Script, ...]
    box: Box
    is_spaced: bool  # True if white space of the file stands before it, not only a new line


def words_of(page: Any, text_page: Any) -> tuple[list[Word], int]:
    """Return the words of a page in the order in which the file draws them, those side by side as one.

    The second value is the number of words that stand outside the page, and are left out.
    """
    text = _characters(text_page)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    if not len(spans := _spans(text)):
        return [], 0
    boxes, scripts, is_within = _measured(text, codes, spans, page, text_page)
    order = _small_behind_their_bases(boxes)
    order = order[is_within[order]]
    num_outside = len(spans) - len(order)
    if not len(order):
        return [], num_outside
    boxes, spans = boxes[order], spans[order]
    is_spaced = np.isin(codes[spans[:, 0] - 1], _SPACES) & (spans[:, 0] > 0)
    is_plain = ~np.isin(order, [*scripts])
    gap, size = boxes[1:, 0] - boxes[:-1, 1], boxes[1:, 3] - boxes[1:, 2]
    is_beside = np.abs(np.diff(boxes[:, 2:], axis=0)).max(axis=1) < 0.01
    is_beside &= (gap < GAP * size) & (gap > np.where(is_spaced[1:], -0.4, TOUCHING) * size)
    is_beside &= is_plain[1:] & is_plain[:-1] & (np.diff(order) == 1)
    firsts = np.flatnonzero(np.r_[True, ~is_beside])
    lasts = np.r_[firsts[1:], len(order)] - 1
    boxes[firsts, 1] = boxes[lasts, 1]
    found = zip(
        order[firsts].tolist(),
        spans[firsts, 0].tolist(),
        spans[lasts, 1].tolist(),
        boxes[firsts].tolist(),
        is_spaced[firsts].tolist(),
        strict=True,
    )
    words = []
    for number, start, end, box, has_space in found:
        plain = " ".join(text[start:end].split()).translate(_LINE_HYPHENS)
        words.append(Word(scripts.get(number, (plain,)), Box(*box), has_space))
    return words, num_outside


def script_sign(box: Box, base: Box) -> str:
    """Return `^` for a box raised above another, `_` for one lowered below it, "" for others."""
    rise, share = (box.bottom - base.bottom) / base.height, box.height / base.height
    if share > 1 / _SMALLER:
        return ""
    if rise > (_RAISED if share < _SMALLER else _RAISED_AS_LARGE):
        return "^"
    return "_" if rise < (0 if share < _SMALLER else -_RAISED) else ""


def _characters(text_page: Any) -> str:
    """Return the text of a page, one code a character of PDFium."""
    count = text_page.count_chars()
    text: str = text_page.get_text_range(errors="replace")
    if len(text) == count:
        return text
    # Characters without Unicode, or beyond 16 bits, shift the indices.
    codes = (pdfium.FPDFText_GetUnicode(text_page, index) for index in range(count))
    return "".join(chr(code) if code <= sys.maxunicode else "\ufffd" for code in codes)


def _spans(text: str) -> _Array:
    """Return the start and end offsets of words, of shape (n, 2)."""
    spans = [found.span() for found in _WORD.finditer(text)]
    if any(end - start > _PIECE_CHARACTERS for start, end in spans):
        cuts = ((range(start, end, _PIECE_CHARACTERS), end) for start, end in spans)
        spans = [(at, min(at + _PIECE_CHARACTERS, end)) for starts, end in cuts for at in starts]
    return np.array(spans, np.int64)


def _boxes(page: Any, text_page: Any, indices: list[int], turned: int) -> _Array:
    """Return left, right, bottom and top of characters, of shape (n, 4), on a page turned clockwise."""
    rects = (pdfium.FS_RECTF * len(indices))()
    deque(map(pdfium.FPDFText_GetLooseCharBox, itertools.repeat(text_page.raw), indices, rects), maxlen=0)
    x, y, end, top = page.get_bbox()  # a page need not begin at 0
    width, height = end - x, top - y
    left, top, right, bottom = np.frombuffer(rects, np.float32).reshape(-1, 4).T - np.c_[[x, y, x, y]]
    views = {
        90: (bottom, top, width - right, width - left),
        180: (width - right, width - left, height - top, height - bottom),
        270: (height - top, height - bottom, left, right),
    }
    return np.stack(views.get(turned % 360, (left, right, bottom, top)), axis=1)


def _measured(
    text: str, codes: _Array, spans: _Array, page: Any, text_page: Any
) -> tuple[_Array, dict[int, tuple[str | Script, ...]], _Array]:
    """Return the boxes of words, the pieces of those that hold scripts, and which words are on the page."""
    turned, indices = page.get_rotation(), (spans - [0, 1]).ravel().tolist()
    ends = _boxes(page, text_page, indices, turned)
    first, last = ends[::2], ends[1::2]
    rises = _rises(first, last)
    if 2 * (num_sideways := np.count_nonzero(rises)) > np.count_nonzero(np.ptp(spans, axis=1) > 1):
        # A table that stands sideways, or lines from top to bottom as in Japan.
        turned += 90 if np.count_nonzero(rises > 0) > num_sideways / 2 else 270
        ends = _boxes(page, text_page, indices, turned)
        first, last = ends[::2], ends[1::2]
        rises = _rises(first, last)
    left, right = np.minimum(first[:, 0], last[:, 0]), np.maximum(first[:, 1], last[:, 1])  # as in Hebrew
    boxes = np.c_[left, right, first[:, 2:]]
    num_digits = np.r_[0, np.cumsum((codes >= ord("0")) & (codes <= ord("9")))][spans]
    has_sizes = np.abs(np.ptp(first[:, 2:], axis=1) - np.ptp(last[:, 2:], axis=1)) >= 0.5
    odd = np.flatnonzero((has_sizes | (num_digits[:, 0] < num_digits[:, 1])) & (rises == 0)).tolist()
    of_odd = _boxes(page, text_page, [index for at in odd for index in range(*spans[at])], turned)
    scripts: dict[int, tuple[str | Script, ...]] = {}
    for at, (start, end) in zip(odd, spans[odd].tolist(), strict=True):
        of_word, of_odd = of_odd[: end - start], of_odd[end - start :]
        heights, bottoms = of_word[:, 3] - of_word[:, 2], of_word[:, 2]
        has_large_first = len(of_word) > 1 and heights[1:].max() < SMALLEST * heights[0]
        base = of_word[1 if has_large_first else heights.argmax()]
        boxes[at, 2:] = base[2:]
        if heights.min() < _SMALLER * heights.max() or np.ptp(bottoms) > _RAISED * heights.max():
            scripts[at] = _pieces(text[start:end].translate(_LINE_HYPHENS), of_word, Box(*base.tolist()))
    left, bottom, right, top = page.get_bbox()
    width, height = (right - left, top - bottom)[:: -1 if turned % 180 else 1]
    is_within = (boxes[:, 1] > 0) & (boxes[:, 0] < width) & (boxes[:, 3] > 0) & (boxes[:, 2] < height)
    _put_below(boxes, spans, rises)
    return boxes, scripts, is_within


def _rises(first: _Array, last: _Array) -> _Array:
    """Return 1 for words that are written upwards, -1 downwards, 0 across the page, from their end boxes."""
    across, up = (last - first)[:, :2].sum(axis=1), (last - first)[:, 2:].sum(axis=1)
    return np.where(
        np.abs(up) > np.maximum(np.abs(across) / 2, 1.2 * (first[:, 3] - first[:, 2])), np.sign(up), 0
    )


def _put_below(boxes: _Array, spans: _Array, rises: _Array) -> None:
    """Place words that stand sideways below the page, those that follow one another on one line."""
    if not rises.any():
        return
    middles, is_sideways = boxes[:, :2].mean(axis=1), rises != 0
    for at in np.flatnonzero(np.ptp(spans, axis=1) == 1).tolist():  # one character rises as its neighbours do
        near = [each for each in (at - 1, at + 1) if 0 <= each < len(spans) and is_sideways[each]]
        is_sideways[at] = any(abs(middles[each] - middles[at]) < _BELOW / 2 for each in near)
    x, y, before = 0.0, 0.0, -2
    for at in np.flatnonzero(is_sideways).tolist():
        if at != before + 1 or abs(middles[at] - middles[before]) > _BELOW / 2:
            x, y = 0.0, y - 2 * _BELOW
        boxes[at] = (x, x + _BELOW * (spans[at, 1] - spans[at, 0]), y - _BELOW, y)
        x, before = boxes[at, 1] + _BELOW / 4, at


def _pieces(text: str, boxes: _Array, base: Box) -> tuple[str | Script, ...]:
    """Cut a word where its characters begin or end to be raised or lowered."""
    signs = (script_sign(Box(*box), base) for box in boxes.tolist())
    groups = itertools.groupby(zip(signs, text, strict=True), key=operator.itemgetter(0))
    pieces = ((sign, "".join(character for _, character in group)) for sign, group in groups)
    return tuple(Script(sign, piece) if sign else piece for sign, piece in pieces)


def _small_behind_their_bases(boxes: _Array) -> _Array:
    """Return the order of words, small raised or lowered ones behind those that they touch.

    Some files draw the small ones apart.
    """
    heights = boxes[:, 3] - boxes[:, 2]
    usual = float(np.median(heights))
    is_small = heights < _SMALLER * usual
    if not is_small.any():
        return np.arange(len(boxes))
    by_end: dict[int, list[tuple[int, Box]]] = {}
    for at in np.flatnonzero(~is_small).tolist():
        base = Box(*boxes[at].tolist())
        by_end.setdefault(round(base.right), []).append((at, base))
    behind: dict[int, int] = {}
    for at in np.flatnonzero(is_small).tolist():
        box = Box(*boxes[at].tolist())
        for number, base in (each for step in (0, -1, 1) for each in by_end.get(round(box.left) + step, ())):
            is_near = abs(box.left - base.right) < TOUCHING * base.height
            is_near = is_near and box.bottom < base.top < box.top + usual and box.top > base.bottom
            if is_near and script_sign(box, base):
                behind[number] = at
                break
    moved = {*behind.values()}
    order = (each for at in range(len(boxes)) if at not in moved for each in (at, behind.get(at)))
    return np.array([at for at in order if at is not None])
