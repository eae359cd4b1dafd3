"""Plain text: one document a file, or one for each piece between delimiters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row, rescued
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks, pieces, whole
from plugins.readers.markup import TooDeep
from schemas.config import Section


class TextReader(Reader):
    """Reads a whole file as one document named by its path, or each piece of it by its number from 1.

    With a `delimiter` the reader holds one piece at a time, and a bad piece costs only itself. Blank pieces,
    such as one after the last delimiter, count in the numbers and give no document.
    """

    own_fields = frozenset({"encoding", "delimiter", "extract"})

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        if self.source.delimiter is None:
            yield self._whole(uri)
        else:
            yield from self._pieces(uri, self.source.delimiter.encode())

    def _whole(self, uri: str) -> Row | BadRow:
        try:
            data = whole(uri)
        except DAMAGED as error:
            return BadRow.damaged("", error)
        except TooLong as error:
            detail = f"{error}. Name what stands between its texts as `delimiter`"
            return BadRow("", "record_too_long", detail)
        wanted = self.source.encoding
        text_encoding.check_text(data, wanted)
        text, fields = text_encoding.decode(data, wanted)
        return Row("", {self.source.text_field: text, **fields})

    def _pieces(self, uri: str, delimiter: bytes) -> Iterator[Row | BadRow]:
        number = 0
        wanted = self.source.encoding
        try:
            found, fields = text_encoding.as_utf8(chunks(uri), wanted)
            for number, piece in enumerate(pieces(found, delimiter), start=1):
                if number == 1:
                    text_encoding.check_text(piece, wanted)
                if piece.strip():
                    yield self._row(piece, str(number), fields)
        except DAMAGED as error:
            yield BadRow.damaged(str(number + 1), error, f"{number} pieces")

    def _row(self, data: bytes, position: str, fields: dict[str, str]) -> Row | BadRow:
        try:
            check_length(data)
            # A byte order mark opens some files, and so pieces of joined ones.
            return Row(position, {self.source.text_field: data.decode("utf-8-sig"), **fields})
        except UnicodeDecodeError as error:
            return BadRow(position, *text_encoding.fault_of(error, self.source.encoding, " of the piece"))
        except TooLong as error:
            return BadRow(position, "record_too_long", str(error))


class MarkupOptions(Section):
    """Options of readers `markdown` and `rst`.

    Attributes:
        keep_markup: True keeps the text of the file as it is; false takes its markup out.
    """

    keep_markup: bool = False


class MarkupReader(TextReader):
    """Reads text with light markup, a document a file. A subclass takes the markup out."""

    own_fields = frozenset({"encoding"})
    Options = MarkupOptions

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        row = self._whole(uri)
        yield from [row] if isinstance(row, BadRow) else rescued(self._bare(row), at_hand=True)

    def _bare(self, row: Row) -> Iterator[Row | BadRow]:
        try:
            for found in self.plain(row.values[self.source.text_field].replace("\r\n", "\n")):
                yield found if isinstance(found, BadRow) else Row("", {**row.values, **found})
        except (TooDeep, RecursionError) as error:
            yield BadRow.beyond_limits(error)

    @abstractmethod
    def plain(self, text: str) -> Iterator[Mapping[str, str] | BadRow]:
        """Yield the fields of the file's row, and a BadRow for what was left out."""
