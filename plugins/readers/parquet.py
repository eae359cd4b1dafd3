"""Parquet: one document a row, reading only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pyarrow
import pyarrow.parquet

from plugins.readers.base import BadRow, Reader, Row

_BATCH_ROWS = 1024


class ParquetReader(Reader):
    """Reads parquet. Positions are row numbers from 0; a file without the wanted column is one BadRow."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        wanted = [*self._text_fields(), *self.source.metadata_fields]
        if self.source.id_field is not None:
            wanted.append(self.source.id_field)
        number = 0
        with fsspec.open(uri, "rb") as file:
            try:
                table = pyarrow.parquet.ParquetFile(file)
                names = table.schema_arrow.names
                columns = [name for name in names if any(_covers(name, field) for field in wanted)]
                if not any(_covers(name, field) for name in names for field in self._text_fields()):
                    yield BadRow(
                        position="",
                        reason="missing_column",
                        detail=f"no column {' or '.join(map(repr, self._text_fields()))}; "
                        f"the file has {', '.join(names)}. Set text_field or format.",
                    )
                    return
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    for values in batch.to_pylist():
                        yield Row(position=str(number), values=values)
                        number += 1
            except (pyarrow.ArrowInvalid, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, pyarrow.ArrowException):
                    raise
                yield BadRow(
                    position=str(number),
                    reason="damaged_file",
                    detail=f"{error}; {number} rows were read before it",
                )


def _covers(column: str, field: str) -> bool:
    return field == column or field.startswith(f"{column}.")
