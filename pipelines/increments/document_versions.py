"""Order of files, in which the versions of a document come: by source, then by file name, then by position.

It decides where rows state no version, or the same one (plugins/readers/row_versions.py).

    within a build      Document.version: number of the file in this order, and position in it, as one integer
    between builds      the file in the ledger, compared with the file of the build

Digits in file names compare as numbers: part-2 comes before part-10. The same file, read again with other
bytes or other options, counts as newer. A document named by file and position has one version only.

Between builds, sources may be added, removed, moved and reordered. A file of the ledger belongs to the source
with the `uri` that listed it. If no source has this `uri` any more, the file keeps its source's old index. It
comes before all files of the source that has this index now, unless that source's `uri` covers the file.
Without this rule, changed documents of a moved folder would be refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_POSITION_BITS = 48

CONFLICT = "conflict"
"""Reason of a row with the id and version of another row and another text; its detail ends with the other's
position."""

KEPT = "kept the version at "


class Origin(NamedTuple):
    """A file that documents were read from."""

    source: int  # index of its source in the stream
    pattern: str  # `uri` of the source
    uri: str


def natural(name: str) -> tuple[list[int | str], str]:
    """Sort key that puts `a:2` before `a:10`; different names have different keys."""
    parts: list[int | str] = [
        int(part) if at % 2 else part for at, part in enumerate(re.split(r"(\d+)", name))
    ]
    return parts, name


def first_version(number: int) -> int:
    """Version of the first position in the file of this number."""
    return number << _POSITION_BITS


def file_number(version: int) -> int:
    """Number of the file of a version."""
    return version >> _POSITION_BITS


class VersionOrder:
    """Compares documents from `origins`, in order, with the files that ledgers have for the same names."""

    def __init__(self, origins: Sequence[Origin], patterns: Sequence[str]):
        self._origins = tuple(origins)
        self._patterns = tuple(patterns)

    def origin_of(self, version: int) -> Origin:
        """File of a document of the build."""
        return self._origins[file_number(version)]

    def is_older(self, version: int, known: Origin) -> bool:
        """True if a document of the build comes from a file before the one in the ledger."""
        read = self.origin_of(version)
        source, is_covered = self._place(known)
        if not is_covered or read.source != source:
            return read.source < source
        return natural(read.uri) < natural(known.uri)

    def _place(self, known: Origin) -> tuple[int, bool]:
        """Current index of a file's source; True if the file's name compares with the names of its files."""
        same = [index for index, pattern in enumerate(self._patterns) if pattern == known.pattern]
        if same:
            return (known.source if known.source in same else same[-1]), True
        if known.source >= len(self._patterns):
            return known.source, False
        beginning = re.split(r"[*?\[]", self._patterns[known.source].removeprefix("file://"))[0]
        return known.source, known.uri.startswith(beginning)
