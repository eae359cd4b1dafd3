"""Find tasks by name: a registered task, a domain, a YAML task, a file of rows, or a directory of files.

A file of rows is a task: its stem is the task's name, and its first good row decides the kind. A YAML file
declares more, and the file of its rows may lie beside it:

    name: cardiology
    domain: medicine
    kind: choice                  # or generate, perplexity
    metrics: [accuracy, macro_f1] # optional: those of a file of rows of this kind
    rows: cardiology.jsonl        # relative to the YAML's directory; .jsonl, .json or .parquet
    num_options: 4                # optional: a row with another number is refused
    context_tokens: 2048          # optional: longest prompt and generated answer together
    window_tokens: 1024           # optional, of perplexity: longest input of one pass
    stride_tokens: 512            # optional, of perplexity: tokens between the starts of windows
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import pydantic

from plugins.readers.listing import expand
from plugins.tasks import DOMAINS, TASKS
from plugins.tasks.row_sources import FileRows, HubRows, rows_under, task_stem
from plugins.tasks.rows import Kind, RefusedRow, kind_of, parse_row
from plugins.tasks.task import Task, no_good_row
from schemas import storage
from schemas.config import Section, load_config
from schemas.errors import ConfigError, InputError, unknown_name

_YAML = (".yaml", ".yml")
_FILE_METRICS: dict[Kind, tuple[str, ...]] = {
    "choice": ("accuracy",),
    "generate": ("exact_match", "token_f1"),
    "perplexity": ("bits_per_byte",),
}

_Positive = Annotated[int, pydantic.Field(ge=1)]


class TaskFile(Section):
    """A task in YAML; the keys are those of `Task`, `rows` is the file of its rows."""

    name: Annotated[str, pydantic.Field(pattern=r"^[^/\s]+$")]
    domain: str
    kind: Kind
    metrics: Annotated[list[str], pydantic.Field(min_length=1)] | None = None
    rows: str
    num_options: _Positive | None = None
    context_tokens: _Positive | None = None
    window_tokens: Annotated[int, pydantic.Field(ge=2)] | None = None
    stride_tokens: _Positive | None = None


def load_tasks(names: Sequence[str], root: str | None = None) -> list[Task]:
    """Find tasks by name or path.

    Args:
        names: Each a name in `TASKS` or `DOMAINS`, a YAML task, a file of rows, or a directory of those.
        root: Directory that replaces the Hub for registered tasks: ROOT/<task>.jsonl, or the test files of
            ROOT/<task>/.

    Raises:
        ConfigError: A name is neither a task nor a path, a directory holds no task file, two tasks
            have one name, or `root` lacks a task's rows.
        InputError: A file has no good row.
    """
    tasks: dict[str, Task] = {}
    for name in names:
        for task in _find(name, root):
            if task.name in tasks:
                raise ConfigError(
                    f"two evaluation tasks are named {task.name!r} (the second comes with {name!r}); "
                    "rename one file, or name the task once."
                )
            tasks[task.name] = task
    if not tasks:
        raise ConfigError("no evaluation task is named; give a task's name or a directory of .jsonl files.")
    return list(tasks.values())


def _find(name: str, root: str | None) -> list[Task]:
    if name in DOMAINS:
        return [_registered(each, root) for each in DOMAINS[name]]
    if name in TASKS.names():
        return [_registered(name, root)]
    if not name or not storage.exists(name):
        if "/" in name or task_stem(name) or name.endswith(_YAML):
            raise ConfigError(f"evaluation tasks {name!r}: no such file or directory.")
        known = [*DOMAINS, *TASKS.names()]
        raise ConfigError(
            f"{unknown_name('evaluation task', name, known)} Nor is there a file or directory of this name."
        )
    try:
        uris = [uri for uri in expand(name) if task_stem(uri) or uri.endswith(_YAML)]
    except InputError as error:
        raise ConfigError(f"evaluation tasks {error}.") from None
    if not uris:
        raise ConfigError(f"evaluation tasks {name!r}: found no .jsonl, .json, .parquet or .yaml file there.")
    declared = {uri: _declared_task(uri) for uri in uris if uri.endswith(_YAML)}
    of_declared = {
        uri for task in declared.values() if isinstance(task.source, FileRows) for uri in task.source.uris
    }
    return [declared.get(uri) or _file_task(uri) for uri in uris if uri not in of_declared]


def _registered(name: str, root: str | None) -> Task:
    task = TASKS.load(name)
    if not isinstance(task, Task):
        raise ConfigError(f"evaluation task {name!r} is registered as {task!r}, expected a Task.")
    if root is None or not isinstance(task.source, HubRows):
        return task
    return dataclasses.replace(task, source=rows_under(root, name))


def _declared_task(uri: str) -> Task:
    found = load_config(TaskFile, uri)
    is_whole = "://" in found.rows or found.rows.startswith("/") or "/" not in uri
    rows = found.rows if is_whole else storage.join(uri.rpartition("/")[0], found.rows)
    if not task_stem(rows):
        raise ConfigError(f"{uri}: rows is {found.rows!r}, expected a .jsonl, .json or .parquet file.")
    if not storage.exists(rows):
        raise ConfigError(f"{uri}: rows: there is no {rows}. A relative path starts in the YAML's directory.")
    declared = found.model_dump() | {"metrics": tuple(found.metrics or _FILE_METRICS[found.kind])}
    del declared["rows"]
    return Task(**declared, source=FileRows((rows,)))


def _file_task(uri: str) -> Task:
    name, source = task_stem(uri), FileRows((uri,))
    kind = _kind_of_first_good(name, source)
    domain = uri.rpartition("/")[0].rstrip("/").rpartition("/")[2].strip(".")
    return Task(name=name, domain=domain or "tasks", kind=kind, metrics=_FILE_METRICS[kind], source=source)


def _kind_of_first_good(name: str, source: FileRows) -> Kind:
    refused = []
    for raw in source():
        if isinstance(raw, RefusedRow):
            refused.append(raw)
            continue
        position, values = raw
        try:
            parse_row(position, values)
        except ValueError as error:
            refused.append(RefusedRow(position=position, reason=str(error)))
            continue
        return kind_of(values)
    raise no_good_row(name, refused)
