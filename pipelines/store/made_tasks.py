"""Made tasks: questions about a corpus that its later builds keep out, in made-tasks/<name>.jsonl.

A build reads these files as if `decontaminate.tasks` named them. They lie in the corpus, where workers on
other machines reach them. They change no increment: only new and changed documents, and the pairs about them,
are compared with the questions.
"""

from __future__ import annotations

from pipelines.increments.lease import held, new_token
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import MADE_TASKS, made_tasks_uri, names_in
from schemas.errors import CorpusError


def register(corpus: str, name: str, rows: bytes) -> None:
    """Store the rows of some made tasks, in place of earlier ones of this name; no rows remove these.

    Raises:
        CorpusError: Another run is at work on the corpus.
    """
    with held(corpus, new_token()):
        if rows:
            storage.write_bytes(made_tasks_uri(corpus, name), rows)
        else:
            storage.remove_tree(made_tasks_uri(corpus, name))


def registered(corpus: str) -> list[str]:
    """URIs of the made tasks of a corpus, sorted.

    Raises:
        CorpusError: The corpus cannot be read.
    """
    folder = storage.join(corpus, MADE_TASKS)
    try:
        return [storage.join(folder, name) for name in names_in(folder) if name.endswith(".jsonl")]
    except OSError as error:
        raise CorpusError(
            f"{corpus}: cannot be read: {error}. Check `corpus` and its permissions."
        ) from error


def with_made_tasks(config: CorpusConfig) -> tuple[CorpusConfig, list[str]]:
    """Add the made tasks of a corpus to `decontaminate.tasks`; return them as well."""
    made = registered(config.corpus)
    tasks = {"tasks": tuple(dict.fromkeys((*config.decontaminate.tasks, *made)))}
    changed = config.decontaminate.model_copy(update=tasks)
    return (config.model_copy(update={"decontaminate": changed}) if made else config), made
