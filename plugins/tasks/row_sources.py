"""Sources of a task's raw rows: files of JSON lines, JSON arrays or Parquet, and sets on the Hub."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import fsspec

from plugins.readers import decompression
from plugins.readers.listing import list_uri
from plugins.tasks.rows import RefusedRow, shown
from schemas import storage
from schemas.errors import ConfigError, InputError

SPLIT = "test"

_TASK_FILE = re.compile(
    rf"(?P<stem>[^/]+?)\.(?P<format>jsonl|json|parquet)({'|'.join(map(re.escape, decompression.MAGIC))})?$"
)

RawRow: TypeAlias = "tuple[str, Mapping[str, Any]]"
"""A row before it is parsed: its position and its fields."""

RowSource: TypeAlias = Callable[[], "Iterable[RawRow | RefusedRow]"]


def task_stem(uri: str) -> str:
    """Name of the task that a file of rows is: its stem; "" if the file's name is not that of a task."""
    match = _TASK_FILE.search(uri)
    return match["stem"] if match else ""


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of files, one file after the other."""

    uris: tuple[str, ...]

    def __call__(self) -> Iterator[RawRow | RefusedRow]:
        for uri in self.uris:
            yield from _read_file(uri)


@dataclass(frozen=True, slots=True)
class HubRows:
    """The test rows of one configuration of a set on the Hugging Face Hub.

    Attributes:
        path: The set, as OWNER/NAME.
        config_name: The configuration, which is named after the task.
    """

    path: str
    config_name: str

    def __call__(self) -> Iterator[RawRow | RefusedRow]:
        if importlib.util.find_spec("datasets") is None:
            raise ConfigError(
                f"task {self.config_name} is on the Hugging Face Hub ({self.path}), which needs the "
                "package datasets: pip install 'tutelage[huggingface]'. Or give a directory of its rows "
                "with --tasks-root (tasks_root of domain_eval)."
            )
        import datasets

        try:
            rows = datasets.load_dataset(self.path, name=self.config_name, split=SPLIT)
        except (OSError, ValueError) as error:  # errors of the Hub and of its formats
            raise InputError(
                f"task {self.config_name}: {self.path} cannot be read from the Hugging Face Hub: {error}. "
                "Without a network, give a directory of its rows with --tasks-root."
            ) from error
        for number, values in enumerate(rows, start=1):
            yield f"{self.path}/{self.config_name}:{number}", values


def rows_under(root: str, name: str) -> FileRows:
    """Find a task's rows in a directory: ROOT/<task>.jsonl, or the test files of ROOT/<task>/.

    Raises:
        ConfigError: Neither exists, or more than one.
    """
    whole = [uri for uri in _files_in(root) if task_stem(uri) == name]
    parts = [
        uri
        for uri in _files_in(storage.join(root, name))
        if re.fullmatch(rf"{SPLIT}([-_.].*)?", task_stem(uri))
    ]
    found = (*whole, *parts)
    if len(whole) > 1 or (whole and parts):
        raise ConfigError(f"task {name}: {root} has its rows twice: {', '.join(found)}. Keep one.")
    if not found:
        raise ConfigError(
            f"task {name}: found neither {name}.jsonl (or .json, .parquet) nor {name}/{SPLIT}.jsonl "
            f"under {root}."
        )
    return FileRows(found)


def _files_in(directory: str) -> list[str]:
    # Not `expand`, which would refuse directories inside: those of other tasks.
    return list_uri(directory).files if storage.exists(directory) else []


def _read_file(uri: str) -> Iterator[RawRow | RefusedRow]:
    """Yield the rows of a file; at damage yield a refused row with `ends_file` and stop."""
    match = _TASK_FILE.search(uri)
    read = _parquet_values if match and match["format"] == "parquet" else _json_values
    number = 0
    try:
        for number, value in enumerate(read(uri), start=1):
            if not isinstance(value, bytes):
                yield _as_object(f"{uri}:{number}", value)
            elif value.strip():
                yield _parse_line(f"{uri}:{number}", value)
    except (ValueError, RecursionError, decompression.TooLong, *decompression.DAMAGED) as error:
        reason = f"the file cannot be read from here on: {error}"
        yield RefusedRow(position=f"{uri}:{number + 1}", reason=reason, ends_file=True)


def _json_values(uri: str) -> Iterator[Any]:
    """Yield the lines of a file as bytes, or the values of its one array."""
    for number, line in enumerate(decompression.lines(uri)):
        if number == 0 and line.lstrip()[:1] == b"[":
            yield from json.loads(decompression.whole(uri))
            return
        yield line


def _parquet_values(uri: str) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    with fsspec.open(uri, "rb") as file:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                yield from batch.to_pylist()
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from error


def _parse_line(position: str, line: bytes) -> RawRow | RefusedRow:
    try:
        decompression.check_length(line)
        return _as_object(position, json.loads(line))
    except decompression.TooLong as error:
        return RefusedRow(position=position, reason=str(error))
    except (ValueError, RecursionError) as error:
        return RefusedRow(position=position, reason=f"bad JSON: {error}")


def _as_object(position: str, value: Any) -> RawRow | RefusedRow:
    if isinstance(value, dict):
        return position, value
    return RefusedRow(position=position, reason=f"found {shown(value)}, expected a JSON object")
