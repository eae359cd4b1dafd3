"""Interface of readers: rows out of a file or a part of it. `documents.py` makes documents of rows."""

from __future__ import annotations

import dataclasses
import errno
import os
import struct
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple
from xml.parsers.expat import ExpatError

from plugins.readers import text_encoding
from plugins.readers.decompression import DAMAGED, TooLong, whole
from plugins.readers.documents import documents_of, rejected
from plugins.readers.file_state import file_state
from plugins.readers.html_text import check_installed
from plugins.readers.listing import Listing, list_uri, shown_name
from schemas.config import Section, validate
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, TutelageError
from schemas.records import UNEXPECTED, Document, Reject


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its values by field name, at a position: a number, or `@` and a byte offset.

    `pages` are entries of the pages of its text, for formats that have pages (schemas/page_starts.py), and
    `num_removed` is the number of lines that repeat on its pages and are left out.
    """

    position: str
    values: Mapping[str, Any]
    pages: tuple[str, ...] = ()
    num_removed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A piece of a file that is no row: a short fixed reason, and details of what the reader found.

    Attributes:
        num_passed_over: Records, or parts of them, that this reader does not read by its nature, told by one
            row for a file; 0 for a fault.
    """

    position: str
    reason: str
    detail: str
    num_passed_over: int = 0

    @classmethod
    def damaged(cls, position: str, error: Exception, read: str = "") -> BadRow:
        """Return the reject of a damaged file, with what the reader read before the damage: "17 lines"."""
        before = f"; {read} were read before it" if read else ""
        return cls(position, "damaged_file", f"{type(error).__name__}: {error}{before}")

    @classmethod
    def beyond_limits(cls, error: Exception) -> BadRow:
        """Return the reject of a document beyond the limit that an error names."""
        detail = str(error)
        if isinstance(error, RecursionError):
            detail = (
                f"its markup is nested deeper than {sys.getrecursionlimit():,} calls of Python can follow"
            )
        return cls("", "beyond_limits", detail)

    @classmethod
    def passed_over(
        cls,
        counts: Counter[str],
        reason: str = "passed_over",
        what: str = "records that are no documents",
    ) -> Iterator[BadRow]:
        """Yield the row that tells how many records of each kind a reader passed over; none without any."""
        if num := counts.total():
            named = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common(_NAMED_KINDS))
            more = ", …" if len(counts) > _NAMED_KINDS else ""
            yield cls("", reason, f"{num:,} {what}: {named}{more}", num)

    @classmethod
    def left_out(cls, counts: Counter[str]) -> Iterator[BadRow]:
        """Yield the row that tells how many parts of documents a reader left out, by their names."""
        yield from cls.passed_over(counts, "left_out", "parts of documents that are not read")


class Part(NamedTuple):
    """A byte range of a file."""

    start: int  # offset of the first byte
    end: int | None  # offset behind the last byte; None is the end of the file


WHOLE = Part(0, None)

_NAMED_KINDS = 12
"""Kinds of records that a row of those passed over names."""

NOT_FOR_ALL = ("encoding", "delimiter", "extract", "config_name", "split")
"""Fields of a SourceConfig that only some readers use."""

_OF_VERSIONS = ("version_field", "deleted_field", "newest")
"""Fields of a SourceConfig that compare rows of one id."""

_OF_THE_CONTENT = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(RecursionError, NotImplementedError, SyntaxError, ExpatError, struct.error),
)
"""Exceptions that libraries raise for bytes that they cannot parse. Others may come from the network."""


class Reader(ABC):
    """A reader of one file format. A subclass yields rows.

    Raises:
        ConfigError: The source sets a field or an option that this reader does not use.
    """

    own_fields: ClassVar[frozenset[str]] = frozenset()
    """Those fields of `NOT_FOR_ALL` that this reader uses."""

    has_mixed_files: ClassVar[bool] = False
    """True if a file without a readable row is no reason to end a build."""

    needs_html: ClassVar[bool] = False
    """True if this reader takes text out of HTML pages, as `extract` does for others."""

    fields: ClassVar[frozenset[str] | None] = None
    """Names of the fields of its rows, beside the source's `text_field`; None if files name them."""

    Options: ClassVar[type[Section]] = Section
    """Section of a source's `options`; a reader without options has none."""

    def __init__(self, source: SourceConfig):
        for name in NOT_FOR_ALL:
            if getattr(source, name) is not None and name not in self.own_fields:
                reader = source.reader or "folder"
                raise ConfigError(
                    f"source {source.uri!r} sets {name}, which reader {reader!r} does not use. "
                    "Remove it, or choose another reader."
                )
        named = [name for name in _OF_VERSIONS if getattr(source, name) is not None]
        if named and (source.id_field is None or source.pairs_field is not None):
            raise ConfigError(
                f"source {source.uri!r} sets {named[0]}, which compares rows of one id. It needs id_field, "
                "and excludes pairs_field, which merges the rows of a context. Remove it, or change these."
            )
        if source.newest == "by_time" and source.version_field is not None:
            raise ConfigError(
                f"source {source.uri!r} sets version_field and newest: by_time, which both say which row is "
                "the newest. Keep one of them; `version_field: null` also overrides a preset's."
            )
        if source.extract is not None or self.needs_html:
            check_installed()
        self.source = source
        name = f"source {source.uri!r}: options of reader {source.reader!r}"
        self.options: Any = validate(self.Options, source.options, name=name)

    def listing(self) -> Listing:
        """List the files of the source's `uri`: a path, glob or directory.

        Raises:
            InputError: The storage refuses to list it.
        """
        return list_uri(self.source.uri)

    def state(self, uri: str) -> str | None:
        """Return a string that changes with the file's bytes; None if the storage reports none."""
        return file_state(uri)

    @abstractmethod
    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        """Yield a file's rows, and a BadRow for each piece that is no row.

        A damaged file yields the rows before the damage, then one BadRow. An error of the storage itself
        (network, permission) is raised, because a retry may succeed.
        """

    def parts(self, uri: str) -> list[Part]:
        """Cut a file into byte ranges for several workers; most formats cannot be cut.

        Rows and their positions do not depend on the cuts.
        """
        return [WHOLE]

    def rows_of(self, uri: str, part: Part) -> Iterator[Row | BadRow]:
        """Yield the rows of one of a file's parts."""
        assert part == WHOLE, f"{type(self).__name__} cuts no files"
        return self.rows(uri)

    def read(self, uri: str, part: Part = WHOLE) -> Iterator[Document | Reject]:
        """Yield the documents of a file or part, and a reject for each row without one."""
        for version, row in self.versions(uri, part):
            yield from self.records(uri, row, version)

    def versions(self, uri: str, part: Part = WHOLE, first: int = 0) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield the rows of a file or part, each with its version.

        Versions grow from row to row, starting at `first` for the whole file. A row takes at least a byte, so
        versions of a later part are higher. After an unexpected exception the last row is a BadRow that says
        how many rows were read.
        """
        at_hand = os.path.isfile(uri.removeprefix("file://"))
        yield from enumerate(rescued(self.rows_of(uri, part), at_hand=at_hand), start=first + part.start)

    def records(self, uri: str, row: Row | BadRow, version: int) -> list[Document | Reject]:
        """Return the document of a row of a file, and a reject for each unusable piece of the row."""
        name = shown_name(uri)
        apart = "" if row.position[:2] in ("", "!/") else ":"
        where = f"{name}{apart}{row.position}"
        if isinstance(row, BadRow):
            return [rejected(where, row.reason, row.detail)]
        found = documents_of(self.source, row.values, where, version)
        if not row.pages:
            return found
        return [
            dataclasses.replace(each, pages=row.pages) if isinstance(each, Document) else each
            for each in found
        ]


class WholeFileReader(Reader):
    """A reader of files that have to be in memory as a whole. A subclass yields the rows of their bytes."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        try:
            data = whole(uri)
        except DAMAGED as error:
            yield BadRow.damaged("", error)
        else:
            yield from rescued(self.rows_in(data, uri), at_hand=True)

    @abstractmethod
    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        """Yield the rows of a file's bytes, decompressed, as `rows` does."""


def rescued(rows: Iterator[Row | BadRow], *, at_hand: bool) -> Iterator[Row | BadRow]:
    """Yield the rows; after an unexpected exception the last is a BadRow that says how many there were.

    A file that is no text, or too long for one record, is one BadRow.

    Args:
        rows: Rows of a file.
        at_hand: True if the file is in memory or on a local disk, so that no exception is the network's.
    """
    number = 0
    try:
        for row in rows:
            yield row
            number += 1
    except (TutelageError, MemoryError):
        raise
    except text_encoding.Undecodable as error:
        yield BadRow("", *error.args)
    except TooLong as error:
        yield BadRow("", "record_too_long", str(error))
    except Exception as error:
        if isinstance(error, OSError):
            is_of_content = at_hand and means_damage(error)
        else:
            is_of_content = at_hand or isinstance(error, _OF_THE_CONTENT)
        if not is_of_content:
            raise
        detail = f"{type(error).__name__}: {error}; {number} rows were read before it, and none after it"
        yield BadRow("", UNEXPECTED, detail)


def means_damage(error: OSError) -> bool:
    """True if a library reports damaged data by an OSError, and not the storage.

    Such an error has no number, or the one of a seek to an offset before the file, which the data named.
    """
    return type(error) is OSError and error.errno in (None, errno.EINVAL)
