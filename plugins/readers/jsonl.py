"""JSON lines: one object a line, plain or compressed; also arrays, joined objects and pretty-printed JSON.

    {"text": …}                     the fast path: a line is a row
    [{"text": …}, {"text": …}]      an array gives its items: on one line, a row a line, or pretty-printed
    {"text": …}{"text": …}          objects with nothing, white space or RS (RFC 7464, json-seq) between
    {                               pretty-printed: from a line `{` to the closing line of the same
      "text": …                     indentation, so that a broken row costs only itself
    }

Workers share a large plain file in byte ranges. Without reading a file from its beginning no worker knows the
number of a line, so positions in plain files are byte offsets: `a.jsonl:@4711`, shown by
`tail -c +4712 a.jsonl | head -1`. Positions in compressed files, and in files with a named or
detected encoding, are line numbers: `a.jsonl.zst:17`. A row of
several lines has the position of its first line. Of several rows on a line, those after the first add their
number: `a.jsonl:@0[1]`.

A pretty-printed file is one part. The reader holds a line as a whole, also an array on one line.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from plugins.readers import text_encoding
from plugins.readers.base import WHOLE, BadRow, Part, Reader, Row
from plugins.readers.decompression import (
    DAMAGED,
    TooLong,
    check_length,
    chunks,
    is_compressed,
    lines_between,
    pieces,
)
from schemas import limits, storage

RANGE_BYTES = 1 << 26
"""Most bytes of a part of a plain file."""

_SHOWN_CHARACTERS = 120
_HEAD_BYTES = 4096
_INDENT = 32
_BOM = b"\xef\xbb\xbf"
_AROUND = b"\x1e \t\r"
"""Bytes allowed around a row on its line: RS and white space."""

_BEGIN = re.compile(r"[\s\x1e,]*(?:\[\s*)?")
_BETWEEN = re.compile(r"[\s\x1e,]*(?:\]\s*)?")
_FIRST_KEY = re.compile(r'\{\s*("[^"\\]*")\s*:')
_ROUNDED = 2.0**63
"""Least size of a float that orjson may have made of a whole number: it rounds those of more than 64 bits."""

_DECODER = json.JSONDecoder()


class JsonlReader(Reader):
    """Reads JSON lines. A bad line costs only itself; positions are line numbers from 1, or byte offsets."""

    own_fields = frozenset({"encoding", "extract"})

    def parts(self, uri: str) -> list[Part]:
        if self._is_numbered(uri):
            return [WHOLE]
        fs, path = storage.filesystem(uri)
        starts = range(0, max(int(fs.size(path)), 1), RANGE_BYTES)
        return [Part(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def rows_of(self, uri: str, part: Part) -> Iterator[Row | BadRow]:
        if part == WHOLE:
            return self.rows(uri)
        head = _bytes(uri, 0, _HEAD_BYTES)
        if text_encoding.foreign(head) or _is_pretty(head):
            return self.rows(uri) if part.start == 0 else iter(())
        rows = _rows(_lines_between(uri, part))
        if part.end is None and head.removeprefix(_BOM).lstrip()[:1] == b"[":  # the last part of an array
            return itertools.chain(rows, _check_end(_bytes(uri, -_HEAD_BYTES, None)))
        return rows

    def _is_numbered(self, uri: str) -> bool:
        """True if positions are numbers of lines, because other bytes are decompressed or decoded first."""
        return is_compressed(uri) or not text_encoding.is_utf8(self.source.encoding)

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        if not self._is_numbered(uri):
            yield from _rows(_lines_between(uri, WHOLE), is_whole=True)
            return
        number = 0

        def numbered_lines(found: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
            nonlocal number
            for number, line in enumerate(pieces(found, b"\n"), start=1):
                yield str(number), line

        try:
            found, fields = text_encoding.as_utf8(chunks(uri), self.source.encoding)
            for row in _rows(numbered_lines(found), is_whole=True):
                yield self._with_encoding(row, fields)
        except text_encoding.Undecodable as error:
            yield BadRow("", *error.args)
        except DAMAGED as error:
            yield BadRow.damaged(str(number + 1), error, f"{number} lines")

    def _with_encoding(self, row: Row | BadRow, fields: dict[str, str]) -> Row | BadRow:
        if isinstance(row, Row):
            return Row(row.position, {**row.values, **fields}) if fields else row
        if row.reason == "invalid_utf8" and not text_encoding.is_utf8(self.source.encoding):
            detail = text_encoding.unmarked(self.source.encoding, " of the line")
            return BadRow(row.position, "undecodable", detail)
        return row


def _lines_between(uri: str, part: Part) -> Iterator[tuple[str, bytes]]:
    return ((f"@{offset}", line) for offset, line in lines_between(uri, part.start, part.end))


def _bytes(uri: str, start: int, end: int | None) -> bytes:
    fs, path = storage.filesystem(uri)
    return bytes(fs.cat_file(path, start=start, end=end))


def _is_pretty(head: bytes) -> bool:
    """True if the first row of a file begins with a line that holds only its brace."""
    first, _, _ = head.removeprefix(_BOM).lstrip(b"[\n" + _AROUND).partition(b"\n")
    return first.rstrip(_AROUND) == b"{"


def _check_end(data: bytes) -> Iterator[BadRow]:
    """Yield a BadRow if a file that begins with a bracket does not end with one."""
    if not data.rstrip(b"\n" + _AROUND).endswith(b"]"):
        detail = "the file begins with [ and does not end with ]; rows may be missing"
        yield BadRow("", "truncated_file", detail)


def _rows(positioned: Iterable[tuple[str, bytes]], *, is_whole: bool = False) -> Iterator[Row | BadRow]:
    """Yield the rows of lines, given without their ends and with their positions.

    The first line of a whole file shows its encoding and shape.
    """
    held: list[bytes] = []  # lines of a row that is still open
    num_held = 0  # bytes; beyond the limit of a record no more lines are held
    begun, opening, last, is_array = "", b"", b"", False
    for position, line in positioned:
        bare = line.strip(_AROUND)
        if is_whole and not last:
            if foreign := text_encoding.foreign(line):
                yield BadRow("", "not_utf8", foreign)
                return
            bare = bare.removeprefix(_BOM).lstrip(_AROUND)
            is_array = bare[:1] == b"["
        last = bare or last
        bare = bare.rstrip(b",")
        if held and line.startswith(opening):  # a new row: lines inside a row are indented further
            yield from _rows_on(b"\n".join(held), begun)
            held = []
        if held:
            if num_held <= limits.RECORD_BYTES:
                held.append(line)
                num_held += len(line)
            if line.startswith(opening[:-1] + b"}"):
                yield from _rows_on(b"\n".join(held).rstrip(b"," + _AROUND), begun)
                held = []
        elif bare == b"{":
            held, num_held, begun = [line], 0, position
            opening = line.removeprefix(_BOM).lstrip(b"\x1e").partition(b"{")[0] + b"{"
        elif bare not in (b"", b"[", b"]", b"[]"):
            yield from _rows_on(bare, position)
    if held:
        yield from _rows_on(b"\n".join(held), begun)
    if is_array:
        yield from _check_end(last)


def _rows_on(line: bytes, position: str) -> Iterator[Row | BadRow]:
    """Yield all rows on a line.

    orjson reads a line that is one ordinary row, `json` all others; it also describes faults. A bad row of an
    array hides the rows up to the next one that begins with the same key; any other bad row hides all rows
    behind it. Its detail says so.
    """
    try:
        check_length(line)
        if line[:_INDENT].lstrip().startswith(b"{") and (values := _one_row(line)) is not None:
            yield Row(position, values)
            return
        text = line.decode("utf-8-sig")  # a byte order mark opens some files
    except TooLong as error:
        hint = ". If it is an array, `jq -c '.[]'` makes JSON lines of it" if line[:1] == b"[" else ""
        yield BadRow(position, "record_too_long", f"{error}{hint}")
        return
    except UnicodeDecodeError as error:
        yield BadRow(position, "invalid_utf8", text_encoding.undecodable(error, " of the line"))
        return
    at, number = _end(_BEGIN, text, 0), 0
    while not number or at < len(text):
        where = f"{position}[{number}]" if number else position
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            more = f"; {number} rows of the line were read before it" if number else ""
            detail = f"{error}; the line begins {text[at : at + _SHOWN_CHARACTERS]!r}{more}"
            following = _next_item(text, at, getattr(error, "pos", at))
            if following is not None:
                detail += f"; reading goes on {following - at:,} characters further"
            elif text.startswith("["):
                detail += "; no row of the line was read behind it"
            yield BadRow(where, "invalid_json", detail)
            if following is None:
                return
            at, number = following, number + 1
            continue
        if isinstance(value, dict):
            yield Row(where, value)
        else:
            yield BadRow(where, "not_an_object", f"expected a JSON object, found {type(value).__name__}")
        at = _end(_BETWEEN, text, at)
        number += 1


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


def _next_item(text: str, begin: int, fault: int) -> int | None:
    """Return where the next item of an array begins, behind a fault in the item that begins at `begin`.

    An item begins with the key of the bad one, so that reading does not go on with an object inside it.
    """
    opening = _FIRST_KEY.match(text, begin)
    if not text.startswith("[") or opening is None:
        return None
    found = re.compile(r"\}\s*,\s*(?=\{\s*" + re.escape(opening[1]) + r"\s*:)").search(text, fault)
    return None if found is None else found.end()


def _end(skipped: re.Pattern[str], text: str, at: int) -> int:
    found = skipped.match(text, at)
    assert found is not None
    return found.end()
