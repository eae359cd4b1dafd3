"""Which files a URI means, and their bytes with compression taken off.

Compression goes by extension: `.zst`, `.gz`, `.bz2`. A `.zst` may hold several frames and large
windows. A stream that ends in the middle of a frame raises EOFError, after all that could be read;
the usual zstd stream readers end there in silence.
"""

from __future__ import annotations

import bz2
import glob as globbing
import gzip
import os
import zlib
from collections.abc import Iterator

import fsspec
import zstandard

from schemas import storage
from schemas.errors import InputError

DAMAGED = (EOFError, zstandard.ZstdError, gzip.BadGzipFile, zlib.error)
"""What reading a truncated or corrupt archive raises."""

_CHUNK_BYTES = 1 << 20
_MAX_WINDOW_BYTES = 1 << 31


def expand(uri: str) -> list[str]:
    """List the files that a path, glob or directory means, in sorted order.

    Relative paths stay relative, so that names derived from them do not depend on the machine.

    Raises:
        InputError: There is no such file.
    """
    fs, path = storage.filesystem(uri)
    if storage.is_local(uri):
        plain = uri.removeprefix("file://")
        found = sorted(globbing.glob(plain, recursive=True)) if globbing.has_magic(plain) else [plain]
        files = [name for name in found if os.path.isfile(name)]
        for folder in (name for name in found if os.path.isdir(name)):
            files += sorted(
                os.path.join(folder, name)
                for name in os.listdir(folder)
                if not name.startswith(".") and os.path.isfile(os.path.join(folder, name))
            )
    else:
        protocol = uri.split("://", 1)[0]
        pattern = path if globbing.has_magic(path) or not fs.isdir(path) else f"{path.rstrip('/')}/*"
        files = [f"{protocol}://{name}" for name in sorted(fs.glob(pattern)) if fs.isfile(name)]
    if not files:
        raise InputError(
            f"source uri {uri!r} matches no file. Check the path; globs such as *.jsonl.zst work."
        )
    return files


def chunks(uri: str) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed by its extension.

    Raises:
        EOFError: A compressed file ends too early.
        zstandard.ZstdError, gzip.BadGzipFile, zlib.error: Its bytes are damaged.
    """
    with fsspec.open(uri, "rb") as file:
        if uri.endswith(".zst"):
            yield from _zstd_chunks(file)
            return
        plain = (
            gzip.GzipFile(fileobj=file)
            if uri.endswith(".gz")
            else bz2.BZ2File(file)
            if uri.endswith(".bz2")
            else file
        )
        while chunk := plain.read(_CHUNK_BYTES):
            yield chunk


def lines(uri: str) -> Iterator[bytes]:
    """Yield a file's lines without their ends; what precedes damage is yielded before it raises."""
    rest = b""
    for chunk in chunks(uri):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _zstd_chunks(file: fsspec.core.OpenFile) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = None
    while data := file.read(_CHUNK_BYTES):
        while data:
            frame = frame or decompressor.decompressobj()
            if chunk := frame.decompress(data):
                yield chunk
            data = b""
            if frame.eof:
                data, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError("the file ends in the middle of a zstd frame")
