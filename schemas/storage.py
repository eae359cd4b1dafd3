"""Files at any fsspec URI, written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import fsspec
import zstandard

_ZSTD_LEVEL = 3


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


def read_bytes(uri: str) -> bytes:
    """The whole content of a file."""
    fs, path = filesystem(uri)
    return bytes(fs.cat_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file that is seen whole or not at all; an existing one is replaced.

    Locally a temporary sibling is renamed into place; an object store's single upload is atomic.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.pipe_file(path, data)
        return
    fs.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a file only if there is none: True when this call made it.

    Locally the check and the write are one atomic step (a hard link); elsewhere they are as close
    together as the file system's `mode="create"` makes them.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        if fs.exists(path):
            return False
        try:
            fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except TypeError:  # a file system that knows no modes
            fs.pipe_file(path, data)
        return True
    fs.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)


def upload(local_path: str, uri: str) -> None:
    """Copy a local file to a URI, seen whole or not at all."""
    fs, path = filesystem(uri)
    if not is_local(uri):
        fs.put_file(local_path, path)
        return
    fs.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    fs.put_file(local_path, temporary)
    os.replace(temporary, path)


def remove_tree(uri: str) -> None:
    """Remove a directory and all in it, if it is there."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def write_lines_zst(uri: str, lines: Iterable[str]) -> None:
    """Write lines of text as one zstd frame; equal lines give equal bytes."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    write_bytes(uri, zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data))


def read_lines_zst(uri: str) -> Iterator[str]:
    """The lines of a zstd-compressed text file, without their line ends."""
    with fsspec.open(uri, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        rest = b""
        while chunk := reader.read(1 << 20):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "surrogatepass")
