"""Records of a corpus as iterators, Arrow tables, pandas frames and datasets.

The columns are the fields of the record's dataclass; their types come from its hints, so that a table without
any rows has them too.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from schemas.errors import ConfigError

T = TypeVar("T")

_BATCH_ROWS = 1024
_PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class Records(Generic[T]):
    """Records of one kind, read anew by each iteration; only what is iterated is read.

    Args:
        kind: Dataclass of the records.
        read: Begins to read them.
    """

    def __init__(self, kind: type[T], read: Callable[[], Iterator[T]]):
        self.kind = kind
        self._read = read

    def __iter__(self) -> Iterator[T]:
        return self._read()

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types."""
        return _schema(self.kind)

    def batches(self, num_rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield Arrow batches of at most `num_rows` rows; one batch is in memory at a time."""
        records: Iterator[Any] = iter(self)
        while rows := list(itertools.islice(records, num_rows)):
            yield pa.RecordBatch.from_pylist(list(map(dataclasses.asdict, rows)), schema=self.schema)

    def to_arrow(self) -> pa.Table:
        """Read all records into an Arrow table in memory."""
        return pa.Table.from_batches(self.batches(), schema=self.schema)

    def to_pandas(self) -> Any:
        """Read all records into a pandas DataFrame.

        Raises:
            ConfigError: pandas is not installed.
        """
        _package("pandas", "pandas")
        return self.to_arrow().to_pandas()

    def to_dataset(self) -> Any:
        """Read all records into a `datasets.Dataset`.

        Raises:
            ConfigError: datasets is not installed.
        """
        return _package("datasets", "tutelage[huggingface]").Dataset(self.to_arrow())


def _package(name: str, of: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(f"{name} is not installed. Install it: pip install '{of}'.") from None


def _schema(kind: Any) -> pa.Schema:
    hints = get_type_hints(kind)
    return pa.schema([(field.name, _arrow_type(hints[field.name])) for field in dataclasses.fields(kind)])


def _arrow_type(hint: Any) -> pa.DataType:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _arrow_type(next(each for each in arguments if each is not type(None)))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if origin is np.ndarray:
        return pa.list_(pa.int32())
    if origin is not None and issubclass(origin, Mapping):
        return pa.map_(*map(_arrow_type, arguments))
    return pa.struct(_schema(hint)) if dataclasses.is_dataclass(hint) else _PLAIN[hint]
