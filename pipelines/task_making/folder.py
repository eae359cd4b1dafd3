"""Task directory: files of rows, a card, and the refused questions, put in place at once.

closed_book_choice.jsonl …     a task each; `tutelage eval --tasks DIR` takes them all
README.md                      card: how they were made, counts, refused questions by reason
refused.ndjson                 the refused questions, one JSON object a line; its name is not that of a task
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from pipelines.task_making.make import MadeTasks
from pipelines.task_making.rows import bare_row, origin
from pipelines.task_making.verify import CLOSED_BOOK_REASONS, REASONS, Refused
from schemas import storage
from schemas.errors import ConfigError

CARD = "README.md"
_MADE_BY = "tutelage tasks make"
_WHAT = {
    "closed_book_choice": "questions without their text, four options",
    "closed_book_short": "questions without their text, short answers",
    "reading_choice": "questions with their text, four options",
    "reading_short": "questions with their text, short answers",
    "heldout_reading_choice": "questions about held-out documents, with their text, four options",
    "heldout_reading_short": "questions about held-out documents, with their text, short answers",
}


def check_output(folder: str) -> None:
    """Refuse a folder that cannot become a task directory.

    Raises:
        ConfigError: It is on a store, or it holds files that are no tasks of this command.
    """
    if "://" in folder:
        raise ConfigError(
            f"--output is {folder!r}; expected a local directory. Copy it to a store afterwards."
        )
    if not os.path.exists(folder) or (os.path.isdir(folder) and not os.listdir(folder)):
        return
    try:
        with open(os.path.join(folder, CARD), encoding="utf-8") as file:
            is_ours = f"made_by: {_MADE_BY}\n" in file.read(1 << 12)
    except (OSError, UnicodeDecodeError):
        is_ours = False
    if not is_ours:
        raise ConfigError(
            f"--output {folder!r} holds files that {_MADE_BY} did not make and would replace. Give a "
            "new or empty directory."
        )


def as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return "".join(lines).encode("utf-8", "backslashreplace")  # JSON escapes for lone surrogates


def files_of(made: MadeTasks) -> dict[str, bytes]:
    """Contents of a task directory by file name."""
    records = [
        {"reason": reason, **bare_row(question), "provenance": origin(question)}
        for reason, questions in made.refused.items()
        for question in questions
    ]
    return {
        **{f"{name}.jsonl": as_lines(rows) for name, rows in made.tasks.items()},
        "refused.ndjson": as_lines(records),
        CARD: _card(made).encode("utf-8", "replace"),
    }


def write_folder(folder: str, files: Mapping[str, bytes], *, before: Callable[[], None]) -> None:
    """Write files to a temporary sibling folder, call `before`, and put it in place of the folder.

    Raises:
        ConfigError: The folder cannot be written.
    """
    folder = os.path.abspath(folder)
    parent, name = os.path.split(folder)
    temporary = os.path.join(parent, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        os.makedirs(temporary)
        for file, content in files.items():
            with open(os.path.join(temporary, file), "wb") as opened:
                opened.write(content)
        storage.sync_tree(temporary)
        before()
        storage.replace_folder(temporary, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder!r} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _card(made: MadeTasks) -> str:
    corpus = made.made_from["corpus"]
    front = {
        "pretty_name": f"Questions about {corpus}",
        "license": "unknown",
        "made_by": _MADE_BY,
        "tags": ["tutelage", "evaluation"],
        "configs": [{"config_name": name, "data_files": f"{name}.jsonl"} for name in made.tasks],
    }
    how = {**made.made_from, "version": f"tutelage {importlib.metadata.version('tutelage')}"}
    tasks = [
        (name, f"{len(rows):,}", _WHAT.get(name, "held-out documents, for perplexity"))
        for name, rows in made.tasks.items()
    ]
    sections = (
        f"# Questions about {_code(corpus)}",
        "The texts keep the licenses of their sources; put the right one in place of `unknown` above.",
        "## How they were made",
        _table(("what", "value"), [(name, _code(value)) for name, value in how.items()]),
        "## Tasks",
        _table(("task", "rows", "what it asks"), tasks),
        "## Refused questions",
        "They are in `refused.ndjson`.",
        _reasons(REASONS, made.refused),
        "## Asked with their text only",
        _reasons(CLOSED_BOOK_REASONS, made.text_only),
    )
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return "\n\n".join((f"---\n{head}---", *sections)) + "\n"


def _reasons(meanings: Mapping[str, str], found: Refused) -> str:
    rows = [(name, meaning, f"{len(found.get(name, ())):,}") for name, meaning in meanings.items()]
    return _table(("reason", "meaning", "questions"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
