"""Decompressed bytes, lines and pieces of files, plain or `.zst`, `.gz`, `.bz2`, `.xz` by extension.

A `.zst` may hold several frames and large windows. A stream that ends in the middle of a frame yields all
bytes before the end and then raises EOFError. The usual zstd stream readers end there silently, and the usual
gzip reader drops the bytes that it had read.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import fsspec
import zstandard

from schemas import limits, storage


class CorruptBzip2(Exception):
    """The bytes are no bzip2. The library raises OSError for it, which here means an error of the storage."""


class TooLong(Exception):
    """A record is longer than `limits.RECORD_BYTES`."""


class NotCompressed(Exception):
    """The name of a file says that it is compressed, and its first bytes say otherwise."""


DAMAGED = (
    *(EOFError, zstandard.ZstdError, gzip.BadGzipFile, zlib.error),
    *(CorruptBzip2, lzma.LZMAError, NotCompressed),
)
"""Exceptions for a truncated or corrupt compressed file."""

_CHUNK_BYTES = 1 << 20
_FRAME_BYTES = 1 << 15
"""Compressed bytes per step: good bytes of a step that meets damage are lost."""

_MEMBER = b"\x1f\x8b\x08"
"""First bytes of a gzip member."""

_MEMBER_BYTES = 1 << 16
"""Compressed bytes per read: a member leaves the rest of them to the next, as a copy."""

_ZSTD_STEP_BYTES = (1 << 6, 1 << 12)
"""Fewest and most compressed bytes per call of zstandard, which can make 32,768 bytes of each."""

_MAX_WINDOW_BYTES = 1 << 31

_MAX_XZ_BYTES = 1 << 28
"""Memory for decompressing an .xz; its highest level takes 65 MiB."""

MAGIC = {
    ".gz": (b"\x1f\x8b",),
    ".bz2": (b"BZh",),
    ".xz": (b"\xfd7zXZ",),
    ".zst": (b"\x28\xb5\x2f\xfd", *(bytes((each,)) + b"\x2a\x4d\x18" for each in range(0x50, 0x60))),
}
"""First bytes by extension, of all compressions that are read; frames of zstd may be skippable ones."""

_HEAD_BYTES = 8
"""First bytes that a message shows."""


def is_compressed(uri: str) -> bool:
    """True if the extension names a compression."""
    return uri.endswith(tuple(MAGIC))


def chunks(uri: str) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed by its extension.

    Raises:
        The exceptions of DAMAGED: A compressed file ends too early, or its bytes are damaged.
    """
    try:
        yield from _decompressed(uri)
    except DAMAGED as error:
        raise _of_the_name(uri) or error from None


def _decompressed(uri: str) -> Iterator[bytes]:
    with fsspec.open(uri, "rb") as file:
        if uri.endswith(".zst"):
            yield from _frames(file, _Zstd, "zstd")
        elif uri.endswith(".bz2"):
            yield from _frames(file, _Bzip2, "bzip2")
        elif uri.endswith(".xz"):
            yield from _frames(file, _Xz, "xz")
        elif uri.endswith(".gz"):
            # read1, because read drops the bytes before damage
            with gzip.GzipFile(fileobj=file) as plain:
                while chunk := plain.read1(_CHUNK_BYTES):
                    yield chunk
        else:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _of_the_name(uri: str) -> NotCompressed | None:
    """Return the error of a damaged file whose first bytes are of another kind than its name says."""
    with fsspec.open(uri, "rb") as file:
        head = file.read(_HEAD_BYTES)
    end = next(end for end in MAGIC if uri.endswith(end))
    if any(head.startswith(begin[: len(head)]) for begin in MAGIC[end]):
        return None
    return NotCompressed(f"the name ends in {end}, and the file begins with {head!r}, as no {end} does")


class Damage(NamedTuple):
    """Damage in a file: an exception of DAMAGED; and whether bytes of the broken member came before it."""

    error: Exception
    is_inside: bool


def chunks_and_damage(uri: str) -> Iterator[bytes | Damage]:
    """Yield a file's bytes as `chunks`, and a Damage in the place of what is damaged.

    Of a `.gz`, reading goes on with the next member: a broken member costs only itself.
    """
    if uri.endswith(".gz"):
        with fsspec.open(uri, "rb") as file:
            yield from _members(file)
        return
    try:
        yield from chunks(uri)
    except DAMAGED as error:
        yield Damage(error, is_inside=True)


def _members(file: Any) -> Iterator[bytes | Damage]:
    """Decompress the members of a gzip file."""
    start, data = 0, b""  # offset of a member in the file, and bytes that were read and not used
    while data := data or file.read(_MEMBER_BYTES):
        bare = data.lstrip(b"\x00")  # padding behind a member
        start, data = start + len(data) - len(bare), bare
        if not data:
            continue
        inner, used, is_inside = zlib.decompressobj(wbits=31), 0, False
        try:
            while not inner.eof:
                data = data or file.read(_MEMBER_BYTES)
                chunk = inner.decompress(data, _CHUNK_BYTES)
                if not data and not chunk and not inner.eof:
                    raise EOFError("the file ends in the middle of a gzip member")
                rest = inner.unused_data if inner.eof else inner.unconsumed_tail
                used, data = used + len(data) - len(rest), rest
                yield chunk
                is_inside = True
            start += used
        except DAMAGED as error:
            yield Damage(error, is_inside)
            start, data = _seek_member(file, start + 1)


def _seek_member(file: Any, at: int) -> tuple[int, bytes]:
    """Return the offset of the next gzip member from an offset on, and its first bytes; b"" at the end."""
    file.seek(at)
    data = b""
    while read := file.read(_MEMBER_BYTES):
        data += read
        if (found := data.find(_MEMBER)) >= 0:
            return at + found, data[found:]
        at, data = at + len(data) - len(_MEMBER) + 1, data[1 - len(_MEMBER) :]
    return at, b""


def peek(found: Iterator[bytes], num_bytes: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of chunks, at least so many unless fewer are good, and all chunks again.

    Damage behind the first bytes is raised when the chunks are read.
    """
    held: list[bytes] = []
    damage: Exception | None = None
    try:
        while sum(map(len, held)) < num_bytes and (chunk := next(found, None)) is not None:
            held.append(chunk)
    except DAMAGED as error:
        damage = error

    def again() -> Iterator[bytes]:
        yield from held
        if damage is not None:
            raise damage
        yield from found

    return b"".join(held), again()


def whole(uri: str) -> bytes:
    """Read a file as one record.

    Raises:
        TooLong: It is longer than a record may be.
        The exceptions of DAMAGED: As `chunks`.
    """
    data = bytearray()
    for chunk in chunks(uri):
        data += chunk
        check_length(data)
    return bytes(data)


def check_length(record: bytes | bytearray) -> None:
    """Raise TooLong if a record is longer than it may be."""
    if len(record) > limits.RECORD_BYTES:
        raise TooLong(f"it has more than {limits.RECORD_BYTES:,} bytes, the most that a record may have")


def lines(uri: str) -> Iterator[bytes]:
    """Yield a file's lines without their ends, those before damage included."""
    return pieces(chunks(uri), b"\n")


def pieces(found: Iterable[bytes], delimiter: bytes) -> Iterator[bytes]:
    """Yield the pieces of chunks between delimiters, those before damage included.

    Holds one piece at a time. There is no empty piece after the last delimiter.
    """
    return storage.split(found, lambda data: data.split(delimiter), len(delimiter), most=limits.RECORD_BYTES)


def lines_between(uri: str, start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a plain file that begin in a byte range, each with the offset of its beginning.

    A line that begins in the range is read to its end, even beyond the range: adjacent ranges give each line
    once. `end` is the offset behind the last byte; None is the end of the file.
    """
    with fsspec.open(uri, "rb") as file:
        offset = _seek_line(file, start, end) if start else 0
        if offset is None:
            return
        read = iter(lambda: file.read(_CHUNK_BYTES), b"")
        for line in storage.split(read, lambda data: data.split(b"\n"), 1, most=limits.RECORD_BYTES):
            yield offset, line
            offset += len(line) + 1
            if end is not None and offset >= end:
                return


def _seek_line(file: Any, start: int, end: int | None) -> int | None:
    """Seek the first line that begins in a byte range; return its offset, or None without one."""
    offset = start - 1  # a line that begins at `start` follows the end of another
    file.seek(offset)
    while chunk := file.read(_CHUNK_BYTES if end is None else min(_CHUNK_BYTES, end - 1 - offset)):
        if (found := int(chunk.find(b"\n"))) >= 0:
            offset += found + 1
            file.seek(offset)
            return offset
        offset += len(chunk)
    return None


def _frames(file: Any, new_frame: type[_Zstd] | type[_Bzip2], kind: str) -> Iterator[bytes]:
    """Decompress one frame after another; `new_frame` makes a decompressor of one frame."""
    frame: _Zstd | _Bzip2 | None = None
    while read := file.read(_CHUNK_BYTES):
        for start in range(0, len(read), _FRAME_BYTES):
            data = read[start : start + _FRAME_BYTES]
            while data:
                frame = frame or new_frame()
                yield from frame.decompress(data)
                data = b""
                if frame.inner.eof:
                    data, frame = frame.unused, None
    if frame is not None:
        raise EOFError(f"the file ends in the middle of a {kind} frame")


class _Zstd:
    """A zstandard decompressor that takes smaller steps while the output of a step is large."""

    def __init__(self) -> None:
        self.inner = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
        self.unused = b""
        self._step, _ = _ZSTD_STEP_BYTES

    def decompress(self, data: bytes) -> Iterator[bytes]:
        fewest, most = _ZSTD_STEP_BYTES
        while data and not self.inner.eof:
            step, data = data[: self._step], data[self._step :]
            chunk = self.inner.decompress(step)
            self._step = fewest if len(chunk) > _CHUNK_BYTES else min(2 * self._step, most)
            yield chunk
        self.unused = self.inner.unused_data + data


class _Bzip2:
    """A bzip2 decompressor that raises CorruptBzip2, not OSError."""

    def __init__(self) -> None:
        self.inner: Any = bz2.BZ2Decompressor()
        self.unused = b""

    def decompress(self, data: bytes) -> Iterator[bytes]:
        while data or not (self.inner.eof or self.inner.needs_input):
            try:
                yield self.inner.decompress(data, _CHUNK_BYTES)
            except OSError as error:
                raise CorruptBzip2(str(error)) from error
            data = b""
        self.unused = self.inner.unused_data


class _Xz(_Bzip2):
    """An xz decompressor, which has the interface of bzip2's. Zero bytes may pad its streams."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)

    def decompress(self, data: bytes) -> Iterator[bytes]:
        yield from super().decompress(data)
        self.unused = self.unused.lstrip(b"\x00")
