"""Made tasks: rows of evaluation tasks that were made about a corpus and that its builds keep out.

made-tasks/<name>.json               name, digest and names of the files; written last
made-tasks/<name>/<digest>/<file>    the rows

A build reads the registered files as if `decontaminate.tasks` named them. They lie in the corpus, where
workers on other machines reach them. A registration changes no increment: only new and changed documents,
and the pairs about them, are compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import pydantic

from pipelines.increments.lease import held, new_token
from plugins.tasks.decontamination_rows import read_tasks
from schemas import storage
from schemas.content_hash import digest
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import MADE_TASKS, made_tasks_folder, made_tasks_uri, names_in
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import read_manifest
from schemas.validation import Name, Strict, explain, read_json


class _Registration(Strict):
    """Content of a registration."""

    name: Name
    rows: Name  # folder of its files
    files: tuple[Name, ...]


def register(corpus: str, name: str, files: Mapping[str, bytes]) -> None:
    """Store the row files of some made tasks, in place of an earlier registration of the name.

    Args:
        corpus: A published corpus.
        name: Name of the registration: letters, digits, `-`, `_` and `.`.
        files: Contents of the files by name, in the formats of `decontaminate.tasks`.

    Raises:
        CorpusError: There is no such corpus, or another run is at work on it.
        ConfigError: A name is refused, or a file has no row that a build can keep out. The earlier
            registration stays.
    """
    read_manifest(corpus)
    rows = digest(*(part for file in sorted(files.items()) for part in file))
    try:
        content = _Registration(name=name, rows=rows, files=tuple(sorted(files)))
    except pydantic.ValidationError as error:
        raise ConfigError(f"made tasks {name!r}: {explain(error)}. Choose another name.") from None
    with held(corpus, new_token()) as lease:
        folder = made_tasks_folder(corpus, name)
        uris = {file: storage.join(folder, content.rows, file) for file in content.files}
        for file, uri in uris.items():
            storage.write_bytes(uri, files[file])
        try:
            read_tasks(list(uris.values()))
            lease.check()
            storage.write_bytes(made_tasks_uri(corpus, name), content.model_dump_json().encode())
        finally:
            _remove_unnamed(corpus, name)


def forget(corpus: str, name: str) -> None:
    """Remove a registration: later builds do not keep its rows out any more.

    Raises:
        CorpusError: There is no such registration, or another run is at work on the corpus.
    """
    if name not in _names(corpus):
        known = ", ".join(_names(corpus)) or "none"
        raise CorpusError(f"{corpus}: has no made tasks {name!r}. Registered: {known}.")
    with held(corpus, new_token()):
        storage.remove_file(made_tasks_uri(corpus, name))
        storage.remove_tree(made_tasks_folder(corpus, name))


def registered(corpus: str) -> list[str]:
    """URIs of the row files of all registrations, sorted.

    Raises:
        CorpusError: A registration is damaged.
    """
    return [uri for name in _names(corpus) for uri in _files_of(corpus, name)]


def with_made_tasks(config: CorpusConfig) -> tuple[CorpusConfig, list[str]]:
    """Add the registered tasks of a corpus to `decontaminate.tasks`; return them as well.

    Raises:
        CorpusError: The corpus cannot be read, or a registration is damaged.
    """
    try:
        made = registered(config.corpus)
    except OSError as error:
        raise CorpusError(
            f"{config.corpus}: cannot be read: {error}. Check `corpus` and its permissions."
        ) from error
    tasks = {"tasks": tuple(dict.fromkeys((*config.decontaminate.tasks, *made)))}
    changed = config.decontaminate.model_copy(update=tasks)
    return (config.model_copy(update={"decontaminate": changed}) if made else config), made


def _names(corpus: str) -> list[str]:
    names = names_in(storage.join(corpus, MADE_TASKS))
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def _files_of(corpus: str, name: str) -> list[str]:
    found: _Registration = read_json(made_tasks_uri(corpus, name), _Registration)
    folder = storage.join(made_tasks_folder(corpus, name), found.rows)
    return [storage.join(folder, file) for file in found.files]


def _remove_unnamed(corpus: str, name: str) -> None:
    """Remove rows that a registration does not name: those that were replaced, refused or left by a crash."""
    folder = made_tasks_folder(corpus, name)
    named = _files_of(corpus, name) if name in _names(corpus) else []
    for rows in names_in(folder):
        if not any(uri.startswith(storage.join(folder, rows) + "/") for uri in named):
            storage.remove_tree(storage.join(folder, rows))
