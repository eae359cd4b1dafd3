"""Plain text: one document a file."""

from __future__ import annotations

from collections.abc import Iterator

from plugins.readers import files
from plugins.readers.base import BadRow, Reader, Row


class TextReader(Reader):
    """Reads a whole file as one document, named by its path."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        try:
            data = b"".join(files.chunks(uri))
        except files.DAMAGED as error:
            yield BadRow(position="", reason="damaged_file", detail=f"{type(error).__name__}: {error}")
            return
        try:
            yield Row(position="", values={self.source.text_field: data.decode("utf-8-sig")})
        except UnicodeDecodeError as error:
            detail = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start}"
            yield BadRow(position="", reason="invalid_utf8", detail=detail)
