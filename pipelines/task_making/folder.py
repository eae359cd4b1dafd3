"""Task directory: files of rows, a card, and the questions left out, put in place at once.

closed_book_choice.jsonl …     a task each; `tutelage eval --tasks DIR` takes them all
README.md                      card: how they were made, counts, questions left out by reason
refused.ndjson                 the questions left out, one JSON object a line; its name is not that of a task
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from pipelines.store.dataset_card import code, table
from pipelines.task_making.make import MadeTasks
from pipelines.task_making.rows import PERPLEXITY, QUESTION_TASKS, bare_row, provenance
from plugins.tokenizers import write_files
from schemas import storage
from schemas.errors import ConfigError

_CARD, _LEFT_OUT = "README.md", "refused.ndjson"


def check_output(folder: str) -> int:
    """Refuse a folder that cannot become a task directory; return the number of earlier tasks' files in it.

    Raises:
        ConfigError: It is on a store, is a file, cannot be written, or holds files that are no tasks of this
            command.
    """
    if not folder or "://" in folder or os.path.isfile(folder):
        raise ConfigError(f"--output is {folder!r}; expected a local directory.")
    held = os.listdir(folder) if os.path.isdir(folder) else []
    ours = {_CARD, _LEFT_OUT, *(f"{name}.jsonl" for name in QUESTION_TASKS)}
    others = [name for name in held if name not in ours and not name.startswith(PERPLEXITY)]
    if held and (others or _LEFT_OUT not in held):
        raise ConfigError(
            f"--output {folder!r} holds {(others or held)[0]!r}, which `tutelage tasks make` did not write "
            "and would remove. Give a new or empty directory."
        )
    parent = os.path.dirname(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise ConfigError(f"--output {folder!r} cannot be written: {error}.") from error
    return len(held)


def as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return "".join(lines).encode("utf-8", "backslashreplace")  # JSON escapes for lone surrogates


def write_folder(folder: str, made: MadeTasks) -> None:
    """Write the tasks in place of a folder; a StorageError if its disk is full."""
    left_out = (
        {"reason": reason, **bare_row(question), "provenance": provenance(question)}
        for reason, questions in made.left_out.items()
        for question in questions
    )
    files = {f"{name}.jsonl": as_lines(rows) for name, rows in made.tasks.items()}
    files |= {_LEFT_OUT: as_lines(left_out), _CARD: _card(made).encode("utf-8", "replace")}
    with storage.naming(folder), storage.new_folder(folder) as temporary:
        write_files(temporary, files)


def _card(made: MadeTasks) -> str:
    corpus = made.made_from["corpus"]
    front = {
        "pretty_name": f"Questions about {corpus}",
        "license": "unknown",
        "tags": ["tutelage", "evaluation"],
        "configs": [{"config_name": name, "data_files": f"{name}.jsonl"} for name in made.tasks],
    }
    how = {**made.made_from, "version": f"tutelage {importlib.metadata.version('tutelage')}"}
    of_texts = "held-out documents, for perplexity"
    tasks = [(name, len(rows), QUESTION_TASKS.get(name, of_texts)) for name, rows in made.tasks.items()]
    left_out = [(reason, len(questions)) for reason, questions in made.left_out.items()]
    sections = (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# Questions about {code(corpus)}",
        "The texts keep the licenses of their sources; put the right one in place of `unknown` above.",
        "## How they were made",
        table(("what", "value"), [(name, code(value)) for name, value in how.items()]),
        "## Tasks",
        table(("task", "rows", "what it asks"), tasks),
        f"## Questions left out, in `{_LEFT_OUT}`",
        table(("reason", "questions"), left_out),
    )
    return "\n\n".join(sections) + "\n"
