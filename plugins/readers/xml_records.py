"""Records of XML files: each is cut out of the bytes, then parsed by itself.

    bytes ─► UTF-8 ─► text, record, text, … ─► ElementTree ─► a subclass ─► rows of the record

A streaming parser stops at the first fault. Because this reader cuts first, it holds one record at a time, a
broken record costs only itself, and no document type reaches the parser: an element cannot declare entities,
so the parser expands and fetches none.
"""

from __future__ import annotations

import codecs
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from xml.etree import ElementTree

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import DAMAGED, TooLong, check_length, chunks, peek
from schemas import limits, storage

_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}\sencoding\s*=\s*["']([\w.:-]+)""")
_DECLARATION_BYTES = 4096
_OPENED = re.compile(rb"<([A-Za-z][\w.:-]*)")
_PREFIX = r"(?:[\w.-]{1,60}:)?"
_LONGEST_PREFIX = 61


class XmlReader(Reader):
    """A reader of XML files. Positions are numbers of records from 1, of any kind.

    Elements beside the records are rejects. A subclass names the records and makes rows of each.
    """

    own_fields = frozenset({"encoding"})

    names: ClassVar[tuple[str, ...]]
    """Names of the elements that are records, without prefixes of namespaces."""

    roots: ClassVar[tuple[str, ...]]
    """Names of the root elements around records."""

    needs_root: ClassVar[bool] = True
    """False if a record may be the root element itself."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        head, data = peek(chunks(uri), _DECLARATION_BYTES)
        declared = _DECLARED.search(head)
        name, wanted = declared[1].decode() if declared else None, self.source.encoding
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            name = "utf-16"
        try:
            if wanted == text_encoding.AUTO and not text_encoding.is_utf8(name):
                found, _ = text_encoding.as_utf8(data, name)
                fields = dict(zip(text_encoding.FIELDS, (str(name), "1.00"), strict=True))
            else:
                found, fields = text_encoding.as_utf8(data, wanted or name)
        except LookupError as error:
            yield BadRow("", "unknown_encoding", f"{error}. Name its encoding in `encoding`")
            return
        root = re.compile(rf"<(/?){_PREFIX}(?:{'|'.join(self.roots)})(?=[\s>])".encode())
        passed_over: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        number, head, start, has_root, is_ended = 0, b"", b"", False, False
        try:
            for start, text, end in _cut(found, self.names):
                head = head or text
                number += bool(start)
                if not start:
                    root_tags = root.findall(text)
                    has_root = has_root or b"" in root_tags
                    is_ended = root_tags[-1:] == [b"/"]
                    if has_root:
                        yield from self.outside(root.sub(b"", text), number)
                elif end != b"</" + start[1:]:
                    is_cut = not end and b"/" not in root.findall(text)
                    reason = "truncated_file" if is_cut else "truncated_record"
                    detail = (
                        f"the record has no </{start[1:].decode()}>; {len(text):,} bytes follow its beginning"
                    )
                    yield BadRow(str(number), reason, detail)
                else:
                    for row in self._record(start + text + end + b">", str(number), head):
                        if isinstance(row, str):
                            passed_over[row] += 1
                        elif isinstance(row, Counter):
                            left_out += row
                        else:
                            yield row if isinstance(row, BadRow) else Row(str(number), {**row, **fields})
        except DAMAGED as error:
            yield BadRow.damaged(str(number + 1), error, f"{number} records")
        else:
            if not has_root and (self.needs_root or not number):
                expected = self.roots[0] if self.needs_root else self.names[0]
                name = self.source.reader
                yield BadRow("", f"not_{name}", f"expected <{expected}>; is this XML for reader {name}?")
            elif has_root and not is_ended and not start:
                detail = f"the file ends before its root element; {number} records were read"
                yield BadRow(str(number + 1), "truncated_file", detail)
        yield from BadRow.passed_over(passed_over)
        yield from BadRow.left_out(left_out)

    def _record(self, data: bytes, position: str, head: bytes) -> Iterator[Mapping[str, Any] | BadRow | str]:
        try:
            check_length(data)
            yield from self.found_in(data, position, head)
        except TooLong as error:
            yield BadRow(position, "record_too_long", str(error))
        except ElementTree.ParseError as error:
            yield BadRow(position, "invalid_xml", f"{error} of the record")
        except RecursionError:
            yield BadRow(position, "nested_too_deeply", "its elements are nested too deeply")

    def outside(self, text: bytes, number: int) -> Iterator[BadRow]:
        """Yield a BadRow if text behind the record of a number, or before the first, has elements."""
        if found := _OPENED.search(text):
            detail = f"found <{found[1].decode()}> after record {number}, which is not read"
            yield BadRow("", "unknown_record", detail)

    @abstractmethod
    def found_in(
        self, record: bytes, position: str, head: bytes
    ) -> Iterator[Mapping[str, Any] | BadRow | str]:
        """Yield the values of a record's rows, or what it is if the reader passes over it.

        A Counter has the names of the parts that are left out of these rows.

        `position` is for a BadRow, `head` is the file before its first record. ParseError and RecursionError
        cost only the record.
        """


def _cut(found: Iterator[bytes], names: Sequence[str]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the text between two tags of records, with what these begin with: `<page`, …, `</page`.

    The first is b"" if the text is outside records, the second at the end of the file.
    """
    tag = re.compile(rf"(</?{_PREFIX}(?:{'|'.join(names)})(?=[\s>]))".encode())
    longest = len("</>") + _LONGEST_PREFIX + max(map(len, names))
    pieces = storage.split(found, tag.split, longest, most=limits.RECORD_BYTES)  # text, tag, text, …
    start = b""
    for text in pieces:
        end = next(pieces, b"")
        yield start, text, end
        start = b"" if end.startswith(b"</") else end
