"""Members of archives: zip, and tar plain or compressed, one at a time as a file in a scratch folder.

The scratch file has a number for its name, so that no name of a member reaches the disk. Links, devices and
encrypted members are refused. schemas/limits.py bounds members, bytes and how far an archive may expand; the
bytes are counted as they are decompressed, whatever the archive says of itself.

Both formats are read by Python's own `zipfile` and `tarfile`.
"""

from __future__ import annotations

import functools
import lzma
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import fsspec

from plugins.readers.base import BadRow, means_damage
from plugins.readers.decompression import DAMAGED, chunks
from plugins.readers.listing import shown_name
from schemas import limits, storage

_CHUNK_BYTES = 1 << 20
_BROKEN = (
    *(*DAMAGED, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, NotImplementedError, RuntimeError),
    *(ValueError, OverflowError, struct.error),
)


class Member(NamedTuple):
    """A member of an archive: its name in it, and the scratch file that has its bytes until the next one."""

    name: str
    path: str


class _Refused(Exception):
    """A member that is not read. Its arguments: a reason, and details."""


class _Beyond(Exception):
    """A limit that ends the archive."""


class Budget:
    """What may still be read of an archive that is in no other, the archives inside it included."""

    def __init__(self, uri: str):
        fs, path = storage.filesystem(uri)
        self._size = int(fs.size(path) or 0)
        self._members = 0
        self._bytes = 0

    def take_member(self) -> None:
        self._members += 1
        if self._members > limits.ARCHIVE_MEMBERS:
            raise _Beyond(f"it has more than {limits.ARCHIVE_MEMBERS:,} members")

    def take(self, num_bytes: int) -> None:
        self._bytes += num_bytes
        self.check(self._bytes)

    def check(self, num_bytes: int) -> None:
        if num_bytes > limits.ARCHIVE_BYTES:
            raise _Beyond(f"its members have more than {limits.ARCHIVE_BYTES:,} bytes")
        if num_bytes > max(limits.ARCHIVE_RATIO * self._size, _CHUNK_BYTES):
            raise _Beyond(f"its {self._size:,} bytes become more than {limits.ARCHIVE_RATIO} times as many")


def members(uri: str, kind: str, scratch: Path, budget: Budget) -> Iterator[Member | BadRow]:
    """Yield the members of an archive of a kind, `zip` or `tar`, and a BadRow for each that is refused.

    Positions of BadRows are `!/` and the member's name. After damage, or beyond a limit, the last is a BadRow
    that says how many members were read.
    """
    number = 0
    try:
        for found, packed, open_member in _zip(uri) if kind == "zip" else _tar(uri, budget):
            budget.take_member()
            number += 1
            name = shown_name(found.removeprefix("./"))
            path = scratch / f"{number}{_safe_suffix(name)}"
            try:
                _check_name(name)
                if isinstance(open_member, str):
                    raise _Refused("not_a_file", open_member)
                with _damage(), open_member() as source:
                    _copy(source, path, packed, budget)
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


def _check_name(name: str) -> None:
    parts = name.replace("\\", "/").split("/")  # some programs of Windows write names so
    if not parts[0] or ".." in parts or parts[0].endswith(":"):
        raise _Refused("unsafe_name", "its name leads out of the archive")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        raise _Refused("hidden_member", "hidden members are skipped, as in folders")


def _safe_suffix(name: str) -> str:
    """Return the last extensions of a name, which say what is in it, in letters and digits."""
    return re.sub(r"[^a-zA-Z0-9.]", "", "".join(Path(name).suffixes[-2:]))[-20:]


def names_in_zip(uri: str) -> set[str]:
    """Return the names of a zip's members; none if it is damaged."""
    try:
        with _damage(), fsspec.open(uri, "rb") as file, zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    except _BROKEN:
        return set()


def _zip(uri: str) -> Iterator[tuple[str, int, Callable[[], IO[bytes]] | str]]:
    """Yield each member's name, its compressed bytes, and how to open it or why it is not read."""
    with _damage(), fsspec.open(uri, "rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, 0, "it is a link"
            elif info.flag_bits & 1:
                yield info.filename, 0, "it is encrypted"
            else:
                yield info.filename, info.compress_size, functools.partial(archive.open, info)


def _tar(uri: str, budget: Budget) -> Iterator[tuple[str, int, Callable[[], IO[bytes]] | str]]:
    with tarfile.open(fileobj=cast("IO[bytes]", _Counted(uri, budget)), mode="r|*") as archive:
        for info in archive:
            if info.isdir():
                continue
            if info.isreg() and not info.issparse():
                extract = cast("Callable[[], IO[bytes]]", functools.partial(archive.extractfile, info))
                yield info.name, info.size, extract
            else:  # a sparse member expands without bytes in the archive
                yield info.name, 0, "it is a link, device or sparse file"


def _copy(source: IO[bytes], path: Path, packed: int, budget: Budget) -> None:
    """Copy a member to a file, as long as it expands no further than a member may."""
    num_bytes = 0
    with open(path, "wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > max(limits.ARCHIVE_RATIO * packed, _CHUNK_BYTES):
                detail = f"its {packed:,} bytes become more than {limits.ARCHIVE_RATIO} times as many"
                raise _Refused("archive_limit", detail)
            budget.take(len(chunk))
            file.write(chunk)


@contextmanager
def _damage() -> Iterator[None]:
    """Turn OSErrors about the data of an archive, such as those of bzip2, into BadZipFile."""
    try:
        yield
    except OSError as error:
        if means_damage(error):
            raise zipfile.BadZipFile(str(error)) from error
        raise


class _Counted:
    """Bytes of a tar as a file; what compressions make of it counts, also of members that are skipped."""

    def __init__(self, uri: str, budget: Budget):
        self._chunks = chunks(uri)
        self._budget = budget
        self._total = 0
        self._held = b""
        self._at = 0

    def read(self, num_bytes: int) -> bytes:
        while len(self._held) - self._at < num_bytes and (chunk := next(self._chunks, b"")):
            self._total += len(chunk)
            self._budget.check(self._total)
            self._held, self._at = self._held[self._at :] + chunk, 0
        self._at += num_bytes
        return self._held[self._at - num_bytes : self._at]
