"""Which of several versions of a document is the newest: by source, then by file name, then by position.

    within a build      Document.version: number of the file in that order, and position in it, as one integer
    between builds      the file that the ledger has for the document, beside the file that it was read from

Digits in file names compare as numbers: part-2 comes before part-10. The same file read again, with other
bytes or other options, counts as newer. A document that file and position name has one version only.

Sources may be added, removed, moved and put in another order between builds. A file of the ledger belongs to
the source that has the `uri` by which it was listed. Where no source has it any more, the file keeps the
index that its source had. It comes before all files of the source that has this index now, unless the `uri`
of that one covers it: changed documents of a folder that was moved would be refused otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_POSITION_BITS = 48


class Origin(NamedTuple):
    """A file that documents were read from.

    Attributes:
        source: Index of its source in the stream.
        pattern: The source's `uri`.
        uri: The file.
    """

    source: int
    pattern: str
    uri: str


def natural(name: str) -> tuple[list[int | str], str]:
    """Sort key by which `a:2` comes before `a:10`; names that differ have different keys."""
    parts: list[int | str] = [
        int(part) if at % 2 else part for at, part in enumerate(re.split(r"(\d+)", name))
    ]
    return parts, name


def first_version(number: int) -> int:
    """Version of what stands at the beginning of a build's file of this number."""
    return number << _POSITION_BITS


def file_number(version: int) -> int:
    """Number of the file that a version is of."""
    return version >> _POSITION_BITS


class VersionOrder:
    """Compares documents of a build with what ledgers have under their names.

    Args:
        origins: The files of the build, in their order.
        patterns: The `uri` of each source of the stream.
    """

    def __init__(self, origins: Sequence[Origin], patterns: Sequence[str]):
        self._origins = tuple(origins)
        self._patterns = tuple(patterns)

    def is_older(self, version: int, known: Origin) -> bool:
        """Whether a document of the build comes from a file that stands before one of a ledger."""
        read = self._origins[file_number(version)]
        source, is_covered = self._place(known)
        if not is_covered or read.source != source:
            return read.source < source
        return natural(read.uri) < natural(known.uri)

    def _place(self, known: Origin) -> tuple[int, bool]:
        """Today's index of a file's source, and whether the names of that source's files compare with it."""
        same = [index for index, pattern in enumerate(self._patterns) if pattern == known.pattern]
        if same:
            return (known.source if known.source in same else same[-1]), True
        if known.source >= len(self._patterns):
            return known.source, False
        beginning = re.split(r"[*?\[]", self._patterns[known.source].removeprefix("file://"))[0]
        return known.source, known.uri.startswith(beginning)
