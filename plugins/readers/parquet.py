"""Parquet: one document a row, reading only the columns that are asked for.

A time that Python cannot hold, beyond year 9999 or finer than a microsecond, is read as Arrow's text of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet

from plugins.readers.base import BadRow, Reader, Row, covers

_BATCH_ROWS = 64
"""Few, since a dictionary may make a long text of each of a file's few bytes."""

_BEYOND_PYTHON = (ValueError, ArithmeticError, LookupError, pyarrow.ArrowException)
"""What pyarrow raises for a value that Python has no type for, or not enough room, or no time zone."""


class ParquetReader(Reader):
    """Reads parquet. Positions are row numbers from 0; a file without the wanted column is one BadRow."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        number = 0
        with fsspec.open(uri, "rb") as file:
            try:
                table = pyarrow.parquet.ParquetFile(file)
                names = table.schema_arrow.names
                if not any(covers(name, field) for name in names for field in self._text_fields()):
                    yield BadRow(
                        position="",
                        reason="missing_column",
                        detail=f"no column {' or '.join(map(repr, self._text_fields()))}; "
                        f"the file has {', '.join(names)}. Set text_field or format.",
                    )
                    return
                columns = self.columns(names)
                if twice := [name for name in columns if columns.count(name) > 1]:
                    detail = f"the file has {columns.count(twice[0])} columns {twice[0]!r}; which is meant?"
                    yield BadRow(position="", reason="repeated_column", detail=detail)
                    return
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    for row in _rows(batch, number):
                        yield row
                        number += 1
            except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
                if isinstance(error, OSError) and not arrow_means_damage(error):
                    raise
                yield BadRow(
                    position=str(number),
                    reason="damaged_file",
                    detail=f"{error}; {number} rows were read before it",
                )


def _rows(batch: pyarrow.RecordBatch, first: int) -> Iterator[Row | BadRow]:
    try:
        values = batch.to_pylist()
    except _BEYOND_PYTHON:  # UnicodeDecodeError too: parquet's writers need not check their strings
        values = [None] * len(batch)
    for index, value in enumerate(values):
        position = str(first + index)
        try:
            yield Row(position=position, values=value or _row(batch, index))
        except UnicodeDecodeError as error:
            detail = (
                f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start} of a field"
            )
            yield BadRow(position=position, reason="invalid_utf8", detail=detail)
        except _BEYOND_PYTHON as error:
            detail = f"{type(error).__name__}: {error}"
            yield BadRow(position=position, reason="unreadable_value", detail=detail)


def _row(batch: pyarrow.RecordBatch, index: int) -> dict[str, Any]:
    return {
        name: _value(column[index]) for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def _value(scalar: Any) -> Any:
    """A value as Python has it; of one that Python cannot hold, its text."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except _BEYOND_PYTHON:
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _value(scalar[name]) for name in scalar}
        if isinstance(scalar, pyarrow.ListScalar):
            return [_value(each) for each in scalar.values]
        return scalar.cast(pyarrow.string()).as_py()


def arrow_means_damage(error: OSError) -> bool:
    """Whether it is Arrow that speaks, of damaged data, and not the storage: its OSErrors have no errno."""
    return type(error) is OSError and error.errno is None
