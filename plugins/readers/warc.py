"""Web crawls: WARC and WET files, read record by record; fastwarc (Apache-2.0) parses a record.

    conversion    the text of a page, as in Common Crawl's WET files
    response      a page over HTTP with status 200: the main text of its HTML
    resource      a page without HTTP, the same
    others        passed over: request, metadata, warcinfo, revisit, other formats, other status

The reader cuts the file where records begin, so a record with a wrong length costs only itself, and so does a
broken member of a `.gz`. fastwarc is maintained, undoes HTTP's chunks and compressions, and takes a tenth of
warcio's time. It fetches nothing.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import NamedTuple

from fastwarc.warc import WarcRecord, WarcRecordType

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.decompression import Damage, TooLong, check_length, chunks_and_damage
from plugins.readers.html_text import HtmlError, decode_page, html_text
from schemas import limits, storage

_BEGIN = b"WARC/1."
_END = b"\r\n\r\n"
_PAGES = (WarcRecordType.response, WarcRecordType.resource)
_HTML = {"text/html", "application/xhtml+xml"}
_FIELDS = {
    "url": "WARC-Target-URI",
    "date": "WARC-Date",
    "content_type": "WARC-Identified-Payload-Type",
    "language": "WARC-Identified-Content-Language",
    "id": "WARC-Record-ID",
    "truncated": "WARC-Truncated",
}
_SHOWN_BYTES = 80
_ZLIB = {"gzip", "x-gzip", "deflate"}
_ANY_HEADER = zlib.MAX_WBITS | 32  # of gzip or zlib


class _Piece(NamedTuple):
    """A record, whole or not: its bytes, the damage behind it, and whether it is the file's last."""

    data: bytes
    damage: Damage | None = None
    is_last: bool = False


class WarcReader(Reader):
    """Reads WARC and WET. Positions are numbers of records from 1, of all types.

    Fields of a row: `text`, `title` (of HTML), `url`, `date`, `content_type`, `language`, `id`, and
    `truncated` if the crawler cut the page. A row lacks the fields that the record lacks.
    """

    own_fields = frozenset({"encoding"})
    needs_html = True
    fields = frozenset({"text", "title", *_FIELDS})

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        passed_over: Counter[str] = Counter()
        number = 0
        for piece in _pieces(uri):
            damage = piece.damage
            if piece.data and not (damage and damage.is_inside):  # else its last bytes are in doubt
                number += 1
                row = self._row(piece, str(number))
                if isinstance(row, str):
                    passed_over[row] += 1
                else:
                    yield row
            if damage:
                number += 1
                yield BadRow.damaged(str(number), damage.error)
        yield from BadRow.passed_over(passed_over)

    def _row(self, piece: _Piece, position: str) -> Row | BadRow | str:
        """Return the row of a record, or what it is if the reader passes over it."""
        body = piece.data.partition(_END)[2]
        try:
            check_length(piece.data)
            record = WarcRecord.from_bytes(piece.data + _END)
            declared = int(record.headers.get("Content-Length") or "")
        except TooLong as error:
            return BadRow(position, "record_too_long", str(error))
        except (OSError, ValueError) as error:
            return BadRow(position, "invalid_record", f"{error}; it begins {piece.data[:_SHOWN_BYTES]!r}")
        if declared > len(body) or body[declared:].strip():
            reason = "truncated_file" if piece.is_last and declared > len(body) else "wrong_length"
            return BadRow(position, reason, f"the record has {len(body):,} bytes and declares {declared:,}")
        try:
            found = self._text(record, body[:declared], piece.data)
        except TooLong as error:
            return BadRow(position, "record_too_long", str(error))
        except (text_encoding.Undecodable, HtmlError) as error:
            return BadRow(position, *error.args)
        except OSError as error:  # of fastwarc: all bytes are in memory
            return BadRow(position, "invalid_http", str(error))
        if isinstance(found, str):
            return found
        named = {name: value for name, header in _FIELDS.items() if (value := record.headers.get(header))}
        return Row(position, {**named, **found})

    def _text(self, record: WarcRecord, body: bytes, whole: bytes) -> dict[str, str] | str:
        """Return the text of a record with its fields, or what it is if the reader passes over it."""
        if record.record_type == WarcRecordType.conversion:
            text, fields = text_encoding.decode(body, self.source.encoding)
            return {**fields, "text": text}
        if record.record_type not in _PAGES:
            return str(record.headers.get("WARC-Type"))
        record.parse_http(auto_decode="all")
        kind = str(record.http_content_type or record.headers.get("Content-Type") or "unknown type")
        kind = kind.partition(";")[0].strip().lower()
        if record.is_http and record.http_headers.status_code != HTTPStatus.OK:
            return f"response with status {record.http_headers.status_code}"
        if kind not in _HTML:
            return kind
        data = record.reader.read(limits.RECORD_BYTES + 1)
        check_length(data)
        headers = record.http_headers or record.headers
        is_zlib = (headers.get("Content-Encoding") or "").strip().lower() in _ZLIB
        if is_zlib and "WARC-Truncated" not in record.headers and not _ends(whole):
            raise HtmlError("invalid_http", "the compressed body is damaged, or ends early")
        header = headers.get("Content-Type") or ""
        page, fields = decode_page(data, self.source.encoding, header)
        title, text = html_text(page)
        if not text:
            raise HtmlError("no_main_text", "trafilatura finds no main text in the page")
        return {**fields, "text": text, "content_type": kind, **({"title": title} if title else {})}


def _ends(data: bytes) -> bool:
    """True if a record's body is gzip or zlib as a whole; fastwarc reads a part of one as far as it goes."""
    record = WarcRecord.from_bytes(data + _END)
    record.parse_http(auto_decode="transfer")
    decoder = zlib.decompressobj(_ANY_HEADER)
    try:
        body = record.reader.read()
        decoder.decompress(body)
    except zlib.error:
        return False
    return decoder.eof or not body


def _pieces(uri: str) -> Iterator[_Piece]:
    """Cut a file into records."""
    held = b""
    for is_chunk, run in itertools.groupby(chunks_and_damage(uri), lambda item: isinstance(item, bytes)):
        if not is_chunk:
            for damage in run:
                assert isinstance(damage, Damage)
                yield _Piece(held, damage)
                held = b""
            continue
        whole = (item for item in run if isinstance(item, bytes))
        cut = storage.split(
            whole, lambda data: data.split(_END + _BEGIN), len(_END + _BEGIN), most=limits.RECORD_BYTES
        )
        for index, data in enumerate(cut):
            if held:
                yield _Piece(held)
            held = _BEGIN + data if index else data
    if held:
        yield _Piece(held.removesuffix(_END), is_last=True)
