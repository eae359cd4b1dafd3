"""Read the tasks of `decontaminate.tasks`, whose rows are kept out of a corpus.

Rows have the shapes that `tutelage eval` reads, and the same numbers: lines of .jsonl, items of a .json
array, rows of .parquet, from 1. Only `gold_index` may be missing beside `input_options` and `output`: all
inputs and the output are kept out, whichever input is right.

A bad row is refused and counted, and the report names the first of them; the rest of the file counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from plugins.readers.decompression import MAGIC
from plugins.readers.listing import expand
from plugins.task_overlap import TaskRows
from plugins.tasks.row_sources import FileRows, task_stem
from plugins.tasks.rows import RefusedRow, Row, parse_row, rows_digest
from schemas.content_hash import digest
from schemas.errors import ConfigError, InputError

_KEY = "decontaminate.tasks"
_EXPECTED = "Give files of task rows, globs, or directories of them."


def read_tasks(given: Sequence[str]) -> tuple[TaskRows, ...]:
    """Read all rows of the tasks that paths, globs and directories name; a file named twice counts once.

    Raises:
        ConfigError: A path names no task file, or a file cannot be read or has no good row.
    """
    uris = list(dict.fromkeys(uri for each in given for uri in _task_files(each)))
    stems = Counter(map(task_stem, uris))
    return tuple(_read(uri, task_stem(uri) if stems[task_stem(uri)] == 1 else uri) for uri in uris)


def tasks_hash(given: Sequence[str]) -> str:
    """Hash of everything that `read_tasks` returns; "" without tasks."""
    parts: list[str] = []
    for task in read_tasks(given):
        ids = [row.row_id for row in task.rows]
        parts += [task.name, task.uri, rows_digest(task.rows), *map(str, (ids, *task.refused))]
    return digest(*parts) if parts else ""


def _task_files(given: str) -> list[str]:
    try:
        found = expand(given)
    except ConfigError as error:
        raise ConfigError(f"{_KEY}: {error}") from None
    except InputError as error:
        raise ConfigError(f"{_KEY}: {error}. Rows that cannot be read would not be kept out.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_KEY}: {given!r}: {error}. {_EXPECTED}") from None
    if not found:
        raise ConfigError(f"{_KEY}: {given!r}: no such file. {_EXPECTED}")
    uris = list(filter(task_stem, found))
    if not uris:
        raise ConfigError(
            f"{_KEY}: {given!r}: found no .jsonl, .json or .parquet file, plain or {', '.join(MAGIC)}."
        )
    return uris


def _read(uri: str, name: str) -> TaskRows:
    rows: list[Row] = []
    refused: list[RefusedRow] = []
    try:
        for raw in FileRows((uri,))():
            if isinstance(raw, RefusedRow):
                if raw.ends_file:
                    raise ConfigError(f"{_KEY}: {raw}. Restore the file.")
                refused.append(raw)
                continue
            position, values = raw
            try:
                rows.append(parse_row(position, values, needs_gold=False))
            except ValueError as error:
                refused.append(RefusedRow(position=position, reason=str(error)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_KEY}: {uri}: cannot be read: {error}. Restore the file.") from error
    if not rows:
        first = f"The first of {len(refused)}: {refused[0]}. " if refused else ""
        raise ConfigError(
            f"{_KEY}: {uri}: has no row that can be used. {first}A row has input, options and gold_index; "
            "input_options and output; input and label; or text."
        )
    return TaskRows(name=name, uri=uri, rows=tuple(rows), refused=tuple(refused))
