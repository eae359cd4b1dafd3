"""Rows of a task's Hub set, or of the files that lie in its place in a directory."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass

from plugins.readers.listing import list_uri
from schemas import storage
from schemas.errors import ConfigError, InputError
from trainer.evaluation.tasks.row_files import TASK_FILE, FileRows, RawRow
from trainer.evaluation.tasks.rows import RefusedRow

SPLIT = "test"


@dataclass(frozen=True, slots=True)
class HubRows:
    """The test rows of one configuration of a set on the Hugging Face hub; a row source.

    Attributes:
        path: The set, as OWNER/NAME.
        config_name: The configuration: one a task.
    """

    path: str
    config_name: str

    def __call__(self) -> Iterator[RawRow | RefusedRow]:
        if importlib.util.find_spec("datasets") is None:
            raise ConfigError(
                f"task {self.config_name} lies on the Hugging Face hub ({self.path}), which needs the "
                "package datasets: pip install 'tutelage[huggingface]'. Or give a directory of its rows "
                "with --tasks-root (tasks_root of domain_eval)."
            )
        import datasets

        try:
            rows = datasets.load_dataset(self.path, name=self.config_name, split=SPLIT)
        except (OSError, ValueError) as error:  # what its hub and its formats raise
            raise InputError(
                f"task {self.config_name}: {self.path} cannot be read from the Hugging Face hub: {error}. "
                "Without a network, give a directory of its rows with --tasks-root."
            ) from error
        for number, values in enumerate(rows, start=1):
            yield f"{self.path}/{self.config_name}:{number}", values


@dataclass(frozen=True, slots=True)
class ManyFileRows:
    """The rows of several files, one after the other; a row source."""

    uris: tuple[str, ...]

    def __call__(self) -> Iterator[RawRow | RefusedRow]:
        for uri in self.uris:
            yield from FileRows(uri)()


def rows_under(root: str, name: str) -> ManyFileRows:
    """Find a task's rows in a directory: ROOT/<task>.jsonl, or the test files of ROOT/<task>/.

    Raises:
        ConfigError: Neither is there, or more than one.
    """
    whole = [uri for uri in _task_files(root) if _stem(uri) == name]
    parts = [
        uri
        for uri in _task_files(storage.join(root, name))
        if re.fullmatch(rf"{SPLIT}([-_.].*)?", _stem(uri))
    ]
    found = [*whole, *parts]
    if len(whole) > 1 or (whole and parts):
        raise ConfigError(f"task {name}: its rows lie twice under {root}: {', '.join(found)}. Keep one.")
    if not found:
        raise ConfigError(
            f"task {name}: found neither {name}.jsonl (or .json, .parquet) nor {name}/{SPLIT}.jsonl "
            f"under {root}."
        )
    return ManyFileRows(tuple(found))


def _task_files(folder: str) -> list[str]:
    if not storage.exists(folder):
        return []
    return [uri for uri in list_uri(folder).files if TASK_FILE.search(uri)]  # folders are other tasks'


def _stem(uri: str) -> str:
    match = TASK_FILE.search(uri)
    assert match is not None
    return match["stem"]
