"""PDF files with known text, made of this project's example texts.

Each file has its own mix of columns, fonts, justification, hyphenation, heads and feet, notes, tables, lists,
superscripts, and order of drawing: as it is read, row by row over the columns, or heads last.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import reportlab
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from benchmarks.readers.quality import Made

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDTH, HEIGHT, EDGE = 595, 842, 72
FONTS = ("Times-Roman", "Helvetica", "Courier", "Vera")
VOWELS = frozenset("aeiouy")
TABLE = (
    ("Drug", "Dose", "Route", "Days"),
    ("aspirin", "100 mg", "oral", "30"),
    ("heparin", "5000 IU", "s.c.", "7"),
)
SCRIPTS = (("10", "6", "cells"), ("10", "-9", "mol"), ("3", "2", "squared"))
NOTES = ("See the handbook for other doses.", "Written before the trial was read.")


def files(first: int = 0, number: int = 36) -> Iterator[Made]:
    """Yield files, the same ones each time."""
    pdfmetrics.registerFont(TTFont("Vera", str(Path(reportlab.__file__).parent / "fonts" / "Vera.ttf")))
    for seed in range(first, first + number):
        yield _Sheet(seed).made()


def paragraphs() -> list[str]:
    """Return the paragraphs of the example texts."""
    found = []
    for path in sorted(EXAMPLES.glob("*/case_notes/*.txt")) + sorted(EXAMPLES.glob("*/leaflets/*.txt")):
        found += [" ".join(each.split()) for each in path.read_text(encoding="utf-8").split("\n\n")]
    return [each for each in found if len(each.split()) > 25]


class _Sheet:
    """A file in the making. `ops` are the texts of a page: x, y, text, font, size."""

    def __init__(self, seed: int):
        rng = self.rng = random.Random(f"pdf {seed}")
        self.name = f"file {seed}"
        self.num_columns = (1, 2, 1, 2, 3, 1)[seed % 6]
        self.font = FONTS[seed % len(FONTS)] if self.num_columns < 3 else "Times-Roman"
        self.size = rng.choice([9, 10, 11]) if self.num_columns == 1 else rng.choice([8, 9])
        self.hyphenates = rng.random() < 0.6 or self.num_columns == 3
        self.justifies = rng.random() < 0.5
        self.indents = rng.random() < 0.5
        self.heads = rng.choice(["none", "same", "alternating"]) if seed % 3 else "same"
        self.order = rng.choice(["reading", "rows", "heads last"])
        self.has_table, self.has_list = rng.random() < 0.4, rng.random() < 0.4
        self.has_notes, self.has_scripts = rng.random() < 0.4, rng.random() < 0.5
        self.file = io.BytesIO()
        self.canvas = Canvas(self.file, pagesize=(WIDTH, HEIGHT), pageCompression=rng.randrange(2))
        self.gutter = rng.choice([16, 20, 28])
        self.column_width = (WIDTH - 2 * EDGE - self.gutter * (self.num_columns - 1)) / self.num_columns
        self.step = self.size * rng.choice([1.15, 1.25, 1.4])
        self.page, self.column, self.y, self.floor = 1, 0, HEIGHT - EDGE, EDGE
        self.top = self.y
        self.ops: list[tuple[float, float, str, str, float]] = []
        self.known: list[str] = []
        self.notes: list[str] = []
        self.waiting: list[str] = []  # notes, until the paragraph above them ends
        self.is_within = False  # True between the lines of a paragraph

    def made(self) -> Made:
        title = "Notes from the wards and what came of them"
        self._line(EDGE, title, self.size + 6)
        self.known.append(title)
        self.y -= 2 * self.step
        self.top = self.y
        texts = self.rng.sample(paragraphs(), 14 if self.num_columns == 1 else 20)
        for number, text in enumerate(texts):
            if number % 5 == 0:
                self._heading(f"{number // 5 + 1} {' '.join(text.split()[:3]).strip('.,;:')}")
            self._paragraph(text)
            if number == 3 and self.has_table and self.num_columns == 1:
                self._table()
            if number == 4 and self.has_list:
                self._list(texts[number + 1 :][:3])
            if number == 6 and self.has_scripts:
                self._scripts()
            if number == 2 and self.has_notes:
                self._note()
        self._end_page()
        self.canvas.save()
        features = {
            f"{self.num_columns} columns" if self.num_columns > 1 else "1 column": True,
            self.font: True,
            f"drawn: {self.order}": True,
            f"heads: {self.heads}": True,
            "hyphenated": self.hyphenates,
            "justified": self.justifies,
            "table": self.has_table and self.num_columns == 1,
            "list": self.has_list,
            "notes": self.has_notes,
            "superscripts": self.has_scripts,
        }
        names = tuple(name for name, has in features.items() if has)
        return Made(self.name, names, self.file.getvalue(), "\n\n".join(self.known))

    @property
    def left(self) -> float:
        return EDGE + self.column * (self.column_width + self.gutter)

    def _line(self, x: float, text: str, size: float = 0, font: str = "") -> None:
        self.ops.append((x, self.y, text, font or self.font, size or self.size))

    def _room(self, lines: int = 1) -> None:
        """Go on in the next column or page if the lines do not fit."""
        if self.y - lines * self.step >= self.floor:
            return
        self.column += 1
        if self.column == self.num_columns:
            self._end_page()
        self.y = self.top

    def _end_page(self) -> None:
        for at, note in enumerate(self.notes):
            self.ops.append((EDGE, EDGE + 14 - 10 * at, note, self.font, self.size - 2))
        body, heads = list(self.ops), list(self._heads())
        if self.order == "rows":
            body.sort(key=lambda op: (-op[1], op[0]))
        for x, y, text, font, size in body + heads if self.order == "heads last" else heads + body:
            self.canvas.setFont(font, size)
            self.canvas.drawString(x, y, text)
        self.canvas.showPage()
        if self.is_within:
            self.waiting += self.notes
        else:
            self.known += self.notes
        self.page, self.column, self.floor, self.notes, self.ops = self.page + 1, 0, EDGE, [], []
        self.top = self.y = HEIGHT - EDGE

    def _heads(self) -> Iterator[tuple[float, float, str, str, float]]:
        if self.heads == "none":
            return
        is_left = self.heads == "alternating" and self.page % 2 == 0
        yield (EDGE if is_left else 380, HEIGHT - 40, "Journal of Wards 12 (2024)", self.font, 8)
        yield (290, 36, f"Page {self.page}" if self.heads == "same" else str(self.page), self.font, 8)

    def _known(self, text: str) -> None:
        self.known += [text, *self.waiting]
        self.waiting = []

    def _heading(self, text: str) -> None:
        self._room(4)
        self.y -= self.step
        self._line(self.left, text, self.size + 2, "Helvetica-Bold")
        self.y -= self.step * 1.6
        self._known(text)

    def _paragraph(self, text: str, mark: str = "") -> None:
        indent = self.size * 1.5 if self.indents and not mark else 0.0
        width = self.column_width - (12 if mark else 0)
        lines = self._wrapped(text.split(), width, indent)
        for at, line in enumerate(lines):
            self.is_within = at > 0
            self._room()
            x = self.left + (indent if at == 0 else 0) + (12 if mark else 0)
            if mark and at == 0:
                self._line(self.left, mark)
            free = width - (indent if at == 0 else 0) - self._width(" ".join(line))
            if self.justifies and at < len(lines) - 1 and len(line) > 1:
                for word in line:
                    self._line(x, word)
                    x += self._width(word + " ") + free / (len(line) - 1)
            else:
                self._line(x, " ".join(line))
            self.y -= self.step
        self.is_within = False
        if not self.indents and not mark:
            self.y -= self.step * 0.7
        self._known(f"{mark} {text}".strip())

    def _wrapped(self, words: Sequence[str], width: float, indent: float) -> list[list[str]]:
        lines: list[list[str]] = [[]]
        for word in words:
            room = width - (indent if len(lines) == 1 else 0)
            if self._width(" ".join([*lines[-1], word])) <= room:
                lines[-1].append(word)
                continue
            cut = self._cut(word, room - self._width(" ".join([*lines[-1], ""])))
            if cut:
                lines[-1].append(f"{word[:cut]}-")
            lines.append([word[cut:]])
        return [line for line in lines if line]

    def _cut(self, word: str, room: float) -> int:
        """Return where a word is cut, 0 for nowhere: before a consonant that follows a vowel."""
        if not self.hyphenates or len(word) < 8 or not word.isalpha():
            return 0
        places = [at for at in range(3, len(word) - 2) if word[at - 1] in VOWELS and word[at] not in VOWELS]
        return max((at for at in places if self._width(f"{word[:at]}-") <= room), default=0)

    def _width(self, text: str) -> float:
        return pdfmetrics.stringWidth(text, self.font, self.size)

    def _table(self) -> None:
        self._room(len(TABLE) + 2)
        self.y -= self.step
        for row in TABLE:
            for at, cell in enumerate(row):
                self._line(self.left + at * self.column_width / len(row), cell)
            self.y -= self.step * 1.3
            self._known(" ".join(row))
        self.y -= self.step

    def _list(self, texts: Sequence[str]) -> None:
        self.y -= self.step * 0.5
        for text in texts:
            self._paragraph(text.partition(". ")[0].rstrip(".") + ".", "•" if self.font != "Courier" else "-")
        self.y -= self.step * 0.5

    def _scripts(self) -> None:
        self._room(3)
        for base, raised, word in SCRIPTS:
            x = self.left
            for text, rise, size in ((f"about {base}", 0.0, self.size), (raised, 0.35, self.size * 0.65)):
                self.ops.append((x, self.y + rise * self.size, text, self.font, size))
                x += pdfmetrics.stringWidth(text, self.font, size)
            self._line(x + self._width(" "), f"{word}.")
            self.y -= self.step * 2
            self._known(f"about {base}^{raised} {word}.")

    def _note(self) -> None:
        self.notes = [f"{at + 1} {note}" for at, note in enumerate(NOTES)]
        self.floor = EDGE + 34
