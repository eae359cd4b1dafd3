"""Lines of a table for the parser of reader `csv`: decoded, with their faults, some of them read twice."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator

from plugins.readers import text_encoding
from plugins.readers.decompression import DAMAGED, chunks, pieces
from schemas import limits

_HEAD_LINES = 20
_HEAD_CHARACTERS = 1 << 14
"""Length of the sample for the sniffer, whose regular expressions are slow on long text."""

_QUOTED = re.compile(rb'"[^"]*"')
_SEPARATOR = re.compile(rb'"?sep=(.)"?\r?')
"""First line by which Excel says the delimiter; it is no row."""


class Lines:
    """Decoded lines of a file, those of the row that is read on, and their first fault.

    The parser gets a line with a fault too, with a stand-in for the bad bytes, to find the end of the row.

    Attributes:
        head: The first lines.
        fields: Fields of all rows: how the encoding was found.
        separator: Delimiter that the file names in a first line `sep=;`.
        number: Number of the last line, from 1.
        row: Lines of the row since `begin_row`.

    Raises:
        text_encoding.Undecodable: The file is no text.
    """

    def __init__(self, uri: str, encoding: str | None):
        self.row: list[str] = []
        self._encoding = encoding
        self._faults: dict[int, tuple[str, str]] = {}  # of the row's lines, by number
        self._again: deque[str] = deque()
        self._damage: Exception | None = None
        read, self.fields = self._pieces(uri, b"\n")
        first = next(read, b"")
        text_encoding.check_text(first, encoding)
        if b"\r" in _QUOTED.sub(b"", first).rstrip(b"\r"):  # line ends of old Macs
            read, _ = self._pieces(uri, b"\r")
            first = next(read, b"")
        first = first.removeprefix(b"\xef\xbb\xbf")
        said = _SEPARATOR.fullmatch(first)
        self.separator = said[1].decode("ascii", "ignore") if said else ""
        self.number = 1 if self.separator else 0
        held = [] if self.separator else [first]
        try:
            held.extend(itertools.islice(read, _HEAD_LINES - 1))  # keeps the lines before damage
        except DAMAGED as error:
            self._damage = error
        self.head = b"\n".join(held)[:_HEAD_CHARACTERS].decode("utf-8", "replace").replace("\0", "\ufffd")
        self._read = itertools.chain(held, read)

    def _pieces(self, uri: str, end: bytes) -> tuple[Iterator[bytes], dict[str, str]]:
        found, fields = text_encoding.as_utf8(chunks(uri), self._encoding)
        return pieces(found, end), fields

    def begin_row(self) -> int:
        """Forget the last row, and return the number of the next line."""
        self.row.clear()
        if self._faults:
            self._faults = {number: fault for number, fault in self._faults.items() if number > self.number}
        return self.number + 1

    def fault(self) -> tuple[str, str] | None:
        """Return the first fault in the row's lines: a reason and its details."""
        if not self._faults:
            return None
        return next((fault for number, fault in sorted(self._faults.items()) if number <= self.number), None)

    def read_again(self, index: int) -> None:
        """End the row before one of its lines, with which the next iteration begins."""
        self._again.extendleft(reversed(self.row[index:]))
        self.number -= len(self.row) - index
        del self.row[index:]

    def __iter__(self) -> Iterator[str]:
        while self._again:
            self.number += 1
            self.row.append(self._again[0])
            yield self._again.popleft()
        for line in self._read:
            self.number += 1
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                of = f" of line {self.number}"
                self._faults[self.number] = text_encoding.fault_of(error, self._encoding, of)
                text = line.decode("utf-8", "replace")
            if len(line) > limits.RECORD_BYTES:
                found = f"line {self.number} has more than {limits.RECORD_BYTES:,} bytes"
                self._faults[self.number] = ("record_too_long", f"{found}, the most that a record may have")
                text = ""
            if "\0" in text:
                found = f"found a NUL byte at character {text.index(chr(0)) + 1} of line {self.number}"
                self._faults.setdefault(self.number, ("nul_byte", f"{found}, expected text"))
                text = text.replace("\0", "\ufffd")
            text = f"{text}\n"
            self.row.append(text)
            yield text
        if self._damage is not None:
            raise self._damage
