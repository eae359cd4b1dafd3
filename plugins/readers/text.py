"""Plain text: one document a file, or one for each piece between delimiters."""

from __future__ import annotations

from collections.abc import Iterator

from plugins.readers import files, utf8
from plugins.readers.base import BadRow, Reader, Row


class TextReader(Reader):
    """Reads a whole file as one document named by its path, or each piece of it by its number from 1.

    With a `delimiter` one piece is held at a time, and a bad piece costs only itself. Blank pieces,
    such as the one after a last delimiter, are counted and passed over, as blank lines of JSON lines are.
    """

    own_fields = frozenset({"delimiter"})

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        if self.source.delimiter is None:
            yield from self._whole(uri)
        else:
            yield from self._pieces(uri, self.source.delimiter.encode())

    def _whole(self, uri: str) -> Iterator[Row | BadRow]:
        try:
            data = files.whole(uri)
        except files.DAMAGED as error:
            yield BadRow(position="", reason="damaged_file", detail=f"{type(error).__name__}: {error}")
            return
        except files.TooLong as error:
            detail = f"{error}. Name what stands between its texts as `delimiter`"
            yield BadRow(position="", reason="record_too_long", detail=detail)
            return
        if foreign := utf8.foreign(data):
            yield BadRow(position="", reason="not_utf8", detail=foreign)
        else:
            yield self._row(data, "")

    def _pieces(self, uri: str, delimiter: bytes) -> Iterator[Row | BadRow]:
        number = 0
        try:
            for number, piece in enumerate(files.pieces(uri, delimiter), start=1):
                if number == 1 and (detail := utf8.foreign(piece)):
                    yield BadRow(position="", reason="not_utf8", detail=detail)
                    return
                if piece.strip():
                    yield self._row(piece, str(number))
        except files.DAMAGED as error:
            yield BadRow(
                position=str(number + 1),
                reason="damaged_file",
                detail=f"{type(error).__name__}: {error}; {number} pieces were read before it",
            )

    def _row(self, data: bytes, position: str) -> Row | BadRow:
        try:
            files.check_length(data)
            text = data.decode("utf-8-sig")  # a byte order mark opens some files, and so parts of joined ones
        except UnicodeDecodeError as error:
            detail = utf8.undecodable(error, " of the piece" if position else "")
            return BadRow(position=position, reason="invalid_utf8", detail=detail)
        except files.TooLong as error:
            return BadRow(position=position, reason="record_too_long", detail=str(error))
        return Row(position=position, values={self.source.text_field: text})
