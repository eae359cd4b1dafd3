"""What is in a corpus: for each document a hash of its name and the hash of its content.

    ledger/000003.domain.ledger     sorted rows of 32 bytes: blake2b-128(document_id), content_hash

A document that was withdrawn has a row of its name and zeros, which later runs go by like any other.

One file an increment and stream. A look-up bisects a memory-mapped file, newest increment first, so
that opening costs nothing and memory is what the operating system chooses to keep.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import os
import tempfile
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.places import ledger_uri
from schemas import storage

WITHDRAWN = "00" * 16
"""Stands for the content of a document that was withdrawn."""

_Table = np.ndarray[Any, np.dtype[np.void]]
_ROW = np.dtype([("name", ">u8"), ("name_rest", ">u8"), ("content", ">u8"), ("content_rest", ">u8")])
_NAMES = np.dtype([("name", ">u8"), ("name_rest", ">u8")])
_NAME = np.dtype("S16")  # compares like 16 bytes: what it leaves out, zeros at the end, both sides leave out


def ledger_row(document_id: str, content_hash: str) -> bytes:
    """One row, 32 bytes."""
    name = hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return name + bytes.fromhex(content_hash)


def count_documents(corpus: str, stream: str, number: int) -> int:
    """Documents that one increment took into a stream; those that it withdrew are none."""
    uri = ledger_uri(corpus, stream, number)
    if not storage.exists(uri):
        return 0
    table = np.asarray(_map(uri))
    return int(np.count_nonzero(table["content"] | table["content_rest"]))


def write_ledger(uri: str, rows: Iterable[bytes]) -> None:
    """Write rows, sorted by name hash."""
    storage.write_bytes(uri, b"".join(sorted(rows)))


def current_rows(
    corpus: str, stream: str, numbers: Iterable[int], *, of: Container[int], withdrawn: Iterable[str] = ()
) -> tuple[list[bytes], int]:
    """Rows of some increments that no newer row of the corpus replaces, for one ledger in their place.

    Args:
        corpus: The corpus.
        stream: The stream.
        numbers: All increments of the corpus.
        of: Those whose rows are wanted.
        withdrawn: Names of documents that are withdrawn now; their rows come first.

    Returns:
        The rows, and how many of them are of documents that are not withdrawn.
    """
    gone = sorted({ledger_row(document_id, WITHDRAWN) for document_id in withdrawn})
    rows = list(gone)
    newer = np.array([row[:16] for row in gone], dtype=_NAME)
    num_documents = 0
    for number in sorted(numbers, reverse=True):
        uri = ledger_uri(corpus, stream, number)
        if not storage.exists(uri):
            continue
        table = np.asarray(_map(uri))
        names = np.ascontiguousarray(table[["name", "name_rest"]].astype(_NAMES)).view(_NAME)
        is_current = ~np.isin(names, newer)
        newer = np.concatenate([newer, names[is_current]])
        if number in of:
            current = table[is_current]
            rows += [row.tobytes() for row in current]
            num_documents += int(np.count_nonzero(current["content"] | current["content_rest"]))
    return rows, num_documents


class Ledger:
    """The documents of several increments of one stream.

    Args:
        tables: Rows sorted by name, newest increment first.
    """

    def __init__(self, tables: Sequence[_Table]):
        self._tables = tables

    @functools.cached_property
    def _by_content(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Rows of the same tables in order of content; 8 bytes a document in memory, for whoever asks."""
        return [np.argsort(table["content"], kind="stable") for table in self._tables]

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
        return self.has_content_beginning(content_hash)

    def has_content_beginning(self, digits: str) -> bool:
        """Whether any document has a content now whose hash begins with these digits, 16 or more."""
        key = int(digits[:16], 16)
        for table, order in zip(self._tables, self._by_content, strict=True):
            contents = table["content"]
            at = bisect.bisect_left(order, key, key=contents.__getitem__)
            while at < len(table) and int(contents[order[at]]) == key:
                row = table[order[at]].tobytes()
                content = bytes(row[16:]).hex()
                if content.startswith(digits) and self._newest(row[:16]) == content:
                    return True
                at += 1
        return False

    def _newest(self, name: bytes) -> str | None:
        key, rest = int.from_bytes(name[:8], "big"), int.from_bytes(name[8:], "big")
        for table in self._tables:
            # np.searchsorted would copy the whole column first, since its bytes are in the other order.
            at = bisect.bisect_left(table["name"], key)
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
