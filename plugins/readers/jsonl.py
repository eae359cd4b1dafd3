"""JSON lines: one object a line, plain or compressed.

A plain file is cut into byte ranges, so that workers share a large one. A line's number is not known
without reading all before it, so positions in plain files are byte offsets, whatever their size and however
they are cut: `a.jsonl:@4711`, shown by `tail -c +4712 a.jsonl | head -1`. A compressed file is read from its
beginning, and its positions are line numbers: `a.jsonl.zst:17`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from plugins.readers import files
from plugins.readers.base import WHOLE, BadRow, Part, Reader, Row

RANGE_BYTES = 1 << 26
"""Most bytes of a part of a plain file."""

_SHOWN_CHARACTERS = 120


class JsonlReader(Reader):
    """Reads JSON lines. A bad line costs only itself; positions are line numbers from 1, or byte offsets."""

    def parts(self, uri: str) -> list[Part]:
        if files.is_compressed(uri):
            return [WHOLE]
        starts = range(0, max(files.size_bytes(uri), 1), RANGE_BYTES)
        return [Part(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def rows_of(self, uri: str, part: Part) -> Iterator[Row | BadRow]:
        return self.rows(uri) if part == WHOLE else _rows_between(uri, part)

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        if not files.is_compressed(uri):
            yield from _rows_between(uri, WHOLE)
            return
        number = 0
        try:
            for number, line in enumerate(files.lines(uri), start=1):
                if line.strip():
                    yield _row(line, str(number))
        except files.DAMAGED as error:
            yield BadRow(
                position=str(number + 1),
                reason="damaged_file",
                detail=f"{type(error).__name__}: {error}; {number} lines were read before it",
            )


def _rows_between(uri: str, part: Part) -> Iterator[Row | BadRow]:
    for offset, line in files.lines_between(uri, part.start, part.end):
        if line.strip():
            yield _row(line, f"@{offset}")


def _row(line: bytes, position: str) -> Row | BadRow:
    try:
        value = json.loads(line.decode("utf-8-sig"))  # a byte order mark opens some files
    except UnicodeDecodeError as error:
        detail = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start} of the line"
        return BadRow(position=position, reason="invalid_utf8", detail=detail)
    except (ValueError, RecursionError) as error:
        start = line[:_SHOWN_CHARACTERS].decode("utf-8", "replace")
        return BadRow(position=position, reason="invalid_json", detail=f"{error}; the line begins {start!r}")
    if not isinstance(value, dict):
        return BadRow(
            position=position,
            reason="not_an_object",
            detail=f"expected a JSON object, found {type(value).__name__}",
        )
    return Row(position=position, values=value)
