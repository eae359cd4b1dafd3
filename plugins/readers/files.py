"""The bytes of files, with compression taken off.

Compression goes by extension: `.zst`, `.gz`, `.bz2`. A `.zst` may hold several frames and large
windows. A stream that ends in the middle of a frame raises EOFError, after all that could be read;
the usual zstd stream readers end there in silence, and the usual gzip reader drops what it had read.
"""

from __future__ import annotations

import bz2
import gzip
import os
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import zstandard

from schemas import storage


class CorruptBzip2(Exception):
    """The bytes are no bzip2; the library says so with an OSError, as storage says what it cannot do."""


DAMAGED = (EOFError, zstandard.ZstdError, gzip.BadGzipFile, zlib.error, CorruptBzip2)
"""What reading a truncated or corrupt archive raises."""

_CHUNK_BYTES = 1 << 20
_FRAME_BYTES = 1 << 15
"""Compressed bytes taken at a time: what lies before damage within them is lost."""

_MAX_WINDOW_BYTES = 1 << 31

_TELLS_CONTENT = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
"""How file systems name a hash of a file's bytes, or a number that each writing of it changes."""

_CLOCK_STEP_NS = 2_000_000_000
"""As coarse as the clock of any file system in use (FAT: 2 s)."""


def is_compressed(uri: str) -> bool:
    """Whether the extension names a compression."""
    return uri.endswith((".zst", ".bz2", ".gz"))


def size_bytes(uri: str) -> int:
    """Size of a file as it is stored."""
    fs, path = storage.filesystem(uri)
    return int(fs.size(path))


def state(uri: str) -> str | None:
    """What storage says of a file's bytes without reading them: equal as long as they are the same.

    None where it says nothing, or only a time of change so near to now that a later one might equal it.
    """
    fs, path = storage.filesystem(uri)
    found = fs.info(path)
    for name in _TELLS_CONTENT:
        if found.get(name):
            return f"{name} {found[name]}"
    if storage.is_local(uri):
        changed_ns = os.stat(path).st_mtime_ns
    else:
        try:
            changed_ns = int(fs.modified(path).timestamp() * 1e9)
        except (NotImplementedError, AttributeError, KeyError):
            return None
    if abs(time.time_ns() - changed_ns) < _CLOCK_STEP_NS:
        return None
    return f"size {found['size']}, changed {changed_ns}"


def chunks(uri: str) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed by its extension.

    Raises:
        EOFError: A compressed file ends too early.
        zstandard.ZstdError, gzip.BadGzipFile, zlib.error, CorruptBzip2: Its bytes are damaged.
    """
    with fsspec.open(uri, "rb") as file:
        if uri.endswith(".zst"):
            yield from _frames(file, _zstd_frame, "zstd")
        elif uri.endswith(".bz2"):
            yield from _frames(file, _Bzip2, "bzip2")
        elif uri.endswith(".gz"):
            # read1, since a whole read drops what it has when damage follows
            with gzip.GzipFile(fileobj=file) as plain:
                while chunk := plain.read1(_CHUNK_BYTES):
                    yield chunk
        else:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def lines(uri: str) -> Iterator[bytes]:
    """Yield a file's lines without their ends; what precedes damage is yielded before it raises."""
    return pieces(uri, b"\n")


def pieces(uri: str, delimiter: bytes) -> Iterator[bytes]:
    """Yield what stands between delimiters; what precedes damage is yielded before it raises.

    One piece is held at a time. There is no empty piece after the last delimiter.
    """
    return storage.split(chunks(uri), lambda data: data.split(delimiter), len(delimiter))


def lines_between(uri: str, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a plain file that begin in a byte range, each with the offset of its beginning.

    Ranges that meet give every line once: one that begins in a range is read to its end, beyond it.

    Args:
        uri: A file without compression.
        start: Offset of the range's first byte.
        end: Offset behind its last byte; None is the end of the file.
    """
    with fsspec.open(uri, "rb") as file:
        offset = _seek_line(file, start, end) if start else 0
        if offset is None:
            return
        read = iter(lambda: file.read(_CHUNK_BYTES), b"")
        for line in storage.split(read, lambda data: data.split(b"\n"), 1):
            yield offset, line
            offset += len(line) + 1
            if end is not None and offset >= end:
                return


def _seek_line(file: Any, start: int, end: int | None) -> int | None:
    """Seek the first line that begins in a byte range; its offset, or None where no line begins there."""
    offset = start - 1  # a line that begins at `start` follows the end of another
    file.seek(offset)
    while chunk := file.read(_CHUNK_BYTES if end is None else min(_CHUNK_BYTES, end - 1 - offset)):
        if (found := int(chunk.find(b"\n"))) >= 0:
            offset += found + 1
            file.seek(offset)
            return offset
        offset += len(chunk)
    return None


def _frames(file: Any, new_frame: Callable[[], Any], kind: str) -> Iterator[bytes]:
    """Decompress one frame after the other; `new_frame` makes a decompressor of one frame."""
    frame = None
    while read := file.read(_CHUNK_BYTES):
        for start in range(0, len(read), _FRAME_BYTES):
            data = read[start : start + _FRAME_BYTES]
            while data:
                frame = frame or new_frame()
                if chunk := frame.decompress(data):
                    yield chunk
                data = b""
                if frame.eof:
                    data, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError(f"the file ends in the middle of a {kind} frame")


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()


class _Bzip2:
    """A bzip2 decompressor whose errors cannot be taken for those of the storage."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    def decompress(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data)
        except OSError as error:
            raise CorruptBzip2(str(error)) from error

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data
