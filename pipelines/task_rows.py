"""Evaluation tasks as text that training text is compared with: files of rows, in the shapes of METHOD.md.

    {"input": …, "options": […], "gold_index": 2}         a choice; gold_index may be a list
    {"input": …, "label": …}                              a generation; label may be a list
    {"input_options": [one input an option], "output": …} one completion of several inputs

Of a row count its inputs and its right answers. Wrong options do not: they are often names or labels that a
domain's text is full of. Rows count from 1, as `tutelage eval` counts them: lines of .jsonl, items of a .json
array, rows of .parquet.

What is no row is refused, counted and named in the report; the rest of the file counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet

from plugins.readers import decompression
from plugins.readers.listing import expand
from plugins.task_overlap import Task, TaskRow
from schemas.errors import ConfigError, InputError
from schemas.records import digest

_TASK_FILE = re.compile(r"(?P<stem>[^/]+?)\.(?P<format>jsonl|json|parquet)(\.(gz|zst|bz2))?$")
_KEY = "decontaminate.tasks"
_EXPECTED = "Give files of task rows, globs, or directories of them."


def read_tasks(given: Sequence[str]) -> tuple[Task, ...]:
    """Read all rows of the tasks that paths, globs and directories mean; a file named twice counts once.

    Raises:
        ConfigError: One of them means no task file, or a file cannot be read or has no good row.
    """
    uris = list(dict.fromkeys(uri for each in given for uri in _task_files(each)))
    stems = Counter(map(_stem, uris))
    return tuple(_read(uri, _stem(uri) if stems[_stem(uri)] == 1 else uri) for uri in uris)


def tasks_hash(given: Sequence[str]) -> str:
    """Hash of all that `read_tasks` reads; "" where no task is named."""
    tasks = read_tasks(given)
    return digest(*map(repr, tasks)) if tasks else ""


def _task_files(given: str) -> list[str]:
    try:
        found = expand(given)
    except InputError as error:
        raise ConfigError(f"{_KEY}: {error}. A row that is not read would not be kept out.") from None
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{_KEY}: {given!r}: {error}. {_EXPECTED}") from None
    if not found:
        raise ConfigError(f"{_KEY}: {given!r}: no such file. {_EXPECTED}")
    uris = [uri for uri in found if _TASK_FILE.search(uri)]
    if not uris:
        raise ConfigError(
            f"{_KEY}: {given!r}: found no .jsonl, .json or .parquet file, plain or .gz, .zst, .bz2."
        )
    return uris


def _stem(uri: str) -> str:
    match = _TASK_FILE.search(uri)
    assert match is not None
    return match["stem"]


def _read(uri: str, name: str) -> Task:
    rows: list[TaskRow] = []
    refused: list[str] = []
    try:
        for number, value in _values(uri):
            try:
                rows.append(_row(number, value))
            except (ValueError, RecursionError, decompression.TooLong) as error:
                refused.append(f"{number}: {error}")
    except (
        OSError,
        ValueError,
        RecursionError,
        pyarrow.ArrowException,
        decompression.TooLong,
        *decompression.DAMAGED,
    ) as error:
        raise ConfigError(f"{_KEY}: {uri}: cannot be read: {error}. Restore the file.") from error
    if not rows:
        first = f"The first of {len(refused)}: {refused[0]}. " if refused else ""
        raise ConfigError(
            f"{_KEY}: {uri}: has no row that can be used. {first}A row is input, options and gold_index; "
            "input and label; or input_options and output."
        )
    return Task(name=name, uri=uri, rows=tuple(rows), refused=tuple(refused))


def _values(uri: str) -> Iterator[tuple[int, Any]]:
    """Yield each row of a file as plain values, or as the bytes of a JSON line; numbers count from 1."""
    match = _TASK_FILE.search(uri)
    if match and match["format"] == "parquet":
        with fsspec.open(uri, "rb") as file:
            batches = pyarrow.parquet.ParquetFile(file).iter_batches()
            yield from enumerate((values for batch in batches for values in batch.to_pylist()), start=1)
        return
    for number, line in enumerate(decompression.lines(uri), start=1):
        if number == 1 and line.lstrip()[:1] == b"[":
            yield from enumerate(json.loads(decompression.whole(uri)), start=1)
            return
        if line.strip():
            yield number, line


def _row(number: int, value: Any) -> TaskRow:
    """Make a row; raises ValueError with the reason why it cannot."""
    if isinstance(value, bytes):
        decompression.check_length(value)
        value = json.loads(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"found {type(value).__name__}, expected an object")
    if value.get("input_options") is not None:
        inputs, answers = (
            _texts("input_options", value["input_options"]),
            _texts("output", value.get("output")),
        )
    else:
        inputs, answers = _texts("input", value.get("input")), _answers(value)
    row_id = value.get("id")
    return TaskRow(
        number=number, row_id="" if row_id is None else str(row_id), inputs=inputs, answers=answers
    )


def _answers(value: Mapping[str, Any]) -> tuple[str, ...]:
    if value.get("options") is None:
        return _texts("label", value.get("label"))
    options = _texts("options", value["options"])
    gold = value.get("gold_index")
    right: list[Any] = gold if isinstance(gold, list) else [gold]
    if any(isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < len(options) for at in right):
        raise ValueError(f"gold_index is {gold!r}, expected 0 to {len(options) - 1}")
    return tuple(options[at] for at in right)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        found = "missing" if value is None else f"{type(value).__name__}"
        raise ValueError(f"{name} is {found}, expected a string or a list of strings")
    return tuple(texts)
