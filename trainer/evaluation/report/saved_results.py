"""File of `tutelage eval --output`: written after each task, and read by a run that continues it.

    {"settings": {…}, "models": {NAME: {"state": …, "tasks": [{…, "answers": […]}]}}, "comparisons": […]}

The result of a task is used again if the settings, the model's files and the task's rows are the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from plugins.adapter_folder import base_of
from schemas import storage
from schemas.content_hash import digest
from schemas.crash_messages import understood
from schemas.errors import ConfigError, TutelageError

SCORING = 2
"""Version of the scoring; results of another version are refused."""


class _Task(pydantic.BaseModel):
    task: str


class _Model(pydantic.BaseModel):
    state: str
    tasks: list[_Task]


class _Found(pydantic.BaseModel):
    key: str
    tasks: dict[str, dict[str, Any]]


class _Saved(pydantic.BaseModel):
    """The fields of the file that a continued run needs; `Evaluator.restored` checks the rest of a task."""

    settings: dict[str, Any]
    models: dict[str, _Model]
    found_rows: _Found | None = None


class SavedRun:
    """Results so far, and their file.

    Attributes:
        problem: Why the results could not be written; None if they could.

    Args:
        uri: The file; None keeps results only in memory.
        settings: All that answers depend on, beside model and rows.
        writes: Whether this process writes; one of several processes does.

    Raises:
        ConfigError: The file exists and holds something else, or results of other settings.
    """

    def __init__(self, uri: str | None, settings: Mapping[str, Any], *, writes: bool = True):
        self.uri = uri
        self.writes = writes
        self.settings = dict(settings)
        self.problem: TutelageError | None = None
        self._models: dict[str, dict[str, Any]] = {}
        self._found: dict[str, Any] = {}
        if uri is None or not storage.exists(uri):
            return
        try:
            found = json.loads(storage.read_bytes(uri))
            _Saved.model_validate(found)
            earlier, self._models = found["settings"], found["models"]
            self._found = found.get("found_rows", {})
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"--output {uri!r} exists and holds no evaluation to continue. Name another file."
            ) from error
        for name, value in self.settings.items():
            if earlier.get(name) != value:
                raise ConfigError(
                    f"--output {uri!r} holds results {_other(name, earlier.get(name), value)}. Name another "
                    "file, or remove that one."
                )

    def task(self, model: str, name: str) -> dict[str, Any] | None:
        """The saved result of a task, if the model's files are unchanged."""
        known = self._models.get(model)
        if known is None or known["state"] != model_state(model):
            return None
        return next((task for task in known["tasks"] if task["task"] == name), None)

    def add(self, model: str, result: Mapping[str, Any]) -> None:
        """Add a task's result and write the file."""
        state = model_state(model)
        known = self._models.setdefault(model, {"state": state, "tasks": []})
        if known["state"] != state:
            known.update(state=state, tasks=[])
        known["tasks"] = [task for task in known["tasks"] if task["task"] != result["task"]]
        known["tasks"].append(dict(result))
        self.write()

    def found(self, key: str) -> dict[str, dict[str, str]] | None:
        """Rows that were found in the training text, if the search had the same key."""
        return self._found["tasks"] if self._found.get("key") == key else None

    def keep_found(self, key: str, found: Mapping[str, Mapping[str, str]]) -> None:
        """Save the rows that were found in the training text, with the key of the search."""
        self._found = {"key": key, "tasks": found}
        self.write()

    def write(self, comparisons: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write the file, if this process writes one; a failure is a warning, and the scores are printed."""
        if self.uri is None or not self.writes:
            return
        whole = {"settings": self.settings, "models": self._models, "comparisons": list(comparisons)}
        if self._found:
            whole["found_rows"] = self._found
        text = json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
        try:
            storage.write_bytes(self.uri, text.encode("utf-8", "surrogatepass"))
            self.problem = None
        except (OSError, TutelageError) as error:
            ours = understood(error)
            if self.problem is None:
                print(
                    f"Warning: --output {self.uri!r} cannot be written: {ours}", file=sys.stderr, flush=True
                )
            self.problem = TutelageError(f"--output {self.uri!r} could not be written; see above.")


def _other(name: str, earlier: Any, now: Any) -> str:
    """The difference between a setting of saved results and the command's, in the words of the options."""
    if name == "scoring":
        return "of an earlier version, which scores otherwise"
    if name == "chat_template_digest":
        return "with another text of the file that --chat-template names"
    option = f"--{name.replace('_', '-')}"
    was, given = (
        option if value is True else f"{option} {value if isinstance(value, int) else repr(value)}"
        for value in (earlier, now)
    )
    if now is None:
        return f"with {was}, and this command has none"
    return f"{'without ' + option if earlier is None else 'with ' + was}, and this command has {given}"


def model_state(name: str) -> str:
    """Hash of names, sizes and times of the files in a model's directory; a Hub name stands for itself."""
    if not os.path.isdir(name):
        return name
    files = sorted(path for path in Path(name).iterdir() if path.is_file())
    states = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    if base := base_of("--model", name):  # the name is an adapter's folder
        states.append(model_state(base))
    return digest(*states)
