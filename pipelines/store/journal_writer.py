"""Writing of one worker's answers: appended to a local file, or one new object for each flush."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import BinaryIO

from pipelines.store.journal_lines import packed
from schemas import storage
from schemas.corpus_layout import journal_file_uri, journal_flush_uri

_FILE_BYTES = 1 << 28


class Writer:
    """Writes to files of this worker alone.

    A local file gets the lines appended and is synced; after 256 MB comes a new one. Object stores cannot
    append, so there each call writes an object of compressed lines, and nothing is written twice.
    """

    def __init__(self, uri: str):
        self._uri = uri
        self._is_local = storage.is_local(uri)
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._number = 0
        self._size = 0
        self._file: BinaryIO | None = None

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines; they are safe on disk when it returns."""
        if not self._is_local:
            self._number += 1
            storage.write_bytes(journal_flush_uri(self._uri, self._name, self._number), packed(lines))
            return
        if self._file is None or self._size >= _FILE_BYTES:
            self._file = self._next()
        data = b"".join(lines)
        with storage.naming(self._file.name):
            _append(self._file, data)
        self._size += len(data)

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> BinaryIO:
        self.close()
        self._number += 1
        self._size = 0
        _, path = storage.filesystem(journal_file_uri(self._uri, self._name, self._number))
        storage.make_folders(os.path.dirname(path))
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - stays open
        storage.sync(os.path.dirname(path))
        return file


def _append(file: BinaryIO, lines: bytes) -> None:
    """Append whole lines to an unbuffered file and sync it; an error leaves the file as it was."""
    before = os.fstat(file.fileno()).st_size
    rest = memoryview(lines)
    try:
        while rest:  # a write may be short
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise
