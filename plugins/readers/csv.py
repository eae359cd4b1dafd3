"""Tables as text: CSV and TSV in any dialect, one document a row. The standard library's `csv` parses them.

    text,title              the first row names the columns, unless option `columns` does
    "Two
    lines",A title          a quoted cell may hold line ends, delimiters and doubled quotes

The delimiter and the quote are those of a few that fit the first lines best: the first row has the wanted
columns, and others as many cells. A table of one column has no delimiter. A first line `sep=;`, the source's
`delimiter` and options `quote` and `escape` replace the guess. Reading is strict: text behind a closing quote
is a reject, not a longer cell; and a quote that is not closed costs its row, not those behind it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import pydantic

from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.csv_lines import Lines
from plugins.readers.decompression import DAMAGED
from plugins.readers.documents import refused_columns, text_fields
from plugins.readers.field_paths import columns_of
from schemas import limits
from schemas.config import Section
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError

_NO_DELIMITER = "\x1f"
_DELIMITERS = f"{_NO_DELIMITER},\t;|"
_QUOTED = re.compile("'.*'", re.DOTALL)

_CELL_CHARACTERS = limits.RECORD_BYTES // 4
"""Maximum characters of a cell, where an unclosed quote ends; the parser holds 4 bytes for each."""


class CsvOptions(Section):
    """Options of readers `csv` and `tsv`.

    Attributes:
        quote: Character around cells; "" reads quotes as plain characters, null guesses.
        escape: Character that makes the next one plain, such as "\\\\"; null has none. A doubled quote in a
            quoted cell is one quote in any case.
        columns: Names of the columns of a file without a header row; null takes them from its first row.
    """

    quote: str | None = pydantic.Field(default=None, max_length=1)
    escape: str | None = pydantic.Field(default=None, min_length=1, max_length=1)
    columns: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)


class CsvReader(Reader):
    """Reads CSV. Positions are numbers of a row's first line, from 1. A bad row costs only itself."""

    own_fields = frozenset({"encoding", "delimiter", "extract"})
    Options = CsvOptions
    delimiter: str | None = None
    """Delimiter of this reader; None is guessed."""

    def __init__(self, source: SourceConfig):
        super().__init__(source)
        if source.delimiter is not None and len(source.delimiter) != 1:
            raise ConfigError(
                f"source {source.uri!r} sets delimiter {source.delimiter!r}; reader {source.reader!r} needs "
                "one character."
            )

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        lines = None
        try:
            lines = Lines(uri, self.source.encoding)
            yield from self._rows(lines)
        except DAMAGED as error:
            number = lines.number if lines else 0
            yield BadRow.damaged(str(number + 1), error, f"{number} lines")

    def _rows(self, lines: Lines) -> Iterator[Row | BadRow]:
        dialect = self._dialect(lines)
        csv.field_size_limit(_CELL_CHARACTERS)
        parser = csv.reader(lines, dialect, strict=True)
        names = list(self.options.columns or ())
        while True:
            begin, fault = lines.begin_row(), None
            try:
                cells = next(parser, None)
            except csv.Error as error:
                cells, fault = (
                    [],
                    ("record_too_long" if "field limit" in str(error) else "invalid_csv", str(error)),
                )
            if cells is None:
                return
            if names and cells and len(cells) != len(names):
                found = f"found {len(cells)} cells, expected {len(names)}"
                fault = ("wrong_number_of_cells", found)
            if fault is not None or len(lines.row) > 1:
                num_lost = _num_before_rows(lines.row, len(names), dialect, is_good=fault is None)
                fault = self._described(fault, num_lost, begin, lines, dialect, len(names))
                if num_lost:
                    lines.read_again(num_lost)
                    parser = csv.reader(lines, dialect, strict=True)
            if fault := lines.fault() or fault:
                yield BadRow(str(begin), *fault)
                if not names:  # no header
                    return
            elif cells and not names:
                names = cells
                if refused := self._refused(names, dialect, lines):
                    yield refused
                    return
            elif cells:
                yield Row(str(begin), {**dict(zip(names, cells, strict=True)), **lines.fields})

    def _described(
        self,
        fault: tuple[str, str] | None,
        num_lost: int,
        begin: int,
        lines: Lines,
        dialect: csv.Dialect,
        num_columns: int,
    ) -> tuple[str, str] | None:
        """Return the fault of a row with its lines and the dialect; None if all is well."""
        if num_lost:
            fault = fault or ("unbalanced_quote", "the lines of a quoted cell are rows by themselves")
        if fault is None:
            return None
        reason, detail = fault
        detail += f" in a row of {len(lines.row):,} lines" if len(lines.row) > 1 else ""
        if num_lost:
            lost = "1 line is" if num_lost == 1 else f"{num_lost:,} lines are"
            detail += f"; a quote is not closed: {lost} left out, line {begin + num_lost} is the next"
        escaped = [f"\\{mark}" for mark in (dialect.quotechar, dialect.delimiter) if mark]
        if dialect.escapechar is None and any(each in line for line in lines.row for each in escaped):
            cure = '. If a backslash makes the next character plain, set option `escape: "\\\\"`'
        elif num_columns == 1 and reason == "wrong_number_of_cells":
            cure = ". If the table has one column, set `delimiter` to a character that no line holds"
        else:
            cure = ""
        return reason, f"{detail} ({self._named(dialect, lines)}){cure}"

    def _dialect(self, lines: Lines) -> csv.Dialect:
        """Return the dialect that fits the first lines best, of those that the source or the file allow."""
        escape, quote, head = self.options.escape, self.options.quote, lines.head.splitlines(keepends=True)
        delimiters = self._delimiter(lines) or _DELIMITERS
        quotes = [quote] if quote is not None else ['"'] if '"' in lines.head else ['"', "'"]
        dialects = [_dialect_of(each, quote, escape, head) for each in delimiters for quote in quotes]
        return max(dialects, key=lambda each: self._fit(head, each))

    def _delimiter(self, lines: Lines) -> str | None:
        return self.source.delimiter or self.delimiter or lines.separator or None

    def _fit(self, head: list[str], dialect: csv.Dialect) -> tuple[bool, bool, bool, int]:
        """Return how well a dialect fits the first lines; of two the greater one is better.

        Criteria in this order: the first row has the wanted columns; it has several; no row has apostrophes
        around a cell; number of rows with as many cells as the first.
        """
        try:
            first, *others = [cells for cells in csv.reader(head, dialect) if cells] or [[]]
        except csv.Error:
            return False, False, False, 0
        is_bare = not others or not all(any(_QUOTED.fullmatch(cell) for cell in cells) for cells in others)
        num_alike = sum(len(cells) == len(first) for cells in others)
        return self._has_columns(first), len(first) > 1, is_bare, num_alike

    def _has_columns(self, names: list[str]) -> bool:
        if self.options.columns:
            return len(names) == len(self.options.columns)
        return bool(columns_of(names, text_fields(self.source)))

    def _refused(self, names: list[str], dialect: csv.Dialect, lines: Lines) -> BadRow | None:
        """Return the reject of a file whose header lacks the wanted column, or has it twice."""
        cure = "Set text_field or format, or, if it has no header row, option `columns`."
        if number := self._header_line(lines):
            cure = f"Line {number} looks like the header row: remove the lines above it."
        fault = refused_columns(self.source, names, f" ({self._named(dialect, lines)})", cure)
        return fault and BadRow("", *fault)

    def _header_line(self, lines: Lines) -> int | None:
        """Return the number of the first line with the wanted columns, such as one behind comments."""
        numbered = enumerate(lines.head.splitlines(), start=2 if lines.separator else 1)
        plain = [_dialect_of(each, '"', None, []) for each in _DELIMITERS]
        found = (number for number, line in numbered if any(self._fit([line], each)[0] for each in plain))
        return next(found, None)

    def _named(self, dialect: csv.Dialect, lines: Lines) -> str:
        def how(given: str | None) -> str:
            return ", guessed" if given is None else ""

        delimiter = repr(dialect.delimiter) if dialect.delimiter != _NO_DELIMITER else "none"
        return (
            f"delimiter {delimiter}{how(self._delimiter(lines))}, "
            f"quote {dialect.quotechar!r}{how(self.options.quote)}"
        )


class TsvReader(CsvReader):
    """Reads tables whose cells are separated by tabs."""

    delimiter = "\t"


def _num_before_rows(row: list[str], num_cells: int, dialect: csv.Dialect, *, is_good: bool) -> int:
    """Return how many lines of a row precede one that is a row by itself, because a quote is not closed.

    0 if the lines belong together: the row is good, or half of them are no rows. Of tabs even a good row is
    doubted, if each of its lines is a row: titles and inches begin and end with quotes that mean nothing.
    """

    def is_row(line: str) -> bool:
        try:
            return len(next(csv.reader([line], dialect), [])) == num_cells
        except csv.Error:
            return False

    if len(row) < 2 or num_cells < 2:
        return 0
    if is_good:
        return 1 if dialect.delimiter == "\t" and all(map(is_row, row)) else 0
    are_rows = [is_row(line) for line in row[1:]]
    return are_rows.index(True) + 1 if 0 < len(are_rows) <= 2 * sum(are_rows) else 0


def _dialect_of(delimiter: str, quote: str, escape: str | None, head: list[str]) -> csv.Dialect:
    first = head[0] if head else ""
    dialect = csv.excel()
    dialect.delimiter, dialect.escapechar = delimiter, escape
    dialect.skipinitialspace = 0 < first.count(delimiter) == first.count(f"{delimiter} ")
    dialect.quotechar = quote or None
    dialect.quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return dialect
