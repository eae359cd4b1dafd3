"""PDF: the text layer in reading order, a document a file or a group of pages.

Library: pypdfium2 (Apache-2.0 or BSD-3-Clause), which carries PDFium (Apache-2.0 and BSD), the PDF engine of
Chrome. Of 100 pages of 5,000 characters it took 0.2 s of CPU to extract all text, pypdf 1.0 s, pdfminer.six
8.2 s; PDFium alone repairs damaged files as viewers do. The build of pypdfium2 has no JavaScript and fetches
nothing. PDFium is not thread-safe, so that a process reads one page at a time.

    bytes ─► streams within limits ─► PDFium: words and boxes (pdf_words) ─► columns (pdf_layout)
        ─► text (pdf_paragraphs)
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pydantic
import pypdfium2.raw as pdfium
from pypdfium2 import PdfDocument, PdfiumError

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.page_engines import PAGE_ENGINES, PageEngine
from plugins.readers.pdf_annotations import annotations_of
from plugins.readers.pdf_layout import Line, Page, lines_of, remove_heads
from plugins.readers.pdf_paragraphs import text_of_pages
from plugins.readers.pdf_words import Box, words_of
from schemas import limits
from schemas.config import Section

_LOCK = threading.Lock()
_STREAM = re.compile(rb"stream\r?\n")
_STEP_BYTES = 1 << 16
_DICTIONARY_BYTES = 400
_MOST_LAYERS = 4
_END_BYTES = 1024
"""Bytes at the end of a file in which its end mark must be."""

_NO_UNICODE = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_MOST_UNKNOWN = 0.2
"""Share of a page's characters without Unicode above which its text layer is of no use."""

_FIELDS = {"title": "Title", "author": "Author", "subject": "Subject", "keywords": "Keywords"}


class PdfOptions(Section):
    """Options of reader `pdf`.

    Attributes:
        pages_per_document: Pages of one document; null makes each file one document.
        keep_heads: True keeps running heads, feet and page numbers.
        engine: Name of an engine that reads pages without a text layer; null makes them rejects.
    """

    pages_per_document: int | None = pydantic.Field(default=None, ge=1)
    keep_heads: bool = False
    engine: str | None = None


class PdfReader(WholeFileReader):
    """Reads PDF. A document is a file, or `page 12` or `pages 11-20` of it.

    Fields of a row: the text, `num_pages`, those of `title`, `author`, `subject` and `keywords` that the file
    has, `removed`: a line for each kind of head, foot and page number that was left out, and `num_removed`:
    the number of all such lines.

    Raises:
        ConfigError: An option is unknown, or there is no engine of that name.
    """

    Options = PdfOptions

    def __init__(self, source: Any):
        super().__init__(source)
        name = self.options.engine
        self._engine: PageEngine | None = PAGE_ENGINES.load(name)() if name else None

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        if found := _large_stream(data):
            yield BadRow("", "stream_too_long", found)
            return
        try:
            with _LOCK:
                document = PdfDocument(data)
                if document.get_formtype():
                    document.init_forms()
        except PdfiumError as error:
            yield _unopened(data, str(error))
            return
        try:
            yield from self._rows(data, document)
        finally:
            with _LOCK:
                document.close()

    def _rows(self, data: bytes, document: PdfDocument) -> Iterator[Row | BadRow]:
        with _LOCK:
            announced = len(document)
            announced_files = document.count_attachments()
            about = {name: _about(document, key) for name, key in _FIELDS.items()}
        pages: list[Page] = []
        bad: list[BadRow] = []
        damaged: list[int] = []
        size = 0
        left_out = Counter({"attached files": announced_files})
        for index in range(min(announced, limits.PDF_PAGES)):
            page = self._page(data, document, index, left_out)
            if page is None:
                damaged.append(index + 1)
            elif isinstance(page, BadRow):
                bad.append(page)
            else:
                pages.append(page)
                size += sum(len(line.text) for line in page.lines)
            if size > limits.RECORD_BYTES or len(damaged) - len(pages) > limits.PDF_DAMAGED_PAGES:
                what = "too much text" if size > limits.RECORD_BYTES else "too many damaged pages"
                detail = f"{what}: reading ended at page {index + 1} of {announced:,}"
                bad.append(BadRow(f"page {index + 1}", "too_many_pages", detail))
                break
        if announced > limits.PDF_PAGES:
            detail = f"the file announces {announced:,} pages; only the first {limits.PDF_PAGES:,} are read"
            bad.append(BadRow("", "too_many_pages", detail))
        if damaged:
            detail = f"{len(damaged):,} pages cannot be loaded, from page {damaged[0]} to page {damaged[-1]}"
            bad.append(BadRow(f"page {damaged[0]}", "damaged_page", detail))
        removed = [] if self.options.keep_heads else remove_heads(pages)
        num_removed = sum(map(len, removed))
        about |= {"num_pages": str(announced), "removed": "\n".join(heads[0].text for heads in removed)}
        about["num_removed"] = str(num_removed or "")
        fields = {name: value for name, value in about.items() if value}
        most = self.options.pages_per_document or limits.PDF_PAGES
        for number, group in itertools.groupby(pages, lambda page: (page.number - 1) // most):
            text, starts = text_of_pages(list(group))
            if text:
                values = {**fields, self.source.text_field: text}
                yield Row(self._position(number), values, starts, num_removed)
                num_removed = 0  # they are counted once a file
        yield from bad
        if left_out.total():
            detail = ", ".join(f"{number:,} {kind}" for kind, number in left_out.items() if number)
            yield BadRow("", "left_out", f"what is no text of its pages: {detail}")
        if _lacks_end(data):
            detail = f"no %%EOF at its end: it is cut short or damaged; {len(pages):,} pages were read"
            yield BadRow("", "truncated_file", detail)

    def _position(self, group: int) -> str:
        """Return the position of the document with a group of pages, counted from 0."""
        most = self.options.pages_per_document
        if not most:
            return ""
        last = (group + 1) * most
        return f"page {last}" if most == 1 else f"pages {last - most + 1}-{last}"

    def _page(
        self, data: bytes, document: PdfDocument, index: int, left_out: Counter[str]
    ) -> Page | BadRow | None:
        """Return a page of a file, a reject for one without text, or None if it cannot be loaded.

        What is left out of the page is added to `left_out`.
        """
        place = f"page {index + 1}"
        try:
            with _LOCK, contextlib.ExitStack() as opened:
                page = opened.enter_context(contextlib.closing(document[index]))
                has_drawn, num_comments = annotations_of(page)
                if document.formenv or has_drawn:  # what was filled in or written over it becomes its text
                    pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY)
                    page = opened.enter_context(contextlib.closing(document[index]))
                text_page = page.get_textpage()
                if (count := text_page.count_chars()) > limits.PDF_PAGE_CHARACTERS:
                    return BadRow(place, "page_too_long", f"it has {count:,} characters")
                height = page.get_height()
                words, num_outside = words_of(page, text_page)
                left_out.update({"comments": num_comments, "words outside of pages": num_outside})
                lines = lines_of(words)
                is_blank = not lines and next(page.get_objects(max_depth=1), None) is None
        except PdfiumError:
            return None
        text = "".join(line.text for line in lines)
        if is_blank or (text and len(_NO_UNICODE.findall(text)) <= _MOST_UNKNOWN * len(text)):
            return Page(index + 1, height, lines)
        reason = "no_unicode" if text else "no_text_layer"
        what = "all its text stands outside of it" if num_outside else "it shows something, but has no text"
        what = "its fonts lack a map to Unicode" if text else what
        if self._engine is None:
            return BadRow(place, reason, f"{what}; an engine may read it: options: {{engine: NAME}}")
        try:
            lines = _lines_of_text(self._engine.text_of(data, index))
        except ValueError as error:
            return BadRow(place, reason, f"{what}; engine {self.options.engine!r}: {error}")
        return Page(index + 1, 0, lines) if lines else BadRow(place, reason, f"{what}; the engine found none")


def _unopened(data: bytes, error: str) -> BadRow:
    """Return the reject of a file that PDFium cannot open."""
    if "password" in error.lower():
        return BadRow("", "encrypted", "it needs a password; remove it first")
    if b"%PDF-" not in data[:_END_BYTES]:
        return BadRow("", "not_pdf", f"{error} Is this a PDF?")
    what = "it is cut short: it has no %%EOF at its end" if _lacks_end(data) else "it is damaged"
    return BadRow("", "truncated_file" if _lacks_end(data) else "damaged_file", f"{what}. {error}")


def _lacks_end(data: bytes) -> bool:
    return b"%%EOF" not in data[-_END_BYTES:].rstrip(b"\0")


def _about(document: PdfDocument, key: str) -> str:
    try:
        return str(document.get_metadata_value(key)).strip()
    except UnicodeDecodeError:
        return ""


def _large_stream(data: bytes) -> str:
    """Describe a compressed stream that is too long, "" without one. It sees no encrypted ones."""
    for found in _STREAM.finditer(data):
        is_image = b"/Image" in data[max(0, found.start() - _DICTIONARY_BYTES) : found.start()]
        most = limits.RECORD_BYTES if is_image else limits.PDF_STREAM_BYTES
        starts = range(found.end(), len(data), _STEP_BYTES)
        if _inflates_beyond(most, (data[start : start + _STEP_BYTES] for start in starts)):
            return f"the stream at byte {found.end():,} has more than {most:,} bytes, the limit"
    return ""


def _inflates_beyond(most: int, chunks: Iterator[bytes], layers: int = 0) -> bool:
    """True if bytes that are compressed, once or several times, expand to more than `most` bytes."""
    first = next(chunks, b"")
    if len(first) < 2 or first[0] & 15 != zlib.DEFLATED or int.from_bytes(first[:2], "big") % 31:
        return sum(map(len, chunks), len(first)) > most if layers else False
    inflated = _inflated(itertools.chain([first], chunks), most)
    try:
        return layers >= _MOST_LAYERS or _inflates_beyond(most, inflated, layers + 1)
    except OverflowError:
        return True


def _inflated(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    inflater, size = zlib.decompressobj(), 0
    for chunk in chunks:
        while not inflater.eof:
            try:
                inflated = inflater.decompress(chunk, _STEP_BYTES)
            except zlib.error:  # PDFium takes what comes before the damage
                return
            size += len(inflated)
            if size > most:
                raise OverflowError
            yield inflated
            chunk = inflater.unconsumed_tail
            if not chunk and len(inflated) < _STEP_BYTES:
                break
        if inflater.eof:
            return


def _lines_of_text(text: str) -> list[Line]:
    """Place the lines of a text on a page: blank ones leave a gap."""
    lines = enumerate(map(str.strip, text.splitlines()))
    return [Line(line, Box(0, 5 * len(line), -12 * at, 10 - 12 * at)) for at, line in lines if line]
