"""Members of archives: zip, and tar plain or compressed, one at a time as a file in a scratch folder.

The scratch file has a number for its name, so that no name of a member reaches the disk. Links, devices and
encrypted members are refused. schemas/limits.py bounds members, bytes and how far an archive may expand; the
bytes are counted as they are decompressed, whatever the archive says of itself.

Both formats are read by Python's own `zipfile` and `tarfile`.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import fsspec

from plugins.readers.base import BadRow
from plugins.readers.decompression import DAMAGED, chunks
from plugins.readers.listing import shown_name
from schemas import limits, storage

_CHUNK_BYTES = 1 << 20
_BROKEN = (*DAMAGED, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """A member of an archive: its name in it, and the scratch file that has its bytes until the next one."""

    name: str
    path: str


class _Refused(Exception):
    """A member that is not read. Its arguments: a reason, and details."""


class _Beyond(Exception):
    """A limit that ends the archive."""


def members(uri: str, kind: str, scratch: Path) -> Iterator[Member | BadRow]:
    """Yield the members of an archive of a kind, `zip` or `tar`, and a BadRow for each that is refused.

    Positions of BadRows are `!/` and the member's name. After damage, or beyond a limit, the last is a BadRow
    that says how many members were read.
    """
    number = 0
    try:
        for name, source, packed in _zip(uri) if kind == "zip" else _tar(uri):
            if number >= limits.ARCHIVE_MEMBERS:
                raise _Beyond(f"it has more than {limits.ARCHIVE_MEMBERS:,} members")
            number += 1
            name = shown_name(name)
            path = (
                scratch / f"{number}{re.sub(r'[^a-zA-Z0-9.]', '', ''.join(Path(name).suffixes[-2:]))[-20:]}"
            )
            try:
                if isinstance(source, str):
                    raise _Refused("not_a_file", source)
                parts = name.split("/")
                if name.startswith("/") or ".." in parts or "\\" in name:
                    raise _Refused("unsafe_name", "its name leads out of the archive")
                if any(part.startswith(".") or part == "__MACOSX" for part in parts):
                    raise _Refused("hidden_member", "hidden members are skipped, as in folders")
                _copy(source, path, packed)
                yield Member(name, str(path))
            except _Refused as error:
                yield BadRow(f"!/{name}", *error.args)
            except _BROKEN as error:
                if kind == "tar":  # a stream: nothing behind the damage can be read
                    raise
                yield BadRow.damaged(f"!/{name}", error)
            finally:
                path.unlink(missing_ok=True)
    except _Beyond as error:
        yield BadRow("", "archive_limit", f"{error}; {number} members were read, and none after them")
    except _BROKEN as error:
        yield BadRow.damaged("", error, f"{number} members")


def names_in_zip(uri: str) -> set[str]:
    """Return the names of a zip's members; none if it is damaged."""
    try:
        with fsspec.open(uri, "rb") as file, zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    except _BROKEN:
        return set()


def _zip(uri: str) -> Iterator[tuple[str, IO[bytes] | str, int]]:
    """Yield each member's name, its bytes or why it has none, and its compressed size."""
    total = 0
    with fsspec.open(uri, "rb") as file, zipfile.ZipFile(file) as archive:
        size = file.seek(0, os.SEEK_END)
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.file_size <= max(limits.ARCHIVE_RATIO * info.compress_size, _CHUNK_BYTES):
                _check_total(total := total + info.file_size, size)  # `_copy` refuses the others
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, "it is a link", 0
            elif info.flag_bits & 1:
                yield info.filename, "it is encrypted", 0
            else:
                with archive.open(info) as source:
                    yield info.filename, source, info.compress_size


def _tar(uri: str) -> Iterator[tuple[str, IO[bytes] | str, int]]:
    fs, path = storage.filesystem(uri)
    size, total = int(fs.size(path) or 0), 0
    with tarfile.open(fileobj=_Counted(uri, size), mode="r|*") as archive:
        for info in archive:
            _check_total(total := total + info.size, size)
            if info.isdir():
                continue
            # a sparse member expands without bytes in the archive
            source = archive.extractfile(info) if info.isreg() and not info.issparse() else None
            yield info.name.removeprefix("./"), source or "it is a link, device or sparse file", info.size


def _copy(source: IO[bytes], path: Path, packed: int) -> None:
    """Copy a member to a file, as long as it expands no further than a member may."""
    num_bytes = 0
    with open(path, "wb") as file:
        while chunk := _read(source):
            num_bytes += len(chunk)
            if num_bytes > max(limits.ARCHIVE_RATIO * packed, _CHUNK_BYTES):
                detail = f"its {packed:,} bytes become more than {limits.ARCHIVE_RATIO} times as many"
                raise _Refused("archive_limit", detail)
            file.write(chunk)


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except OSError as error:
        if error.errno is None:  # bzip2 says so that its bytes are damaged
            raise zipfile.BadZipFile(str(error)) from error
        raise


def _check_total(num_bytes: int, size: int) -> None:
    if num_bytes > limits.ARCHIVE_BYTES:
        raise _Beyond(f"its members have more than {limits.ARCHIVE_BYTES:,} bytes")
    if num_bytes > max(limits.ARCHIVE_RATIO * size, _CHUNK_BYTES):
        raise _Beyond(f"its {size:,} bytes become more than {limits.ARCHIVE_RATIO} times as many")


class _Counted:
    """Bytes of a tar as a file, with the limits of archives on what compressions make of it."""

    def __init__(self, uri: str, size: int):
        self._chunks = chunks(uri)
        self._size = size
        self._total = 0
        self._rest = b""

    def read(self, num_bytes: int) -> bytes:
        while len(self._rest) < num_bytes and (chunk := next(self._chunks, b"")):
            self._total += len(chunk)
            _check_total(self._total, self._size)
            self._rest += chunk
        taken, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return taken
