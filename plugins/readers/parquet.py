"""Parquet: one document a row, reading only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pyarrow
import pyarrow.parquet

from plugins.readers.base import BadRow, Reader, Row, covers

_BATCH_ROWS = 1024


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
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=self.columns(names)):
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
    except UnicodeDecodeError:  # parquet's writers need not check their strings; one bad row costs itself
        values = [None] * len(batch)
    for index, value in enumerate(values):
        position = str(first + index)
        try:
            yield Row(position=position, values=value or batch.slice(index, 1).to_pylist()[0])
        except UnicodeDecodeError as error:
            detail = (
                f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start} of a field"
            )
            yield BadRow(position=position, reason="invalid_utf8", detail=detail)


def arrow_means_damage(error: OSError) -> bool:
    """Whether it is Arrow that speaks, of damaged data, and not the storage: its OSErrors have no errno."""
    return type(error) is OSError and error.errno is None
