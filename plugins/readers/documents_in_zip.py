"""Zip archives that are one document, such as docx and epub, checked before a library opens them.

A zip announces the size of each file, and Python reads no byte beyond it. So a reader compares the announced
sizes with the limits. Files that a library may take for markup count, whatever their names are: all but
pictures, sounds and fonts that are as good as incompressible.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

from plugins.readers.base import BadRow
from schemas import limits

_MEDIA = (
    *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".emf", ".wmf"),
    *(".ttf", ".otf", ".odttf", ".woff", ".mp3", ".mp4"),
)
_MOST_RATIO = 3
_ABOUT = {"title": "title", "creator": "author", "language": "language"}
_ENTITY = tuple("<!ENTITY".encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))

BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, NotImplementedError, RuntimeError),
    *(OSError, ElementTree.ParseError, ExpatError, struct.error),
)
"""Exceptions for an archive in memory that is damaged, encrypted, or lacks a file of its format."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ElementTree.ParseError, ExpatError)
_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"


class Refused(Exception):
    """The archive is beyond a limit, or its markup declares entities."""


def open_zip(data: bytes) -> zipfile.ZipFile:
    """Open an archive and check it.

    Raises:
        Refused: It has too many files, too much markup, or declares entities, which could expand without end.
        The exceptions of BROKEN: It is no sound archive.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = archive.infolist()
    if len(entries) > limits.ARCHIVE_FILES:
        raise Refused(f"it has {len(entries):,} files, more than {limits.ARCHIVE_FILES:,}")
    markup = [entry for entry in entries if not _is_media(entry)]
    if (size := sum(entry.file_size for entry in markup)) > limits.MARKUP_BYTES:
        raise Refused(f"its markup has {size:,} bytes, more than {limits.MARKUP_BYTES:,}")
    for entry in markup:
        text = archive.read(entry)
        if any(mark in text for mark in _ENTITY):
            raise Refused(f"{entry.filename} declares entities")
    return archive


def unreadable(data: bytes, kind: str, error: Exception) -> BadRow:
    """Return the reject of a file that met an exception of BROKEN: damaged, or no file of its kind."""
    detail = f"{type(error).__name__}: {error}"
    if data.startswith(_ZIP) and isinstance(error, _DAMAGED):
        found = f"its {len(data):,} bytes begin as a zip that is cut off or broken: {detail}"
        return BadRow("", "damaged_file", f"{found}; copy or download it again")
    if not data.startswith(_ZIP):
        detail = f"expected a zip, as every {kind} is; the file begins with {data[: len(_ZIP)]!r}"
    if data.startswith(_OLE):
        detail += ", as files of Office 97 do, and files with a password. Save it anew, without one"
    return BadRow("", f"not_{kind}", detail)


def _is_media(entry: zipfile.ZipInfo) -> bool:
    is_dense = entry.file_size <= _MOST_RATIO * entry.compress_size
    return is_dense and entry.filename.lower().endswith(_MEDIA)


def about(metadata: ElementTree.Element) -> dict[str, str]:
    """Return `title`, `author` and `language` of a document: the first of each in Dublin Core."""
    found: dict[str, str] = {}
    for each in metadata.iter():
        name = _ABOUT.get(str(each.tag).removeprefix("{http://purl.org/dc/elements/1.1/}"))
        if name and (text := " ".join((each.text or "").split())):
            found.setdefault(name, text)
    return found
