"""Where a task's raw rows come from: one file of JSON lines, a JSON array, or Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import fsspec

from plugins.readers import decompression
from trainer.evaluation.tasks.rows import RefusedRow, shown

TASK_FILE = re.compile(r"(?P<stem>[^/]+?)\.(?P<format>jsonl|json|parquet)(\.(gz|zst|bz2))?$")
"""File names that are tasks; the stem is the task's name."""

RawRow: TypeAlias = "tuple[str, Mapping[str, Any]]"
"""A row before it is understood: its position and its fields."""

RowSource: TypeAlias = Callable[[], "Iterable[RawRow | RefusedRow]"]


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of one file; a row source. JSON is lines, or one array; Parquet rows count from 1."""

    uri: str

    def __call__(self) -> Iterator[RawRow | RefusedRow]:
        match = TASK_FILE.search(self.uri)
        if match and match["format"] == "parquet":
            return self._parquet()
        return self._json()

    def _json(self) -> Iterator[RawRow | RefusedRow]:
        number = 0
        try:
            for number, line in enumerate(decompression.lines(self.uri), start=1):
                if number == 1 and line.lstrip()[:1] == b"[":
                    yield from self._json_array()
                    return
                if line.strip():
                    yield self._understand(number, line)
        except decompression.DAMAGED as error:
            yield RefusedRow(position=f"{self.uri}:{number + 1}", reason=f"the file is damaged: {error}")

    def _json_array(self) -> Iterator[RawRow | RefusedRow]:
        try:
            values = json.loads(decompression.whole(self.uri))
        except (ValueError, RecursionError, decompression.TooLong) as error:
            yield RefusedRow(position=self.uri, reason=f"bad JSON: {error}")
            return
        for number, value in enumerate(values, start=1):
            yield self._object(f"{self.uri}:{number}", value)

    def _understand(self, number: int, line: bytes) -> RawRow | RefusedRow:
        position = f"{self.uri}:{number}"
        try:
            decompression.check_length(line)
            return self._object(position, json.loads(line))
        except (ValueError, RecursionError, decompression.TooLong) as error:
            return RefusedRow(position=position, reason=f"bad JSON: {error}")

    def _object(self, position: str, value: Any) -> RawRow | RefusedRow:
        if isinstance(value, dict):
            return position, value
        return RefusedRow(position=position, reason=f"found {shown(value)}, expected a JSON object")

    def _parquet(self) -> Iterator[RawRow | RefusedRow]:
        import pyarrow
        import pyarrow.parquet

        number = 0
        with fsspec.open(self.uri, "rb") as file:
            try:
                for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                    for values in batch.to_pylist():
                        number += 1
                        yield f"{self.uri}:{number}", values
            except pyarrow.ArrowException as error:
                yield RefusedRow(position=f"{self.uri}:{number + 1}", reason=f"the file is damaged: {error}")
