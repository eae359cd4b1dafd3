"""Documents out of rows: text, id, metadata and pairs, from the fields that a source names.

text_field or format ─► text            id_field ─► document_id; without it: file and position
metadata_fields ─► metadata             pairs_field, dataset_field ─► pairs, dataset
version_field ─► stamp                  deleted_field ─► a document without text that is deleted
"""

from __future__ import annotations

import dataclasses
import decimal
import string
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from plugins.readers import conversation as turns
from plugins.readers import text_encoding
from plugins.readers.field_paths import columns_of, holds_null, look_up, names_of, path_of_rows
from plugins.readers.html_text import HtmlError, decode_page, html_text
from plugins.readers.pair_fields import FIELDS, BadPair, read_pair
from plugins.readers.row_versions import MISSING, UNDATED_DELETION, means_deleted, stamp_of
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, TutelageError, unknown_name
from schemas.records import UNEXPECTED, Document, Reject, well_formed

ROW = "."
"""Value of `pairs_field` if the row itself is a pair."""

_SHOWN_CHARACTERS = 80
"""Most characters of the names of columns in a message."""

_EXACT = 2**53
"""Whole numbers below it are distinct as floats."""


def documents_of(
    source: SourceConfig, values: Mapping[str, Any], where: str, version: int
) -> list[Document | Reject]:
    """Return a row's document, and a reject for each unusable piece of the row.

    An unexpected exception costs only this row.
    """
    halved: list[str] = []  # names of fields with half a character
    try:
        document = _document(source, values, where, version, halved)
        found = [document]
        if source.pairs_field is not None and not isinstance(document, Reject):
            found = list(_with_pairs(source, values, document, halved))
        if halved:
            named = ", ".join(map(repr, dict.fromkeys(halved)))
            detail = f"{named} held half a character, such as \\ud83d alone, which became U+FFFD"
            found.append(rejected(where, "half_character", detail, document.document_id))
        return found
    except UnicodeDecodeError as error:
        return [rejected(where, "invalid_utf8", undecodable_field(error))]
    except text_encoding.Undecodable as error:
        return [rejected(where, *error.args)]
    except (TutelageError, OSError, MemoryError):
        raise
    except Exception as error:
        return [rejected(where, UNEXPECTED, f"{type(error).__name__}: {error}")]


def rejected(where: str, reason: str, detail: str, document_id: str = "") -> Reject:
    """Return the reject of a row, or of a piece of it."""
    return Reject(stage="read", reason=reason, document_id=document_id, source=where, detail=detail)


def undecodable_field(error: UnicodeDecodeError) -> str:
    """Describe a field whose bytes are no UTF-8."""
    return f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start} of a field"


def fields_of(source: SourceConfig) -> list[str]:
    """Return the dotted paths of all fields that a source asks for."""
    names = [*text_fields(source), *metadata_fields(source), *(FIELDS if source.pairs_field == ROW else ())]
    named = (source.id_field, source.version_field, source.deleted_field)
    return [*names, *filter(None, (*named, source.pairs_field, source.dataset_field))]


def metadata_fields(source: SourceConfig) -> tuple[str, ...]:
    """Return the dotted paths of the fields that a document keeps beside its text."""
    return source.metadata_fields + (text_encoding.FIELDS if source.encoding == text_encoding.AUTO else ())


def check_fields(source: SourceConfig, available: Collection[str]) -> None:
    """Refuse a source that asks for a field beside the text which its reader never gives.

    Raises:
        ConfigError: Names the field, the nearest and all others.
    """
    known = {*available, source.text_field, *text_encoding.FIELDS}
    for key in ("id_field", "version_field", "deleted_field", "metadata_fields", "text_fallbacks"):
        value = getattr(source, key)
        for name in value if isinstance(value, tuple) else filter(None, [value]):
            if name not in known:
                named = unknown_name(f"field of reader {source.reader!r}", name, known)
                raise ConfigError(f"source {source.uri!r}: {key}: {named}")


def text_fields(source: SourceConfig) -> list[str]:
    """Return the dotted paths of the fields that make a document's text."""
    if source.format is None:
        return [source.text_field, *source.text_fallbacks]
    return [name for _, name, _, _ in string.Formatter().parse(source.format) if name]


def refused_columns(
    source: SourceConfig, names: list[str], dialect: str = "", cure: str = "Set text_field or format."
) -> tuple[str, str] | None:
    """Return why a table lacks a wanted column, or has it twice: a reason and details; None if it is usable.

    `dialect` says how the table was read, `cure` what to do about a missing column.
    """
    wanted, found = text_fields(source), ", ".join(names)
    if not columns_of(names, wanted):
        found = found if len(found) <= _SHOWN_CHARACTERS else f"{found[:_SHOWN_CHARACTERS]}…"
        one = "one column, " if len(names) == 1 else ""
        detail = f"no column {' or '.join(map(repr, wanted))}; the file has {one}{found}{dialect}. {cure}"
        return "missing_column", detail
    columns = columns_of(names, fields_of(source))
    if twice := [name for name in columns if columns.count(name) > 1]:
        detail = f"the file has {columns.count(twice[0])} columns {twice[0]!r}; which is meant?"
        return "repeated_column", detail
    return None


def _whole(text: str, name: str, halved: list[str]) -> str:
    """Return the text of a field without lone surrogates; `halved` gets the names of fields that had some."""
    whole = well_formed(text)
    if whole is not text:
        halved.append(name)
    return whole


def _document(
    source: SourceConfig, values: Mapping[str, Any], where: str, version: int, halved: list[str]
) -> Document | Reject:
    try:
        stamp, is_deleted = _version(source, values)
    except ValueError as error:
        return rejected(where, "bad_version", str(error))
    if is_deleted:
        document_id = _id(look_up(values, source.id_field or ""))
        if not document_id:
            return rejected(where, "missing_id", f"a deletion without an id in field {source.id_field!r}")
        return Document.of(document_id, "", source=where, version=version, stamp=stamp, is_deleted=True)
    names = text_fields(source)
    found = {name: look_up(values, name) for name in names}
    if all(value is None for value in found.values()):
        named, given = " or ".join(map(repr, names)), names_of(values)
        if nulls := " and ".join(repr(name) for name in names if holds_null(values, name)):
            return rejected(where, "missing_field", f"field {nulls} is null in a row of {given}")
        detail = f"no field {named} in a row of {given}"
        if path := path_of_rows(values, names):
            detail += f"; each item of {path!r} may be a row: set option `rows: {path}` of reader jsonl"
        return rejected(where, "missing_field", detail)
    if source.text_fallbacks:
        first = next((name for name in names if found[name] not in (None, "", b"")), names[0])
        names, found = [first], {first: found[first]}
    for name, value in found.items():
        if isinstance(value, bytes):
            found[name] = value.decode("utf-8-sig") if source.extract is None else decode_page(value)[0]
        elif isinstance(value, list):
            try:
                found[name] = turns.joined(value)
            except ValueError as error:
                return rejected(where, "not_text", f"field {name!r} holds a list whose {error}")
        elif value is not None and not isinstance(value, str):
            detail = f"field {name!r} holds {type(value).__name__}, expected a string"
            return rejected(where, "not_text", detail)
        if (text := found[name]) is not None:
            found[name] = _whole(text, name, halved)
        if source.extract == "html" and (page := found[name]):
            try:
                found[name] = html_text(page).text
            except HtmlError as error:
                return rejected(where, *error.args)
    text = _text(source, found)
    if not text.strip():
        held = "is empty" if source.extract is None else "is empty, or holds no main text"
        return rejected(where, "empty", f"field {' and '.join(map(repr, names))} {held}")
    document_id = where
    if source.id_field is not None:
        value = look_up(values, source.id_field)
        document_id = _id(value)
        if not document_id:
            detail = f"no usable id in field {source.id_field!r}, found {value!r}"
            return rejected(where, "missing_id", detail)
    metadata = {
        name: _whole(value.decode() if isinstance(value, bytes) else str(value), name, halved)
        for name in metadata_fields(source)
        if (value := look_up(values, name)) is not None
    }
    return Document.of(document_id, text, source=where, metadata=metadata, version=version, stamp=stamp)


def _version(source: SourceConfig, values: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a row's stamp, "" without `version_field`, and whether the row is a deletion.

    Raises:
        ValueError: A field holds a value of another kind.
    """
    stamp, is_deleted, name = "", False, source.deleted_field
    try:
        if name is not None:
            is_deleted = means_deleted(look_up(values, name))
        if (name := source.version_field) is not None:
            stamp = stamp_of(look_up(values, name))
    except ValueError as error:
        raise ValueError(f"field {name!r} {error}") from None
    return (UNDATED_DELETION if is_deleted and stamp in ("", MISSING) else stamp), is_deleted


def _text(source: SourceConfig, found: Mapping[str, str | None]) -> str:
    if source.format is None:
        return next(iter(found.values())) or ""
    parts: list[str] = []
    for literal, name, _, _ in string.Formatter().parse(source.format):
        value = found[name] or "" if name else ""
        # White space before an empty field is left out with the field; words stay.
        if value or not name or literal.strip():
            parts += [literal, value]
    return "".join(parts).strip()


def _id(value: Any) -> str:
    """Return an id as text, "" if unusable, as with half a character: two of them could become one.

    3.0 is 3: tables with gaps store whole numbers as floats.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    usable = isinstance(value, (str, int, decimal.Decimal, uuid.UUID)) and not isinstance(value, bool)
    text = str(value) if usable else ""
    return text if well_formed(text) is text else ""


def _with_pairs(
    source: SourceConfig, values: Mapping[str, Any], document: Document, halved: list[str]
) -> Iterator[Document | Reject]:
    """Yield the document with its pairs, if there is a good one, and a reject for each bad pair."""

    def reject(reason: str, detail: str, where: str = "") -> Reject:
        return rejected(f"{document.source}{where}", reason, detail, document.document_id)

    name = source.pairs_field or ""
    found = [values] if name == ROW else look_up(values, name)
    if not isinstance(found, list):
        shown = type(found).__name__ if found is not None else f"none in a row of {names_of(values)}"
        yield reject("missing_field", f"field {name!r} must hold a list of pairs; found {shown}")
        return
    pairs = []
    for number, item in enumerate(found):
        try:
            pair = read_pair(item)
            words = [_whole(text, name, halved) for text in (pair.instruction, pair.response)]
            pairs.append(dataclasses.replace(pair, instruction=words[0], response=words[1]))
        except BadPair as error:
            yield reject(error.reason, str(error), "" if name == ROW else f".{name}[{number}]")
    if not found:
        yield reject("no_pairs", f"field {name!r} is an empty list")
    dataset = _dataset(source, values, halved)
    if dataset is None:
        yield reject("missing_field", f"no name of a dataset in field {source.dataset_field!r}")
    elif pairs:
        yield dataclasses.replace(document, dataset=dataset).changed(document.text, tuple(pairs))


def _dataset(source: SourceConfig, values: Mapping[str, Any], halved: list[str]) -> str | None:
    """Return the name of a row's question-answer set; None if the row lacks that field."""
    if source.dataset_field is None:
        return ":".join(filter(None, (source.uri, source.config_name, source.split)))
    value = look_up(values, source.dataset_field)
    return _whole(value, source.dataset_field, halved) if isinstance(value, str) and value else None
