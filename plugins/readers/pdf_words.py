"""Words of a PDF page with their boxes, by PDFium.
 PDFium gives characters in the order in which the file draws them, with white space where it sees gaps. The
reader asks for the boxes of a word's first and last character only, because each box is a call of 1 µs; it
asks for all boxes of a word with digits or with characters of two sizes, where a superscript may hide: 10 and
a raised 6 must not become 106.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from plugins.readers.markup import Script

_WORD = re.compile(r"[^\s\x02\ufffe]*[\x02\ufffe]|\S+")
_PIECE_CHARACTERS = 2_000
"""Most characters of a word: longer runs without white space are cut, so that a page stays cheap."""

_LINE_HYPHENS = str.maketrans("\x02\ufffe", "--")
"""PDFium's marks for a hyphen at the end of a line, which stand for the line break too."""

_SPACES = " \t\xa0"
_DIGIT = re.compile(r"\d")
SMALLER = 0.85
_RAISED = 0.15
"""Shares of the height of a line: a script is lower than the first, and raised by more than the second."""


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
    """A run of characters without white space: plain text and scripts, and the box of its full-size ones."""

    pieces: tuple[str | Script, ...]
    box: Box
    is_spaced: bool  # True if white space of the file stands before it, not only a new line


def words_of(page: Any, text_page: Any) -> Iterator[Word]:
    """Yield the words of a page, in the order in which the file draws them."""
    count = text_page.count_chars()
    text = text_page.get_text_range(errors="replace")
    if len(text) != count:  # characters without Unicode, or beyond 16 bits, shift the indices
        codes = (pdfium.FPDFText_GetUnicode(text_page, index) for index in range(count))
        text = "".join(chr(code) if code <= sys.maxunicode else "\ufffd" for code in codes)
    boxes = _Boxes(page, text_page)
    for found in _WORD.finditer(text):
        start, end = found.span()
        is_spaced = start > 0 and text[start - 1] in _SPACES
        for first in range(start, end, _PIECE_CHARACTERS):
            piece = text[first : min(first + _PIECE_CHARACTERS, end)].translate(_LINE_HYPHENS)
            yield _word(piece, first, boxes, is_spaced and first == start)


class _Boxes:
    """Boxes of a page's characters, turned as the page is."""

    def __init__(self, page: Any, text_page: Any):
        self._text_page = text_page
        self._turned = page.get_rotation()
        self._width, self._height = page.get_size()
        self._x, self._y, _, _ = page.get_bbox()  # a page need not begin at 0
        self._rect = pdfium.FS_RECTF()

    def __getitem__(self, index: int) -> Box:
        rect = self._rect
        pdfium.FPDFText_GetLooseCharBox(self._text_page, index, rect)
        left, right = rect.left - self._x, rect.right - self._x
        bottom, top = rect.bottom - self._y, rect.top - self._y
        if self._turned == 90:
            return Box(bottom, top, self._height - right, self._height - left)
        if self._turned == 180:
            return Box(self._width - right, self._width - left, self._height - top, self._height - bottom)
        if self._turned == 270:
            return Box(self._width - top, self._width - bottom, left, right)
        return Box(left, right, bottom, top)


def _word(text: str, start: int, boxes: _Boxes, is_spaced: bool) -> Word:
    first, last = boxes[start], boxes[start + len(text) - 1]
    left, right = min(first.left, last.left), max(first.right, last.right)  # the last is left in Hebrew
    if abs(first.height - last.height) < 0.5 and not _DIGIT.search(text):
        return Word((text,), Box(left, right, first.bottom, first.top), is_spaced)
    each = [boxes[start + index] for index in range(len(text))]
    base = max(each, key=lambda box: box.height)
    pieces: list[str | Script] = []
    for character, box in zip(text, each, strict=True):
        sign = script_sign(box, base)
        before = pieces[-1] if pieces else None
        if sign and isinstance(before, Script) and before.sign == sign:
            pieces[-1] = Script(sign, before.text + character)
        elif not sign and isinstance(before, str):
            pieces[-1] = before + character
        else:
            pieces.append(Script(sign, character) if sign else character)
    return Word(tuple(pieces), Box(left, right, base.bottom, base.top), is_spaced)


def script_sign(box: Box, base: Box) -> str:
    """Return `^` for a box raised above a larger one, `_` for one lowered below it, "" for others."""
    if box.height >= SMALLER * base.height:
        return ""
    if box.bottom - base.bottom > _RAISED * base.height:
        return "^"
    return "_" if box.bottom < base.bottom else ""
