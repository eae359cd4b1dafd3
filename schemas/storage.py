"""Files at any fsspec URI: atomic writes that survive a crash once the call returns.

On a local disk a file is synced before it gets its name, and then its folder is synced. So if a file survives
a crash of the machine, all files that were written before it survive too. A remote store guarantees the same
when its upload returns.
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

from schemas.errors import ConfigError, CorpusError, StorageError
from schemas.limits import LINE_BYTES

_ZSTD_LEVEL = 3
_CHUNK_BYTES = 1 << 20
_PACKED_BYTES = 1 << 12
"""Compressed bytes that are decompressed at a time; zstd expands them at most 32,768-fold, to 128 MiB."""

_MAX_WINDOW_BYTES = 1 << 27


def join(uri: str, *parts: str) -> str:
    """Join path parts to a URI or local path with single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def is_local(uri: str) -> bool:
    """True if the URI is a plain path or `file://`."""
    return "://" not in uri or uri.startswith("file://")


def filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path inside it.

    Raises:
        ConfigError: fsspec does not know the scheme, or lacks a package for it.
    """
    try:
        return fsspec.core.url_to_fs(uri)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{uri}: cannot be opened: {error}. Correct the URI, or install the package for it."
        ) from error


def exists(uri: str) -> bool:
    """True if there is a file or directory at the URI."""
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str, *, limit: int | None = None) -> bytes:
    """Read a file.

    Raises:
        CorpusError: The file has more bytes than `limit`, or is not a regular file.
    """
    fs, path = filesystem(uri)
    refuse_special(uri)
    if limit is None:
        return bytes(fs.cat_file(path))
    with fs.open(path, "rb") as file:
        data = bytes(file.read(limit + 1))
    if len(data) > limit:
        raise CorpusError(f"{uri}: has more than {limit:,} bytes, the limit for this kind of file.")
    return data


def refuse_special(uri: str) -> None:
    """Refuse local pipes, devices and folders: reading a pipe blocks, and a device may have no end.

    Raises:
        CorpusError: The local path is not a regular file.
    """
    if not is_local(uri):
        return
    mode = os.stat(filesystem(uri)[1]).st_mode
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe, socket or device"
        raise CorpusError(f"{uri}: is a {kind}, expected a file. Put the file there.")


def write_bytes(uri: str, data: bytes) -> None:
    """Write or replace a file atomically.

    On a local disk a temporary sibling is renamed; an object store's single upload is atomic.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.pipe_file(path, data)
        return
    with _temporary(path) as temporary:
        _write_synced(temporary, data)
        os.replace(temporary, path)


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a file unless it exists; True if this call wrote it.

    On a local disk the check and the write are one atomic step (a hard link). Remote stores do the same if
    they support `mode="create"`, as Google Cloud Storage does; for other stores they are two requests.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        if fs.exists(path):
            return False
        try:
            fs.pipe_file(path, data, mode="create")
        except TypeError:  # a file system without modes
            fs.pipe_file(path, data)
        except Exception:  # its type depends on the store, whose own retry may meet the file of its first try
            fs.invalidate_cache()
            if not fs.exists(path):
                raise
        return bytes(fs.cat_file(path)) == data
    with _temporary(path) as temporary:
        _write_synced(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def upload(local_path: str, uri: str) -> None:
    """Copy a local file to a URI atomically."""
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.put_file(local_path, path)
        return
    with _temporary(path) as temporary:
        fs.put_file(local_path, temporary)
        sync(temporary)
        os.replace(temporary, path)


def remove_file(uri: str) -> None:
    """Remove a file; another process may have removed it already."""
    fs, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_tree(uri: str) -> None:
    """Remove a file or a directory tree, if it exists."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)
        if is_local(uri):
            sync(os.path.dirname(path))


def write_lines_zst(uri: str, lines: Iterable[str]) -> None:
    """Write lines as one zstd frame with a checksum; equal lines give equal bytes."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    write_bytes(uri, zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(data))


def read_lines_zst(uri: str) -> Iterator[str]:
    """Read the lines of a file that `write_lines_zst` wrote, without their line ends.

    Raises:
        CorpusError: The file is damaged or truncated; lines before the damage have been yielded.
    """
    for number, line in enumerate(split(_decompressed(uri), lambda data: data.split(b"\n"), 1)):
        try:
            yield line.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise CorpusError(f"{uri}: line {number + 1} is damaged: {error}. Restore it.") from None


def split(
    chunks: Iterable[bytes], cut: Callable[[bytes], list[bytes]], longest: int, *, most: int | None = None
) -> Iterator[bytes]:
    """Split a stream of bytes at delimiters, in linear time for pieces of any length.

    Args:
        chunks: The stream.
        cut: Splits bytes at every delimiter, as `bytes.split` and `re.Pattern.split` do.
        longest: Maximum bytes of a delimiter; the last `longest - 1` bytes are split again with the next
            chunk.
        most: Maximum bytes of a piece; a longer piece is cut soon after them. None for no maximum.

    Yields:
        Whole pieces; no empty piece after the last delimiter.
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
                    raise CorpusError(f"{uri}: is damaged: bytes follow its zstd frame. Restore it.")
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
        raise CorpusError(f"{uri}: is truncated: it ends inside its zstd frame. Restore it.")
    if frame.unused_data:
        raise CorpusError(f"{uri}: is damaged: bytes follow its zstd frame. Restore it.")


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[str]:
    """A temporary name beside `path` for a file that the block renames or links to `path`."""
    make_folders(os.path.dirname(path))
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with naming(path):
            yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(os.path.dirname(path))


def _write_synced(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)  # a buffered file continues after a short write, and raises the error behind it
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Convert the errors of a full disk to a StorageError that names the file and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StorageError(
            f"{path}: cannot be written completely: {os.strerror(error.errno)}. Free space on its disk, or "
            "raise the limit (quota, ulimit -f), then run again."
        ) from error


def make_folders(path: str) -> None:
    """Make a local folder and its missing parents; sync each parent."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.makedirs(folder, exist_ok=True)
        sync(os.path.dirname(folder))


def sync_tree(folder: str) -> None:
    """Sync a local folder and everything in it, so that it survives a crash of the machine."""
    for path, _, files in os.walk(folder):
        for name in files:
            sync(os.path.join(path, name))
        sync(path)


def sync(path: str) -> None:
    """Sync a local file, or the names in a local folder, so that they survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
