"""What a reader is: rows out of one file, and how a row becomes a document."""

from __future__ import annotations

import dataclasses
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.corpus_config import SourceConfig
from schemas.records import Document, Reject, well_formed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file: its values by field name, at a position such as a line number."""

    position: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """Something in a file that is no row: a short fixed reason, and what was found."""

    position: str
    reason: str
    detail: str


class Reader(ABC):
    """Reads files of one kind. A subclass yields rows; fields become documents here."""

    def __init__(self, source: SourceConfig):
        self.source = source

    @abstractmethod
    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        """Yield a file's rows, and a BadRow for each thing in it that is none.

        A damaged file yields what can be read, then one BadRow; an error of the storage itself
        (network, permission) is raised, since trying again may help.
        """

    def read(self, uri: str) -> Iterator[Document | Reject]:
        """Yield a file's documents, and a reject for each row that gives none."""
        for row in self.rows(uri):
            where = f"{uri}:{row.position}" if row.position else uri
            if isinstance(row, BadRow):
                yield Reject(stage="read", reason=row.reason, document_id="", source=where, detail=row.detail)
                continue
            yield self._document(row, where)

    def _document(self, row: Row, where: str) -> Document | Reject:
        def reject(reason: str, detail: str) -> Reject:
            return Reject(stage="read", reason=reason, document_id="", source=where, detail=detail)

        names = self._text_fields()
        found = {name: look_up(row.values, name) for name in names}
        if all(value is None for value in found.values()):
            return reject(
                "missing_field", f"no field {' or '.join(map(repr, names))} in a row of {_names(row.values)}"
            )
        for name, value in found.items():
            if value is not None and not isinstance(value, str):
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
        return Document.of(document_id, text, source=where, metadata=metadata)

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


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, values))) or "no fields"
