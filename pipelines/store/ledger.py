"""Ledger of a corpus: for each document a hash of its name, the hash of its content, and its file.

    ledger/000003-<token>.domain.ledger
        header   64 bytes: magic, version, row size, three counts, BLAKE2b-128 of all that follows
        rows     36 bytes each, sorted: blake2b-128(document_id), content_hash, number of an origin
        ends     8 bytes an origin: end offset of its line
        origins  JSON lines, sorted: index of a source, its `uri`, a file; then spaces

The row of a withdrawn document has its name and zeros; later runs treat it like any other row. That of a
document that its source deleted has zeros and a one: a newer version may return. A row has no origin if file
and position name the document, or if it was withdrawn.

Streams whose rows or files state versions have a second ledger, `<stream>.versions`: for each document the
stamp of the newest version seen (plugins/readers/row_versions.py) in place of a content hash, and its file.
It also knows versions whose text was refused, is the text that the corpus holds, or was deleted.

There is one file for each increment and stream. A look-up bisects a memory-mapped file, newest increment
first. So opening a local ledger costs nothing, and the operating system decides how much stays in memory. A
process fetches a remote one once and has one map of it, whatever number of threads and steps look things up.
Only origins of changed documents are read.

Ledgers of version 1 have rows of 32 bytes without an origin, and nothing else. Their size is a multiple of
32; spaces at the end make sure that the size of newer ledgers is not.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
import json
import os
import struct
import threading
import weakref
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.increments.document_versions import Origin
from schemas import storage
from schemas.corpus_layout import ledger_uri, number_of
from schemas.errors import CorpusError
from schemas.json_records import parse_json
from schemas.scratch_folder import scratch

WITHDRAWN = "00" * 16
"""Content hash of a withdrawn document."""

DELETED = "00" * 15 + "01"
"""Content hash of a document that its source deleted."""

NO_ORIGIN = 0xFFFF_FFFF
"""Origin number of a row without an origin."""

_Rows = np.ndarray[Any, np.dtype[np.void]]
_MAGIC = b"tutelage ledger\n"
_VERSION = 2
_HEADER = struct.Struct("<16sIIQQQ16s")  # magic, version, bytes of a row, rows, origins, their bytes, digest
_OLD_ROW = np.dtype([("name", ">u8"), ("name_rest", ">u8"), ("content", ">u8"), ("content_rest", ">u8")])
_ROW = np.dtype([*((name, ">u8") for name in _OLD_ROW.names or ()), ("origin", ">u4")])
_NAMES = np.dtype([("name", ">u8"), ("name_rest", ">u8")])
_NAME = np.dtype("S16")  # compares like 16 bytes: both sides lack zeros at the end
_opening = threading.Lock()


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """The ledger of one increment; all threads of a process share one as long as anyone holds it."""

    uri: str
    rows: _Rows  # of `_ROW` or of `_OLD_ROW`
    ends: np.ndarray[Any, np.dtype[np.uint64]]  # end offset of each origin's line
    origins: np.ndarray[Any, np.dtype[np.uint8]]  # bytes of these lines

    @functools.cached_property
    def by_content(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Row numbers in order of content, made on first use; 8 bytes of memory a document."""
        return np.argsort(self.rows["content"], kind="stable")

    def origin(self, number: int) -> Origin:
        """Read an origin."""
        try:
            start = int(self.ends[number - 1]) if number else 0
            source, pattern, uri = parse_json(self.origins[start : int(self.ends[number])].tobytes())
            if type(source) is not int or source < 0 or type(pattern) is not str or type(uri) is not str:
                raise ValueError("expected the index of a source and two names")
            return Origin(source, pattern, uri)
        except (IndexError, ValueError, TypeError) as error:
            raise _damaged(self.uri, f"its origin {number} cannot be read: {error}") from error


_shared: weakref.WeakValueDictionary[tuple[str, str], _Table] = weakref.WeakValueDictionary()
"""Open tables by URI and version."""


def ledger_row(document_id: str, content_hash: str, origin: int = NO_ORIGIN) -> bytes:
    """Bytes of one row; `origin` is an index in the origins of `write_ledger`."""
    return name_hash(document_id) + bytes.fromhex(content_hash) + origin.to_bytes(4, "big")


def count_documents(corpus: str, stream: str, name: str) -> int:
    """Number of documents that one increment took into a stream, without withdrawn ones."""
    uri = ledger_uri(corpus, stream, name)
    return _num_documents(_open(uri).rows) if storage.exists(uri) else 0


def count_deleted(corpus: str, stream: str, name: str) -> int:
    """Number of documents of a stream that their sources deleted in one increment."""
    uri = ledger_uri(corpus, stream, name)
    rows = _open(uri).rows if storage.exists(uri) else np.zeros(0, _ROW)
    return int(np.count_nonzero((rows["content"] == 0) & (rows["content_rest"] == 1)))


def write_ledger(uri: str, rows: Iterable[bytes], origins: Sequence[Origin] = ()) -> None:
    """Write rows, sorted by name hash, and the origins that they use."""
    table = np.frombuffer(b"".join(sorted(rows)), _ROW).copy()
    has_origin = table["origin"] != NO_ORIGIN
    used, of_row = np.unique(table["origin"][has_origin], return_inverse=True)
    written = sorted({origins[number] for number in used.tolist()})
    places = {origin: place for place, origin in enumerate(written)}
    table["origin"][has_origin] = np.array([places[origins[number]] for number in used.tolist()], ">u4")[
        of_row
    ]
    lines = [json.dumps(origin).encode() + b"\n" for origin in written]
    ends = np.cumsum([len(line) for line in lines], dtype="<u8").tobytes()
    body = b"".join([table.tobytes(), ends, *lines])
    padding = b" " * (32 - (_HEADER.size + len(body)) % 32 + 1)
    sizes = len(table), len(written), sum(map(len, lines)) + len(padding)
    digest = hashlib.blake2b(body + padding, digest_size=16).digest()
    header = _HEADER.pack(_MAGIC, _VERSION, _ROW.itemsize, *sizes, digest)
    storage.write_bytes(uri, header + body + padding)


def check_ledger(uri: str) -> None:
    """Read a whole ledger and check it.

    Raises:
        CorpusError: It is damaged.
        FileNotFoundError: It does not exist.
    """
    rows = _open(uri).rows
    if rows.dtype == _ROW:
        data = storage.read_bytes(uri)
        if hashlib.blake2b(data[_HEADER.size :], digest_size=16).digest() != _HEADER.unpack_from(data)[-1]:
            raise _damaged(uri, "its bytes do not have the hash in its header")
    elif (rows["name"][1:] < rows["name"][:-1]).any():
        raise _damaged(uri, "its rows are not in order")


def current_rows(
    corpus: str, stream: str, names: Iterable[str], *, of: Container[str], withdrawn: Iterable[str] = ()
) -> tuple[list[bytes], list[Origin], int]:
    """Collect rows of the increments `of` that no newer row of all the corpus's `names` replaces.

    The rows of documents to withdraw now come first. Return the rows, their origins, and the number of
    documents that are not withdrawn.
    """
    gone = sorted({ledger_row(document_id, WITHDRAWN) for document_id in withdrawn})
    rows = list(gone)
    origins: list[Origin] = []
    newer = np.array([row[:16] for row in gone], dtype=_NAME)
    num_documents = 0
    for increment in sorted(names, key=number_of, reverse=True):
        uri = ledger_uri(corpus, stream, increment)
        if not storage.exists(uri):
            continue
        table = _open(uri)
        found = np.asarray(table.rows)
        hashes = np.ascontiguousarray(found[["name", "name_rest"]].astype(_NAMES)).view(_NAME)
        is_current = ~np.isin(hashes, newer)
        newer = np.concatenate([newer, hashes[is_current]])
        if increment in of:
            current = np.zeros(int(is_current.sum()), _ROW)
            current["origin"] = NO_ORIGIN
            for column in found.dtype.names or ():
                current[column] = found[column][is_current]
            current["origin"][current["origin"] != NO_ORIGIN] += len(origins)
            origins += map(table.origin, range(len(table.ends)))
            rows += [row.tobytes() for row in current]
            num_documents += _num_documents(current)
    return rows, origins, num_documents


class Ledger:
    """Documents of several increments of one stream."""

    def __init__(self, newest_first: Sequence[_Table]):
        self._tables = newest_first

    @classmethod
    def open(cls, corpus: str, stream: str, names: Iterable[str]) -> Ledger:
        """Open the ledgers of some increments; an increment without this stream has none.

        Raises:
            CorpusError: A ledger is damaged.
        """
        newest_first = sorted(names, key=number_of, reverse=True)
        uris = (ledger_uri(corpus, stream, name) for name in newest_first)
        return cls([_open(uri) for uri in uris if storage.exists(uri)])

    def content_of(self, document_id: str) -> str | None:
        """The newest content hash of a document; None if the corpus does not have it."""
        return self._newest(name_hash(document_id))

    def origin_of(self, document_id: str) -> Origin | None:
        """The file of a document's newest content; None if the ledger has no origin of it."""
        found = self._find(name_hash(document_id))
        if found is None or found[0].rows.dtype != _ROW:
            return None
        table, at = found
        number = int(table.rows["origin"][at])
        return None if number == NO_ORIGIN else table.origin(number)

    def holder_of(self, digits: str, *, may_be_superseded: bool = False) -> bytes | None:
        """Name hash of a document whose content hash begins with these digits, 16 or more; or None."""
        key = int(digits[:16], 16)
        for table in self._tables:
            with _opening:  # not made twice by two threads
                order = table.by_content
            contents = table.rows["content"]
            at = bisect.bisect_left(order, key, key=contents.__getitem__)
            while at < len(contents) and int(contents[order[at]]) == key:
                row = table.rows[order[at]].tobytes()
                content = row[16:32].hex()
                is_held = may_be_superseded or self._newest(row[:16]) == content
                if content.startswith(digits) and is_held:
                    return bytes(row[:16])
                at += 1
        return None

    def _newest(self, name: bytes) -> str | None:
        found = self._find(name)
        return None if found is None else found[0].rows[found[1]].tobytes()[16:32].hex()

    def _find(self, name: bytes) -> tuple[_Table, int] | None:
        """Table and row number of the newest row of a name."""
        key, rest = int.from_bytes(name[:8], "big"), int.from_bytes(name[8:], "big")
        for table in self._tables:
            # np.searchsorted would first copy the whole column, because its byte order is not the native one.
            names = table.rows["name"]
            at = bisect.bisect_left(names, key)
            while at < len(names) and int(names[at]) == key:
                if int(table.rows["name_rest"][at]) == rest:
                    return table, at
                at += 1
        return None


class Newest:
    """Lookup of the increment that holds the newest text of each document.

    A document that was asked about again has one content in two increments; the newer increment counts.
    """

    def __init__(self, corpus: str, stream: str, names: Iterable[str]):
        newest_first = sorted(names, key=number_of, reverse=True)
        self._ledgers = [(number_of(name), Ledger.open(corpus, stream, [name])) for name in newest_first]

    def is_current(self, number: int, document_id: str, content_hash: str) -> bool:
        """True if an increment's content of a document is the newest one."""
        for newest, ledger in self._ledgers:
            content = ledger.content_of(document_id)
            if content is not None:
                return (newest, content) == (number, content_hash)
        return False


def name_hash(document_id: str) -> bytes:
    """Hash of a document's name in its row: blake2b-128 of the document_id."""
    return hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _num_documents(rows: _Rows) -> int:
    return int(np.count_nonzero((rows["content"] != 0) | (rows["content_rest"] > 1)))


def _open(uri: str) -> _Table:
    """Open a table, or share the one that this process holds of the same version of the file."""
    fs, path = storage.filesystem(uri)
    with _opening:
        key = uri, str(fs.ukey(path))
        table = _shared.get(key)
        if table is None:
            table = _shared[key] = _read(uri)
    return table


def _read(uri: str) -> _Table:
    if storage.is_local(uri):
        return _map(uri, storage.filesystem(uri)[1])
    with scratch("ledger") as folder, storage.naming(folder):  # a mapped file may be unlinked
        copy = f"{folder}/copy"
        with open(copy, "wb") as file:
            file.write(storage.read_bytes(uri))
        return _map(uri, copy)


def _map(uri: str, path: str) -> _Table:
    num_bytes = os.path.getsize(path)
    if not num_bytes:
        raise _damaged(uri, "it is empty")
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    header = data[: _HEADER.size].tobytes()
    if not header.startswith(_MAGIC):
        if num_bytes % _OLD_ROW.itemsize:
            raise _damaged(uri, f"it has {num_bytes} bytes and does not begin like a ledger")
        return _Table(uri, data.view(_OLD_ROW), np.empty(0, np.uint64), data[:0])
    if num_bytes < _HEADER.size:
        raise _damaged(uri, f"it has {num_bytes} bytes, fewer than its header")
    _, version, row_bytes, num_rows, num_origins, origin_bytes, _ = _HEADER.unpack(header)
    if (version, row_bytes) != (_VERSION, _ROW.itemsize):
        raise CorpusError(
            f"{uri}: is a ledger of version {version}; this version of Tutelage reads {_VERSION} and those "
            "before it. Use the version that wrote it."
        )
    rows_end = _HEADER.size + num_rows * row_bytes
    ends_end = rows_end + num_origins * 8
    if num_bytes != ends_end + origin_bytes:
        raise _damaged(uri, f"it has {num_bytes} bytes, expected {ends_end + origin_bytes}")
    return _Table(
        uri, data[_HEADER.size : rows_end].view(_ROW), data[rows_end:ends_end].view("<u8"), data[ends_end:]
    )


def _damaged(uri: str, finding: str) -> CorpusError:
    return CorpusError(f"{uri}: is damaged: {finding}. Restore it, or build the corpus anew.")
