"""PDF files made for tests: texts at places, and files with odd insides."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from tests.plugins.readers.reading import read, texts, write

LEFT, TOP, STEP, WIDTH, HEIGHT = 60, 700, 13, 595, 842
PROSE = (
    "The femoral nerve arises from the lumbar plexus and supplies",
    "the quadriceps. A lesion of it weakens the knee, so that the",
    "patient falls on stairs. Sensation over the thigh is spared.",
)
NAMES = {"title": "setTitle", "author": "setAuthor"}


class Maker:
    """A PDF in the making, written to a file by `save`."""

    def __init__(self, *, password: str = "", **about: str):
        encrypt = StandardEncryption(password, "owner") if password else None
        self._file = io.BytesIO()
        self.canvas = Canvas(self._file, pagesize=(WIDTH, HEIGHT), encrypt=encrypt)
        for name in NAMES:
            getattr(self.canvas, NAMES[name])(about.get(name, ""))

    def text(self, x: float, y: float, text: str, *, size: float = 11, font: str = "Helvetica") -> Maker:
        self.canvas.setFont(font, size)
        self.canvas.drawString(x, y, text)
        return self

    def lines(self, lines: Iterable[str], *, x: float = LEFT, y: float = TOP, size: float = 11) -> Maker:
        for at, line in enumerate(lines):
            self.text(x, y - at * STEP, line, size=size)
        return self

    def scripts(self, x: float, y: float, *pieces: tuple[str, float]) -> Maker:
        """Write pieces one after the other, each raised by a share of its line; a raised one is smaller."""
        for text, rise in pieces:
            size = 7 if rise else 11
            self.text(x, y + 11 * rise, text, size=size)
            x += self.canvas.stringWidth(text, "Helvetica", size)
        return self

    def picture(self) -> Maker:
        self.canvas.rect(100, 100, 300, 300, fill=1)
        return self

    def page(self) -> Maker:
        self.canvas.showPage()
        return self

    def save(self) -> bytes:
        self.canvas.save()
        return self._file.getvalue()


def text_of(made: Maker, path: Path, **options: Any) -> str:
    """Read a file in a folder; it has to give one document, and no reject."""
    (text,) = texts(read("pdf", write(path / "a.pdf", made.save()), options=options))
    return text


def pdf_of(text: str, **about: str) -> bytes:
    """A file of one page with a paragraph, wrapped."""
    lines: list[str] = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 80:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return Maker(**about).lines(lines).page().save()


def raw_pdf(
    content: bytes, *, count: int = 1, filters: bytes = b"/Filter/FlateDecode", pages: int = 1
) -> bytes:
    """A file whose pages share one content stream, and that announces `count` pages."""
    kids = b" ".join(b"%d 0 R" % (5 + number) for number in range(pages))
    objects: Sequence[bytes] = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count),
        b"<</Length %d%s>>\nstream\n%s\nendstream" % (len(content), filters, content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *[b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 3 0 R/Resources<</Font<</F 4 0 R>>>>>>"]
        * pages,
    )
    data = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    data += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(data)


def drawn(text: str) -> bytes:
    """A content stream, compressed, that shows a text."""
    return zlib.compress(f"BT /F 12 Tf 100 500 Td ({text}) Tj ET".encode())


def values_of(found: Any) -> dict[str, str]:
    return dict(found.metadata)
