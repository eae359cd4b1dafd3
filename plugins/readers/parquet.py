"""Parquet: one document a row. The reader loads only the columns that the source asks for.

A time that Python has no value for, beyond year 9999 or finer than a microsecond, becomes Arrow's text of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet

from plugins.readers.base import BadRow, Reader, Row, means_damage
from plugins.readers.documents import fields_of, refused_columns, undecodable_field
from plugins.readers.field_paths import columns_of

_BATCH_ROWS = 64
"""Few rows, because a dictionary can expand each byte of a small file to a long text."""

_BEYOND_PYTHON = (ValueError, ArithmeticError, LookupError, pyarrow.ArrowException)
"""Exceptions of pyarrow for a value without a Python type, beyond its range, or in an unknown time zone."""


class ParquetReader(Reader):
    """Reads parquet. Positions are row numbers from 0; a file without the wanted column is one BadRow."""

    own_fields = frozenset({"extract"})

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        number = 0
        with fsspec.open(uri, "rb") as file:
            try:
                table = pyarrow.parquet.ParquetFile(file)
                names = table.schema_arrow.names
                if fault := refused_columns(self.source, names):
                    yield BadRow("", *fault)
                    return
                columns = columns_of(names, fields_of(self.source))
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    for row in _rows(batch, number):
                        yield row
                        number += 1
            except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
                if isinstance(error, OSError) and not means_damage(error):
                    raise
                yield BadRow(str(number), "damaged_file", f"{error}; {number} rows were read before it")


def _rows(batch: pyarrow.RecordBatch, first: int) -> Iterator[Row | BadRow]:
    try:
        values = [None] * len(batch) if any(map(_has_nanoseconds, batch.schema.types)) else batch.to_pylist()
    except _BEYOND_PYTHON:  # also UnicodeDecodeError: parquet's writers need not check their strings
        values = [None] * len(batch)
    for index, value in enumerate(values):
        position = str(first + index)
        try:
            yield Row(position, value or _row(batch, index))
        except UnicodeDecodeError as error:
            yield BadRow(position, "invalid_utf8", undecodable_field(error))
        except _BEYOND_PYTHON as error:
            yield BadRow(position, "unreadable_value", f"{type(error).__name__}: {error}")


def _row(batch: pyarrow.RecordBatch, index: int) -> dict[str, Any]:
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return {name: _value(column[index]) for name, column in columns}


def _value(scalar: Any) -> Any:
    """Return a value as a Python object, or its text if Python has no such value.

    Arrow gives nanoseconds as values of pandas where that is installed, times without their last digits.
    """
    try:
        if scalar.is_valid and _has_nanoseconds(scalar.type):
            return (
                _parts(scalar)
                if scalar.type.num_fields
                else scalar.cast(_in_microseconds(scalar.type)).as_py()
            )
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except _BEYOND_PYTHON:
        return _parts(scalar) if scalar.type.num_fields else scalar.cast(pyarrow.string()).as_py()


def _parts(scalar: Any) -> Any:
    if isinstance(scalar, pyarrow.StructScalar):
        return {name: _value(scalar[name]) for name in scalar}
    if isinstance(scalar, pyarrow.MapScalar):
        return [tuple(_parts(entry).values()) for entry in scalar.values]
    return [_value(each) for each in scalar.values]


def _has_nanoseconds(kind: pyarrow.DataType) -> bool:
    if kind.num_fields:
        return any(_has_nanoseconds(kind.field(index).type) for index in range(kind.num_fields))
    return getattr(kind, "unit", None) == "ns"


def _in_microseconds(kind: pyarrow.DataType) -> pyarrow.DataType:
    if pyarrow.types.is_timestamp(kind):
        return pyarrow.timestamp("us", kind.tz)
    return pyarrow.time64("us") if pyarrow.types.is_time(kind) else pyarrow.duration("us")
