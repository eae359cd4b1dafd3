"""JSON lines: one object a line, plain or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from plugins.readers import files
from plugins.readers.base import BadRow, Reader, Row

_SHOWN_CHARACTERS = 120


class JsonlReader(Reader):
    """Reads JSON lines. A bad line costs only itself; positions are line numbers from 1."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
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
