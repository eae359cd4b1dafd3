"""Tables as text: CSV and TSV in any dialect, one document a row. The standard library's `csv` parses them.

    text,title              the first row names the columns, unless option `columns` does
    "Two
    lines",A title          a quoted cell may hold line ends, delimiters and doubled quotes

`csv.Sniffer` guesses the delimiter and the quote from the first lines. A guess that does not show the wanted
columns gives way to the first of `_DELIMITERS` that does. The source's `delimiter` and options
`quote` and `escape` replace the guess. Reading is strict: text behind a closing quote is a reject, not a
longer cell.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator

import pydantic

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, chunks, pieces
from plugins.readers.documents import fields_of, text_fields
from plugins.readers.field_paths import columns_of
from schemas import limits
from schemas.config import Section
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError

_DELIMITERS = ",\t;|"
_HEAD_LINES = 20
_HEAD_CHARACTERS = 1 << 14
"""Length of the sample for the sniffer, whose regular expressions are slow on long text."""

_CELL_CHARACTERS = limits.RECORD_BYTES // 4
"""Maximum characters of a cell, where an unclosed quote ends; the parser holds 4 bytes for each."""

_SHOWN_CHARACTERS = 80


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
            lines = _Lines(uri, self.source.encoding)
            if lines.foreign:
                yield BadRow("", "not_utf8", lines.foreign)
                return
            dialect = self._dialect(lines.head)
            csv.field_size_limit(_CELL_CHARACTERS)
            parser = csv.reader(lines, dialect, strict=True)
            names = list(self.options.columns or ())
            bad: BadRow | None
            while True:
                begin, bad = parser.line_num + 1, None
                try:
                    cells = next(parser, None)
                except csv.Error as error:
                    reason = "record_too_long" if "field limit" in str(error) else "invalid_csv"
                    cells, bad = [], self._bad(begin, reason, error, parser, dialect)
                if fault := lines.take_fault():
                    bad = BadRow(str(begin), *fault)
                if bad is not None:
                    yield bad
                    if not names:  # no header
                        return
                elif cells is None:
                    return
                elif cells and not names:
                    names = cells
                    if refused := self._refused(names, dialect):
                        yield refused
                        return
                elif cells and len(cells) != len(names):
                    found = f"found {len(cells)} cells, expected {len(names)}"
                    yield self._bad(begin, "wrong_number_of_cells", found, parser, dialect)
                elif cells:
                    yield Row(str(begin), {**dict(zip(names, cells, strict=True)), **lines.fields})
        except text_encoding.Undecodable as error:
            yield BadRow("", *error.args)
        except DAMAGED as error:
            number = lines.number if lines else 0
            yield BadRow.damaged(str(number + 1), error, f"{number} lines")

    def _dialect(self, head: str) -> csv.Dialect:
        """Return the dialect that the source names, completed by a guess from the first lines."""
        given = self.source.delimiter or self.delimiter
        try:
            sniffed = csv.Sniffer().sniff(head, given or _DELIMITERS)
        except csv.Error:  # a table of one column has no delimiter
            sniffed = csv.excel
        # The sniffer takes apostrophes at the borders of cells for quotes.
        quotes = ("'" if sniffed.quotechar == "'" and '"' not in head else '"', '"')
        space = sniffed.skipinitialspace
        pairs = [(sniffed.delimiter, quotes[0]), *((each, '"') for each in _DELIMITERS)]
        if given:
            pairs = [(given, each) for each in quotes]
        own = self.options.quote
        dialects = [
            _dialect_of(delimiter, quote if own is None else own, self.options.escape, space)
            for delimiter, quote in pairs
        ]
        return next(filter(lambda each: self._shows_columns(head, each), dialects), dialects[0])

    def _shows_columns(self, head: str, dialect: csv.Dialect) -> bool:
        """True if the first row has the columns that the source asks for."""
        try:
            first = next(csv.reader(head.splitlines(keepends=True), dialect), [])
        except csv.Error:
            return False
        if self.options.columns:
            return len(first) == len(self.options.columns)
        return bool(columns_of(first, text_fields(self.source)))

    def _refused(self, names: list[str], dialect: csv.Dialect) -> BadRow | None:
        """Return the reject of a file whose header lacks the wanted column, or has it twice."""
        wanted = text_fields(self.source)
        if not columns_of(names, wanted):
            detail = (
                f"no column {' or '.join(map(repr, wanted))}; the file has {_shortened(', '.join(names))} "
                f"({self._named(dialect)}). Set text_field or format, or, if it has no header row, option "
                "`columns`."
            )
            return BadRow("", "missing_column", detail)
        columns = columns_of(names, fields_of(self.source))
        if twice := [name for name in columns if columns.count(name) > 1]:
            detail = f"the file has {columns.count(twice[0])} columns {twice[0]!r}; which is meant?"
            return BadRow("", "repeated_column", detail)
        return None

    def _bad(self, begin: int, reason: str, found: object, parser: object, dialect: csv.Dialect) -> BadRow:
        lines = int(getattr(parser, "line_num", begin)) - begin + 1
        over = f" in a row of {lines:,} lines" if lines > 1 else ""
        return BadRow(str(begin), reason, f"{found}{over} ({self._named(dialect)})")

    def _named(self, dialect: csv.Dialect) -> str:
        def how(given: str | None) -> str:
            return ", guessed" if given is None else ""

        return (
            f"delimiter {dialect.delimiter!r}{how(self.source.delimiter or self.delimiter)}, "
            f"quote {dialect.quotechar!r}{how(self.options.quote)}"
        )


class TsvReader(CsvReader):
    """Reads tables whose cells are separated by tabs."""

    delimiter = "\t"


class _Lines:
    """Decoded lines of a file, and the first fault in the lines of a row.

    The parser gets a line with a fault too, with a stand-in for the bad bytes, to find the end of the row.
    """

    def __init__(self, uri: str, encoding: str | None):
        self.number = 0
        self._encoding = encoding
        self._fault: tuple[str, str] | None = None
        self._damage: Exception | None = None
        read, self.fields = self._pieces(uri, b"\n")
        first = next(read, b"")
        self.foreign = text_encoding.foreign(first, encoding)
        if b"\r" in first.rstrip(b"\r") and first.count(b"\r") > first.count(b'"'):  # line ends of old Macs
            read, _ = self._pieces(uri, b"\r")
            first = next(read, b"")
        held = [first.removeprefix(b"\xef\xbb\xbf")]
        try:
            held.extend(itertools.islice(read, _HEAD_LINES - 1))  # keeps the lines before damage
        except DAMAGED as error:
            self._damage = error
        self.head = b"\n".join(held)[:_HEAD_CHARACTERS].decode("utf-8", "replace").replace("\0", "\ufffd")
        self._read = itertools.chain(held, read)

    def _pieces(self, uri: str, end: bytes) -> tuple[Iterator[bytes], dict[str, str]]:
        found, fields = text_encoding.as_utf8(chunks(uri), self._encoding)
        return pieces(found, end), fields

    def take_fault(self) -> tuple[str, str] | None:
        """Return the fault since the last call: a reason and its details."""
        fault, self._fault = self._fault, None
        return fault

    def __iter__(self) -> Iterator[str]:
        for line in self._read:
            self.number += 1
            if len(line) > limits.RECORD_BYTES:
                found = f"line {self.number} has more than {limits.RECORD_BYTES:,} bytes"
                self._fault = self._fault or ("record_too_long", f"{found}, the most that a record may have")
                line = b""
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                self._fault = self._fault or self._undecodable(error)
                text = line.decode("utf-8", "replace")
            if "\0" in text:
                found = f"found a NUL byte at character {text.index(chr(0)) + 1} of line {self.number}"
                self._fault = self._fault or ("nul_byte", f"{found}, expected text")
                text = text.replace("\0", "\ufffd")
            yield f"{text}\n"
        if self._damage is not None:
            raise self._damage

    def _undecodable(self, error: UnicodeDecodeError) -> tuple[str, str]:
        of = f" of line {self.number}"
        if text_encoding.is_utf8(self._encoding):
            return "invalid_utf8", text_encoding.undecodable(error, of)
        return "undecodable", text_encoding.unmarked(self._encoding, of)


def _dialect_of(delimiter: str, quote: str, escape: str | None, space: bool) -> csv.Dialect:
    dialect = csv.excel()
    dialect.delimiter, dialect.escapechar, dialect.skipinitialspace = delimiter, escape, space
    dialect.quotechar = quote or None
    dialect.quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return dialect


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
