"""What is in a corpus: for each document a hash of its name and the hash of its content.

    ledger/000003.domain.ledger     sorted rows of 32 bytes: blake2b-128(document_id), content_hash

One file an increment and stream. A look-up bisects a memory-mapped file, newest increment first, so
that opening costs nothing and memory is what the operating system chooses to keep.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.places import ledger_uri
from schemas import storage

_Table = np.ndarray[Any, np.dtype[np.void]]
_ROW = np.dtype([("name", ">u8"), ("name_rest", ">u8"), ("content", ">u8"), ("content_rest", ">u8")])


def ledger_row(document_id: str, content_hash: str) -> bytes:
    """One row, 32 bytes."""
    name = hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return name + bytes.fromhex(content_hash)


def count_documents(corpus: str, stream: str, number: int) -> int:
    """Documents that one increment took into a stream."""
    fs, path = storage.filesystem(ledger_uri(corpus, stream, number))
    return int(fs.size(path)) // _ROW.itemsize if fs.exists(path) else 0


def write_ledger(uri: str, rows: Iterable[bytes]) -> None:
    """Write rows, sorted by name hash."""
    storage.write_bytes(uri, b"".join(sorted(rows)))


class Ledger:
    """The documents of several increments of one stream.

    Args:
        tables: Rows sorted by name, newest increment first.
    """

    def __init__(self, tables: Sequence[_Table]):
        self._tables = tables
        # Rows of the same tables in order of content; 8 bytes a document in memory.
        self._by_content = [np.argsort(table["content"], kind="stable") for table in tables]

    @classmethod
    def open(cls, corpus: str, stream: str, numbers: Iterable[int]) -> Ledger:
        """Open the ledgers of the given increments; an increment without this stream has none."""
        tables = []
        for number in sorted(numbers, reverse=True):
            uri = ledger_uri(corpus, stream, number)
            if storage.exists(uri):
                tables.append(_map(uri))
        return cls(tables)

    def content_of(self, document_id: str) -> str | None:
        """The newest content hash of a document, or None if it is not in."""
        return self._newest(ledger_row(document_id, "")[:16])

    def has_content(self, content_hash: str) -> bool:
        """Whether any document has this content now; what a newer text superseded does not count."""
        key, rest = int(content_hash[:16], 16), int(content_hash[16:], 16)
        for table, order in zip(self._tables, self._by_content, strict=True):
            at = int(np.searchsorted(table["content"], key, sorter=order))
            while at < len(table) and int(table["content"][order[at]]) == key:
                row = table[order[at]]
                if int(row["content_rest"]) == rest and self._newest(row.tobytes()[:16]) == content_hash:
                    return True
                at += 1
        return False

    def _newest(self, name: bytes) -> str | None:
        key, rest = int.from_bytes(name[:8], "big"), int.from_bytes(name[8:], "big")
        for table in self._tables:
            at = int(np.searchsorted(table["name"], key))
            while at < len(table) and int(table["name"][at]) == key:
                if int(table["name_rest"][at]) == rest:
                    return bytes(table[at].tobytes()[16:]).hex()
                at += 1
        return None


def _map(uri: str) -> _Table:
    if storage.is_local(uri):
        _, path = storage.filesystem(uri)
        return np.memmap(path, dtype=_ROW, mode="r") if os.path.getsize(path) else np.empty(0, _ROW)
    with tempfile.NamedTemporaryFile(suffix=".ledger") as file:  # mapped, so it may be unlinked
        file.write(storage.read_bytes(uri))
        file.flush()
        return np.memmap(file.name, dtype=_ROW, mode="r") if file.tell() else np.empty(0, _ROW)
