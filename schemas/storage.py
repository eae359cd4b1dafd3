"""Files at any fsspec URI, written whole or not at all, and safe once a call returns.

Locally each file is synced before it gets its name, and the folder is synced with the name in it. So what a
later file names survives a crash of the machine if that file does. Elsewhere the store's upload says when an
object is safe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fsspec
import zstandard

from schemas.errors import CorpusError, StorageError
from schemas.limits import LINE_BYTES

_ZSTD_LEVEL = 3
_CHUNK_BYTES = 1 << 20
_PACKED_BYTES = 1 << 12
"""Packed bytes that are unpacked at a time; zstd makes at most 32,768 times as many of them, 128 MiB."""

_MAX_WINDOW_BYTES = 1 << 27


def join(uri: str, *parts: str) -> str:
    """Join path parts to a URI or local path with single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def is_local(uri: str) -> bool:
    """Whether the URI is a plain path or `file://`."""
    return "://" not in uri or uri.startswith("file://")


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path inside it."""
    return fsspec.core.url_to_fs(uri)  # type: ignore[no-any-return]


def exists(uri: str) -> bool:
    """Whether there is a file or directory at the URI."""
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str, *, limit: int | None = None) -> bytes:
    """The whole content of a file.

    Raises:
        CorpusError: It has more bytes than `limit`, of which no more are read; or is no file.
    """
    fs, path = filesystem(uri)
    refuse_special(uri)
    if limit is None:
        return bytes(fs.cat_file(path))
    with fs.open(path, "rb") as file:
        data = bytes(file.read(limit + 1))
    if len(data) > limit:
        raise CorpusError(f"{uri}: has more than {limit:,} bytes, the most that such a file may have.")
    return data


def refuse_special(uri: str) -> None:
    """See that a local path is a file: a pipe would be waited for, and a device may never end.

    Raises:
        CorpusError: It is something else.
    """
    if not is_local(uri):
        return
    mode = os.stat(filesystem(uri)[1]).st_mode
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe, socket or device"
        raise CorpusError(f"{uri}: is a {kind}, expected a file. Put the file in its place.")


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file that is seen whole or not at all; an existing one is replaced.

    Locally a temporary sibling is renamed into place; an object store's single upload is atomic.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.pipe_file(path, data)
        return
    make_folders(os.path.dirname(path))
    with _temporary(path) as temporary, naming(path):
        _write_synced(temporary, data)
        os.replace(temporary, path)
    sync(os.path.dirname(path))


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a file only if there is none: True when this call made it.

    Locally the check and the write are one atomic step (a hard link). Elsewhere `mode="create"` makes them
    one where the file system has that mode, as Google Cloud Storage's has; else they are two requests.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        if fs.exists(path):
            return False
        try:
            fs.pipe_file(path, data, mode="create")
        except TypeError:  # a file system that knows no modes
            fs.pipe_file(path, data)
        except (
            Exception
        ):  # each store has its own; one that was tried again may have refused what it wrote itself
            fs.invalidate_cache()
            if not fs.exists(path):
                raise
        return bytes(fs.cat_file(path)) == data
    make_folders(os.path.dirname(path))
    with _temporary(path) as temporary, naming(path):
        _write_synced(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    sync(os.path.dirname(path))
    return True


def upload(local_path: str, uri: str) -> None:
    """Copy a local file to a URI, seen whole or not at all."""
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.put_file(local_path, path)
        return
    make_folders(os.path.dirname(path))
    with _temporary(path) as temporary, naming(path):
        fs.put_file(local_path, temporary)
        sync(temporary)
        os.replace(temporary, path)
    sync(os.path.dirname(path))


def remove_file(uri: str) -> None:
    """Remove a file; another process may have removed it already."""
    fs, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_tree(uri: str) -> None:
    """Remove a file, or a directory and all in it, if it is there."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)
        if is_local(uri):
            sync(os.path.dirname(path))


def write_lines_zst(uri: str, lines: Iterable[str]) -> None:
    """Write lines of text as one zstd frame with a checksum; equal lines give equal bytes."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    write_bytes(uri, zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(data))


def read_lines_zst(uri: str) -> Iterator[str]:
    """The lines of a file that `write_lines_zst` wrote, without their line ends.

    Raises:
        CorpusError: The file is damaged or ends too early; lines before that have been given.
    """
    for number, line in enumerate(split(_decompressed(uri), lambda data: data.split(b"\n"), 1)):
        try:
            yield line.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise CorpusError(f"{uri}: line {number + 1} is damaged: {error}. Restore it.") from None


def split(
    chunks: Iterable[bytes],
    cut: Callable[[bytes], list[bytes]],
    longest: int,
    *,
    most: int | None = None,
) -> Iterator[bytes]:
    """Cut a stream of bytes into pieces, in time linear in its length however long a piece is.

    Args:
        chunks: The stream.
        cut: Cuts bytes at every delimiter, as `bytes.split` and the `split` of a pattern do.
        longest: Most bytes of a delimiter; that many less one are cut again with the next chunk.
        most: Bytes of a piece that are wanted; of a longer one no more is held than shows that it is longer.

    Yields:
        One piece at a time, each held whole. There is no empty piece after the last delimiter.
    """
    held: list[bytes] = []
    num_held = 0
    tail = b""
    for chunk in chunks:
        first, *others = cut(tail + chunk)
        if others:
            yield b"".join((*held, first))
            held, num_held = [], 0
            *whole, first = others
            yield from whole
        end = max(len(first) - longest + 1, 0)
        if most is None or num_held <= most:
            held.append(first[:end])
            num_held += end
        tail = first[end:]
    if rest := b"".join((*held, tail)):
        yield rest


def _decompressed(uri: str) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
    in_line = 0
    refuse_special(uri)
    with fsspec.open(uri, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            for at in range(0, len(data), _PACKED_BYTES):
                if frame.eof:
                    raise CorpusError(f"{uri}: is damaged: it goes on after its zstd frame. Restore it.")
                try:
                    plain = frame.decompress(data[at : at + _PACKED_BYTES])
                except zstandard.ZstdError as error:
                    raise CorpusError(f"{uri}: is damaged: {error}. Restore it.") from error
                last = plain.rfind(b"\n")
                in_line = len(plain) - last - 1 if last >= 0 else in_line + len(plain)
                if in_line > LINE_BYTES:
                    raise CorpusError(f"{uri}: has a line of more than {LINE_BYTES:,} bytes.")
                yield plain
    if not frame.eof:
        raise CorpusError(f"{uri}: ends too early, in the middle of its zstd frame. Restore it.")
    if frame.unused_data:
        raise CorpusError(f"{uri}: is damaged: it goes on after its zstd frame. Restore it.")


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[str]:
    """A name beside `path` for a file that is moved away, or else removed at the end."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _write_synced(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)  # a buffered file goes on after a short write, and raises what then ends it
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Say of a file that cannot be written whole which it is and what to do.

    Raises:
        StorageError: Its disk is full, or a limit is reached.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StorageError(
            f"{path}: cannot be written whole: {os.strerror(error.errno)}. Free space on its disk, or "
            "raise the limit (quota, ulimit -f), then run again."
        ) from error


def make_folders(path: str) -> None:
    """Make a local folder and those above it, each synced into the one above it."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        sync(os.path.dirname(folder))


def sync_tree(folder: str) -> None:
    """Have all that is in a local folder survive a crash of the machine."""
    for path, _, files in os.walk(folder):
        for name in files:
            sync(os.path.join(path, name))
        sync(path)


def sync(path: str) -> None:
    """Have a local file, or the names in a local folder, survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
