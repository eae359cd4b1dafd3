"""JSON lines: one object a line, plain or compressed; also arrays, joined objects and pretty-printed JSON.

    {"text": …}                     JSON lines: the fast path, and a bad line costs only itself
    [{"text": …}, {"text": …}]      all else: `json_values.py` parses value by value, whatever the lines
    {"text": …}{"text": …}
    {"results": [{"text": …}]}      with option `rows: results`: its items are the rows

Workers share a large plain file of JSON lines in byte ranges. Without reading a file from its beginning no
worker knows the number of a line, so positions in plain files are byte offsets: `a.jsonl:@4711`, shown by
`tail -c +4712 a.jsonl | head -1`. Positions in compressed files, and in files with a named or detected
encoding, are line numbers: `a.jsonl.zst:17`. Of several rows on a line, those after the first add their
number: `a.jsonl:@0[1]`. In all other JSON positions are numbers of rows, as of jq: `a.json:[17]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import fsspec
import orjson
import pydantic

from plugins.readers import text_encoding
from plugins.readers.base import WHOLE, BadRow, Part, Reader, Row
from plugins.readers.decompression import (
    DAMAGED,
    TooLong,
    check_length,
    chunks,
    is_compressed,
    lines_between,
    peek,
    pieces,
)
from plugins.readers.field_paths import look_up, names_of
from plugins.readers.json_values import has_a_row_a_line, rows_in
from schemas import storage
from schemas.config import Section

RANGE_BYTES = 1 << 26
"""Most bytes of a part of a plain file."""

_HEAD_BYTES = 1 << 20
"""Bytes that say whether a file is JSON lines. A first line that is longer is taken for a row."""

_AROUND = b"\x1e \t\r"
"""Bytes allowed around a row on its line: RS and white space."""

_ROUNDED = 2.0**63
"""Least size of a float that orjson may have made of a whole number: it rounds those of more than 64 bits."""


class JsonlOptions(Section):
    """Options of reader `jsonl`.

    Attributes:
        rows: Dotted path of the list that holds the rows in an object of the file: `results` of
            `{"results": [{"text": …}]}`. The object is in memory as a whole. null: objects are rows.
    """

    rows: str | None = pydantic.Field(default=None, min_length=1)


class JsonlReader(Reader):
    """Reads JSON lines and other JSON. Positions are line numbers from 1, byte offsets, or `[row]` from 0."""

    own_fields = frozenset({"encoding", "extract"})
    Options = JsonlOptions

    def parts(self, uri: str) -> list[Part]:
        if self._is_numbered(uri):
            return [WHOLE]
        fs, path = storage.filesystem(uri)
        starts = range(0, max(int(fs.size(path)), 1), RANGE_BYTES)
        return [Part(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def _is_numbered(self, uri: str) -> bool:
        """True if positions are numbers of lines, because other bytes are decompressed or decoded first."""
        return is_compressed(uri) or not text_encoding.is_utf8(self.source.encoding)

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        return self.rows_of(uri, WHOLE)

    def rows_of(self, uri: str, part: Part) -> Iterator[Row | BadRow]:
        if self._is_numbered(uri):
            yield from self._rows_decoded(uri)
            return
        with fsspec.open(uri, "rb") as file:
            head = file.read(_HEAD_BYTES)
        if text_encoding.foreign(head) is None and has_a_row_a_line(head):
            lines = ((f"@{offset}", line) for offset, line in lines_between(uri, part.start, part.end))
            yield from self._unpacked(_rows(lines))
        elif part.start == 0:
            text_encoding.check_text(head)
            yield from self._unpacked(rows_in(chunks(uri), _numbered))

    def _rows_decoded(self, uri: str) -> Iterator[Row | BadRow]:
        """Yield the rows of a file whose bytes are decompressed or decoded first."""
        line_number = num_rows = 0

        def numbered_lines(found: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
            nonlocal line_number
            for line_number, line in enumerate(pieces(found, b"\n"), start=1):
                yield str(line_number), line

        try:
            found, fields = text_encoding.as_utf8(chunks(uri), self.source.encoding)
            head, found = peek(found, _HEAD_BYTES)
            text_encoding.check_text(head)
            is_by_line = has_a_row_a_line(head[:_HEAD_BYTES])
            del head
            rows = _rows(numbered_lines(found)) if is_by_line else rows_in(found, _numbered)
            for row in self._unpacked(rows):
                yield self._with_encoding(row, fields)
                num_rows += 1
        except DAMAGED as error:
            position, read = str(line_number + 1), f"{line_number} lines"
            yield BadRow.damaged(position, error, read if line_number else f"{num_rows} rows")

    def _unpacked(self, rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
        """Return the rows that option `rows` names in objects; the objects themselves without it."""
        path = self.options.rows
        return rows if path is None else (each for row in rows for each in _items_of(row, path))

    def _with_encoding(self, row: Row | BadRow, fields: dict[str, str]) -> Row | BadRow:
        if isinstance(row, Row):
            return Row(row.position, {**row.values, **fields}) if fields else row
        if row.reason == "invalid_utf8" and not text_encoding.is_utf8(self.source.encoding):
            detail = text_encoding.unmarked(self.source.encoding, " of the row")
            return BadRow(row.position, "undecodable", detail)
        return row


def _items_of(row: Row | BadRow, path: str) -> Iterator[Row | BadRow]:
    if isinstance(row, BadRow):
        yield row
        return
    items = look_up(row.values, path)
    if not isinstance(items, list):
        detail = f"option rows: no list {path!r} in an object of {names_of(row.values)}"
        yield BadRow(row.position, "no_rows", detail)
        return
    for number, item in enumerate(items):
        position = f"{row.position}.{path}[{number}]"
        if isinstance(item, dict):
            yield Row(position, item)
        else:
            found = f"expected a JSON object, found {type(item).__name__}"
            yield BadRow(position, "not_an_object", found)


def _numbered(number: int) -> str:
    return f"[{number}]"


def _rows(positioned: Iterable[tuple[str, bytes]]) -> Iterator[Row | BadRow]:
    """Yield the rows of lines, given without their ends and with their positions."""
    for position, line in positioned:
        if bare := line.strip(_AROUND).rstrip(b","):
            yield from _rows_on(bare, position)


def _rows_on(line: bytes, position: str) -> Iterator[Row | BadRow]:
    """Yield all rows on a line. orjson reads a line that is one ordinary row, `json` all others."""
    try:
        check_length(line)
    except TooLong as error:
        yield BadRow(position, "record_too_long", str(error))
        return
    if line.startswith(b"{") and (values := _one_row(line)) is not None:
        yield Row(position, values)
    else:
        yield from rows_in(
            [line], lambda number: f"{position}[{number}]" if number else position, is_line=True
        )


def _one_row(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line, as `json` does; None if `json` has to read it."""
    try:
        values: dict[str, Any] = orjson.loads(line)
        return None if _is_rounded(values) else values
    except (ValueError, RecursionError):
        return None


def _is_rounded(value: Any) -> bool:
    """True if a value holds a number that orjson may have rounded."""
    if isinstance(value, float):
        return abs(value) >= _ROUNDED
    if isinstance(value, dict):
        return any(map(_is_rounded, value.values()))
    return isinstance(value, list) and any(map(_is_rounded, value))
