"""What an evaluation task is: one declaration, and rows that are good or refused with a reason.

A task names its rows' source and shape and the metrics its answers go through. Tasks come from the
registry by name, or from files that lie in a directory: each file is one task, named by its stem,
whose kind follows from its rows. Only that first look and `read_rows` open a file; nothing here
needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from plugins.readers import files
from schemas import storage
from schemas.errors import ConfigError, InputError, unknown_name
from trainer.evaluation import METRICS, TASKS
from trainer.evaluation.rows import RefusedRow, Row, parse_choice, parse_generate
from trainer.evaluation.sources import TASK_FILE, FileRows, RowSource

Kind: TypeAlias = Literal["choice", "generate"]

_FILE_METRICS: dict[Kind, tuple[str, ...]] = {
    "choice": ("accuracy",),
    "generate": ("exact_match", "token_f1"),
}


RowParser: TypeAlias = Callable[[str, Mapping[str, Any]], Row]
"""Makes a row of a position and fields; raises ValueError with the reason why it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation task.

    Attributes:
        name: Unique among the tasks of a run.
        domain: What its headline score is averaged with.
        kind: Whether options are weighed or text is generated.
        metrics: Names in `METRICS`; the first is the headline.
        source: Gives the raw rows, the same ones in the same order each time.
        parse: Makes a row of them; None takes AdaptLLM's format for the kind.
    """

    name: str
    domain: str
    kind: Kind
    metrics: tuple[str, ...]
    source: RowSource
    parse: RowParser | None = None

    def __post_init__(self) -> None:
        known = METRICS.names()
        for metric in self.metrics:
            if metric not in known:
                raise ConfigError(f"task {self.name}: {unknown_name('metric', metric, known)}")
        if not self.metrics:
            raise ConfigError(f"task {self.name} names no metric. Available: {', '.join(known)}.")


def load_tasks(names: Sequence[str]) -> list[Task]:
    """Find tasks by name or path.

    Args:
        names: Each a name in `TASKS`, a task file, or a directory of task files.

    Raises:
        ConfigError: A name is neither a task nor a path, a directory holds no task file, or two
            tasks have one name.
        InputError: A file has no good row.
    """
    tasks: dict[str, Task] = {}
    for name in names:
        for task in _find(name):
            if task.name in tasks:
                raise ConfigError(
                    f"two evaluation tasks are named {task.name!r} (the second comes with {name!r}); "
                    "rename one file, or name the task once."
                )
            tasks[task.name] = task
    if not tasks:
        raise ConfigError("no evaluation task is named; give a task's name or a directory of .jsonl files.")
    return list(tasks.values())


def read_rows(task: Task) -> tuple[list[Row], list[RefusedRow]]:
    """Read a task's rows: the good ones and the refused ones, in their order.

    Raises:
        InputError: Not one row is good; names the first bad one.
    """
    parse = task.parse or (parse_choice if task.kind == "choice" else parse_generate)
    good: list[Row] = []
    refused: list[RefusedRow] = []
    for raw in task.source():
        if isinstance(raw, RefusedRow):
            refused.append(raw)
            continue
        position, values = raw
        try:
            good.append(parse(position, values))
        except ValueError as error:
            refused.append(RefusedRow(position=position, reason=str(error)))
    if not good:
        raise _no_good_row(task.name, refused)
    return good, refused


def _find(name: str) -> list[Task]:
    if name in TASKS.names():
        task = TASKS.load(name)
        if not isinstance(task, Task):
            raise ConfigError(f"evaluation task {name!r} is registered as {task!r}, expected a Task.")
        return [task]
    if not name or not storage.exists(name):
        if "/" in name or TASK_FILE.search(name):
            raise ConfigError(f"evaluation tasks {name!r}: no such file or directory.")
        raise ConfigError(
            f"{unknown_name('evaluation task', name, TASKS.names())} Nor is it a file or directory here."
        )
    try:
        uris = [uri for uri in files.expand(name) if TASK_FILE.search(uri)]
    except InputError:  # a directory without a single file
        uris = []
    if not uris:
        raise ConfigError(f"evaluation tasks {name!r}: found no .jsonl, .json or .parquet file there.")
    return [_file_task(uri) for uri in uris]


def _file_task(uri: str) -> Task:
    folder, _, filename = uri.rpartition("/")
    match = TASK_FILE.search(filename)
    assert match is not None
    kind = _kind_of(uri, match["stem"])
    domain = folder.rstrip("/").rpartition("/")[2].strip(".")
    return Task(
        name=match["stem"],
        domain=domain or "tasks",
        kind=kind,
        metrics=_FILE_METRICS[kind],
        source=FileRows(uri),
    )


def _kind_of(uri: str, name: str) -> Kind:
    """The kind of the file's first good row."""
    refused = []
    for raw in FileRows(uri)():
        if isinstance(raw, RefusedRow):
            refused.append(raw)
            continue
        position, values = raw
        kind: Kind = "generate" if "label" in values and "options" not in values else "choice"
        try:
            (parse_generate if kind == "generate" else parse_choice)(position, values)
        except ValueError as error:
            refused.append(RefusedRow(position=position, reason=str(error)))
            continue
        return kind
    raise _no_good_row(name, refused)


def _no_good_row(name: str, refused: Sequence[RefusedRow]) -> InputError:
    if not refused:
        return InputError(f"evaluation task {name}: has no rows.")
    return InputError(
        f"evaluation task {name}: none of its {len(refused)} rows can be used. The first: {refused[0]}. "
        "A row is input, options and gold_index, or input and label."
    )
