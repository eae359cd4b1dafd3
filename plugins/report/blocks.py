"""Blocks of a report as plain data: notes, facts, tables, charts, texts, rows; page.html.jinja shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

Cell = str | int | float | None
"""None means unknown, and is shown as a dash."""

_LONG = 40

Words = tuple[tuple[str, bool], ...]
"""A text in pieces; True marks the pieces that support an answer."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A paragraph; also says what is missing."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The few numbers to see first, with their names."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[tuple[str, Cell]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells; numbers are aligned, and get thousands separators.
        bars: Columns whose numbers also get bars, each relative to the largest number of its column.
        is_open: False shows the caption alone until it is opened.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    bars: Sequence[int] = ()
    is_open: bool = True

    def is_number(self, column: int) -> bool:
        """True for a column of numbers."""
        return any(isinstance(row[column], int | float) for row in self.rows)

    def is_long(self, column: int) -> bool:
        """True for a column of sentences, which stays wide on a phone."""
        return any(isinstance(row[column], str) and len(str(row[column])) > _LONG for row in self.rows)

    def share(self, row: Sequence[Cell], column: int) -> float | None:
        """Length of a bar in percent; None for a cell without one."""
        numbers = [each[column] for each in self.rows]
        most = max((each for each in numbers if isinstance(each, int | float)), default=0)
        value = row[column]
        if column not in self.bars or not isinstance(value, int | float) or most <= 0:
            return None
        return round(100 * max(value, 0) / most, 1)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines, with the same numbers as a table.

    Attributes:
        title: What it shows.
        svg: The picture, from `charts.lines`; it holds no words of others.
        legend: Names of its lines, in the order of the colours.
        summary: The picture in a sentence, for those who cannot see it.
        table: The numbers, or a selection of them.
    """

    kind: ClassVar[str] = "chart"
    title: str
    svg: Markup
    legend: Sequence[str]
    summary: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question and its answer, as a reader sees them."""

    question: str
    options: Sequence[str]
    rationale: str
    answer: str
    verdicts: Sequence[str]
    is_supported: bool  # by words that are marked in the passage


@dataclass(frozen=True, kw_only=True)
class Text:
    """A training text: passages, each with its pairs."""

    name: str
    stream: str
    increment: int
    template: str
    num_pairs: int
    passages: Sequence[tuple[str, Words, Sequence[Pair]]]  # origin, words, pairs


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A browser of texts, with search and filters."""

    kind: ClassVar[str] = "texts"
    texts: Sequence[Text]

    @property
    def streams(self) -> list[str]:
        """Names of the streams, sorted."""
        return sorted({text.stream for text in self.texts})


@dataclass(frozen=True, kw_only=True)
class Row:
    """A packed row: its segments as (origin, number of tokens, decoded text), and its padding in tokens."""

    name: str
    segments: Sequence[tuple[str, int, str]]
    padding: int

    @property
    def num_tokens(self) -> int:
        """Tokens of the row, padding included."""
        return self.padding + sum(num_tokens for _, num_tokens, _ in self.segments)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Packed rows, with their segments in colours."""

    kind: ClassVar[str] = "rows"
    rows: Sequence[Row]


Block = Note | Facts | Table | Chart | Texts | Rows


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with its blocks."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a report says about one corpus, or about the runs that it compares."""

    title: str
    sections: Sequence[Section]
