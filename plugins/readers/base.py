"""What a reader is: rows out of one file, and how a row becomes a document."""

from __future__ import annotations

import dataclasses
import string
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from plugins.readers import files, turns
from plugins.readers.pairs import FIELDS, BadPair, read_pair
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject, well_formed


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

    def uris(self) -> list[str]:
        """List what the source's `uri` means: files, by path, glob or directory.

        Raises:
            InputError: There is no such file.
        """
        return files.expand(self.source.uri)

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

    def read(self, uri: str, part: Part = WHOLE, *, first_version: int = 0) -> Iterator[Document | Reject]:
        """Yield the documents of a file or a part of it, and a reject for each row that gives none.

        Versions grow from row to row, from `first_version` at the beginning of the file. A row takes at least
        a byte, so that those of a later part are higher.
        """
        for version, row in enumerate(self.rows_of(uri, part), first_version + part.start):
            where = f"{uri}:{row.position}" if row.position else uri
            if isinstance(row, BadRow):
                yield Reject(stage="read", reason=row.reason, document_id="", source=where, detail=row.detail)
                continue
            document = self._document(row, where, version)
            if self.source.pairs_field is None or isinstance(document, Reject):
                yield document
            else:
                yield from self._with_pairs(document, row)

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
            return Reject(stage="read", reason=reason, document_id="", source=where, detail=detail)

        names = self._text_fields()
        found = {name: look_up(row.values, name) for name in names}
        if all(value is None for value in found.values()):
            return reject(
                "missing_field", f"no field {' or '.join(map(repr, names))} in a row of {_names(row.values)}"
            )
        for name, value in found.items():
            if isinstance(value, list):
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
            if not isinstance(value, (str, int)) or value == "":
                return reject(
                    "missing_id", f"no usable id in field {self.source.id_field!r}, found {value!r}"
                )
            document_id = well_formed(str(value))
        metadata = {
            name: well_formed(str(value))
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


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path in nested mappings, or None; a key with dots in it wins."""
    if path in values:
        return values[path]
    head, _, tail = path.partition(".")
    inner = values.get(head)
    return look_up(inner, tail) if tail and isinstance(inner, Mapping) else None


def covers(column: str, field: str) -> bool:
    """Whether a column is what a dotted path begins with."""
    return field == column or field.startswith(f"{column}.")


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, values))) or "no fields"
