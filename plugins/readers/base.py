"""What a reader is: rows out of one file, and how a row becomes a document."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import json
import string
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from plugins.readers import conversation as turns
from plugins.readers import files
from plugins.readers.listing import Listing, list_uri, shown_name
from plugins.readers.pair_fields import FIELDS, BadPair, read_pair
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, TutelageError
from schemas.records import UNEXPECTED, Document, Reject, well_formed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file: its values by field name, at a position: a number, or `@` and a byte offset."""

    position: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """Something in a file that is no row: a short fixed reason, and what was found."""

    position: str
    reason: str
    detail: str


class Part(NamedTuple):
    """Where in a file to read.

    Attributes:
        start: Offset of the first byte.
        end: Offset behind the last byte; None is the end of the file.
    """

    start: int
    end: int | None


WHOLE = Part(0, None)

ROW = "."
"""As `pairs_field`: the row itself is a pair."""

_NOT_FOR_ALL = ("delimiter", "config_name", "split")
"""Fields of a SourceConfig that only some readers have a use for."""

_OF_THE_CONTENT = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError),
    *(RecursionError, NotImplementedError),
)
"""What libraries raise of bytes that they cannot take. Other exceptions may be the network's."""


_EXACT = 2**53
"""Whole numbers below it are distinct as floats."""


class Reader(ABC):
    """Reads files of one kind. A subclass yields rows; fields become documents here.

    Raises:
        ConfigError: The source sets a field that this reader has no use for.
    """

    own_fields: ClassVar[frozenset[str]] = frozenset()
    """Those fields of `_NOT_FOR_ALL` that this reader uses."""

    def __init__(self, source: SourceConfig):
        for name in _NOT_FOR_ALL:
            if getattr(source, name) is not None and name not in self.own_fields:
                raise ConfigError(
                    f"source {source.uri!r} sets {name}, which reader {source.reader!r} has no use for. "
                    "Remove it, or choose another reader."
                )
        self.source = source

    def listing(self) -> Listing:
        """List what the source's `uri` means: files, by path, glob or directory.

        Raises:
            InputError: The storage refuses to list it.
        """
        return list_uri(self.source.uri)

    def state(self, uri: str) -> str | None:
        """What storage says of a file's bytes without reading them; None where nothing can be relied on."""
        return files.state(uri)

    @abstractmethod
    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        """Yield a file's rows, and a BadRow for each thing in it that is none.

        A damaged file yields what can be read, then one BadRow; an error of the storage itself
        (network, permission) is raised, since trying again may help.
        """

    def parts(self, uri: str) -> list[Part]:
        """Cut a file into byte ranges that workers may read side by side; most kinds cannot be cut.

        Rows and their positions are the same however a file is cut.
        """
        return [WHOLE]

    def rows_of(self, uri: str, part: Part) -> Iterator[Row | BadRow]:
        """Yield the rows of one of a file's parts."""
        assert part == WHOLE, f"{type(self).__name__} cuts no files"
        return self.rows(uri)

    def read(self, uri: str, part: Part = WHOLE) -> Iterator[Document | Reject]:
        """Yield the documents of a file or a part of it, and a reject for each row that gives none."""
        for version, row in self.versions(uri, part):
            yield from self.records(uri, row, version)

    def versions(self, uri: str, part: Part = WHOLE, first: int = 0) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield the rows of a file or a part of it, each with its version.

        Versions grow from row to row, from `first` at the beginning of the file. A row takes at least a byte,
        so that those of a later part are higher. If reading on leads to an unexpected exception, the last row
        is a BadRow that says how far reading got.
        """
        number = 0
        try:
            for row in self.rows_of(uri, part):
                yield first + part.start + number, row
                number += 1
        except OSError:
            raise
        except _OF_THE_CONTENT as error:
            detail = f"{type(error).__name__}: {error}; {number} rows were read before it, and none after it"
            yield first + part.start + number, BadRow(position="", reason=UNEXPECTED, detail=detail)

    def records(self, uri: str, row: Row | BadRow, version: int) -> list[Document | Reject]:
        """The document of a row of a file, and a reject for what of it gives none.

        A row that leads to an unexpected exception costs itself.
        """
        name = shown_name(uri)
        where = f"{name}:{row.position}" if row.position else name
        if isinstance(row, BadRow):
            return [_reject(row.reason, where, row.detail)]
        try:
            document = self._document(row, where, version)
            if self.source.pairs_field is None or isinstance(document, Reject):
                return [document]
            return list(self._with_pairs(document, row))
        except UnicodeDecodeError as error:
            byte = error.object[error.start : error.start + 1]
            return [_reject("invalid_utf8", where, f"byte {byte!r} at offset {error.start} of a field")]
        except (TutelageError, OSError, MemoryError):
            raise
        except Exception as error:
            return [_reject(UNEXPECTED, where, f"{type(error).__name__}: {error}")]

    def _with_pairs(self, document: Document, row: Row) -> Iterator[Document | Reject]:
        """The document with its pairs, and a reject for each that is none; without a good one no document."""

        def reject(reason: str, detail: str, where: str = "") -> Reject:
            source = f"{document.source}{where}"
            return Reject(
                stage="read", reason=reason, document_id=document.document_id, source=source, detail=detail
            )

        name = self.source.pairs_field or ""
        found = [row.values] if name == ROW else look_up(row.values, name)
        if not isinstance(found, list):
            shown = type(found).__name__ if found is not None else f"none in a row of {_names(row.values)}"
            yield reject("missing_field", f"field {name!r} must hold a list of pairs; found {shown}")
            return
        pairs = []
        for number, item in enumerate(found):
            try:
                pairs.append(read_pair(item))
            except BadPair as error:
                yield reject(error.reason, str(error), "" if name == ROW else f".{name}[{number}]")
        if not found:
            yield reject("no_pairs", f"field {name!r} is an empty list")
        dataset = self._dataset_name(row)
        if dataset is None:
            yield reject("missing_field", f"no name of a dataset in field {self.source.dataset_field!r}")
        elif pairs:
            yield dataclasses.replace(document, dataset=dataset).changed(document.text, tuple(pairs))

    def _dataset_name(self, row: Row) -> str | None:
        """The question-answer set of a row; None where its field is not there."""
        source = self.source
        if source.dataset_field is None:
            return ":".join(filter(None, (source.uri, source.config_name, source.split)))
        value = look_up(row.values, source.dataset_field)
        return well_formed(value) if isinstance(value, str) and value else None

    def _document(self, row: Row, where: str, version: int) -> Document | Reject:
        def reject(reason: str, detail: str) -> Reject:
            return _reject(reason, where, detail)

        names = self._text_fields()
        found = {name: look_up(row.values, name) for name in names}
        if all(value is None for value in found.values()):
            return reject(
                "missing_field", f"no field {' or '.join(map(repr, names))} in a row of {_names(row.values)}"
            )
        for name, value in found.items():
            if isinstance(value, bytes):
                found[name] = value.decode("utf-8-sig")
            elif isinstance(value, list):
                try:
                    found[name] = turns.joined(value)
                except ValueError as error:
                    return reject("not_text", f"field {name!r} holds a list whose {error}")
            elif value is not None and not isinstance(value, str):
                return reject("not_text", f"field {name!r} holds {type(value).__name__}, expected a string")
        text = well_formed(self._text(found))
        if not text.strip():
            return reject("empty", f"field {' and '.join(map(repr, names))} is empty")
        document_id = where
        if self.source.id_field is not None:
            value = look_up(row.values, self.source.id_field)
            document_id = _id(value)
            if not document_id:
                return reject(
                    "missing_id", f"no usable id in field {self.source.id_field!r}, found {value!r}"
                )
        metadata = {
            name: well_formed(value.decode() if isinstance(value, bytes) else str(value))
            for name in self.source.metadata_fields
            if (value := look_up(row.values, name)) is not None
        }
        return Document.of(document_id, text, source=where, metadata=metadata, version=version)

    def columns(self, names: Iterable[str]) -> list[str]:
        """Of a table's columns, those in which a field that the source asks for may lie."""
        wanted = [*self._text_fields(), *self.source.metadata_fields]
        if self.source.pairs_field == ROW:
            wanted += FIELDS
        wanted += filter(None, (self.source.id_field, self.source.pairs_field, self.source.dataset_field))
        return [name for name in names if any(covers(name, field) for field in wanted)]

    def _text_fields(self) -> list[str]:
        if self.source.format is None:
            return [self.source.text_field]
        return [name for _, name, _, _ in string.Formatter().parse(self.source.format) if name]

    def _text(self, values: Mapping[str, str | None]) -> str:
        if self.source.format is None:
            return values[self.source.text_field] or ""
        parts: list[str] = []
        for literal, name, _, _ in string.Formatter().parse(self.source.format):
            value = values[name] or "" if name else ""
            # White space that leads to an empty field goes with it; words stay.
            if value or not name or literal.strip():
                parts += [literal, value]
        return "".join(parts).strip()


def _reject(reason: str, where: str, detail: str) -> Reject:
    return Reject(stage="read", reason=reason, document_id="", source=where, detail=detail)


def _id(value: Any) -> str:
    """An id as text, or "" where it names nothing. 3.0 is 3: tables with gaps hold whole numbers so."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    usable = isinstance(value, (str, int, decimal.Decimal, uuid.UUID)) and not isinstance(value, bool)
    return well_formed(str(value)) if usable else ""


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or None; a key with dots in it wins.

    A path leads through mappings, through strings that hold one as JSON, and through lists, where it means
    the list of what it leads to in the items.
    """
    if path in values:
        return values[path]
    head, _, tail = path.partition(".")
    inner = values.get(head)
    if not tail:
        return None
    if isinstance(inner, list):
        items = (look_up(item, tail) for item in map(_mapping, inner) if item is not None)
        return [value for value in items if value is not None] or None
    inner = _mapping(inner)
    return None if inner is None else look_up(inner, tail)


def _mapping(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if isinstance(value, Mapping) else None


def covers(column: str, field: str) -> bool:
    """Whether a column is what a dotted path begins with."""
    return field == column or field.startswith(f"{column}.")


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, values))) or "no fields"
