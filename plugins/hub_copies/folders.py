"""Models and evaluation tasks on the hub: the files of one folder that belong to their kind."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Sequence

from plugins.hub_copies.copied import Copied, say_local_paths
from plugins.hub_copies.repository import Repository, Upload, drop_download_notes, missing_in
from schemas import storage
from schemas.errors import ConfigError

Say = Callable[[str], None]


class _FolderCopy:
    """Push and pull of a folder; other files than PATTERNS stay where they are, and are named.

    Attributes:
        KIND: What the folder holds.
        PATTERNS: Its files, relative to the folder.
        REQUIRED: Patterns of which one must match a file.
    """

    KIND: str
    PATTERNS: tuple[str, ...]
    REQUIRED: tuple[str, ...]

    @classmethod
    def push(
        cls, place: str, repository: Repository, *, public: bool, extras: Sequence[str], say: Say
    ) -> Copied:
        """Send what the repository lacks of a local or remote folder, in one or more commits.

        Raises:
            ConfigError: `place` is no such folder, or the hub refuses.
            MachineError: The hub cannot be reached, or fails.
        """
        fs, root = storage.filesystem(place.rstrip("/"))
        found = sorted(path.removeprefix(root).lstrip("/") for path in fs.find(root))
        wanted = cls._chosen(found, place, extras, say)
        files = [Upload(path, storage.join(place, path)) for path in wanted]
        say_local_paths(files, say)
        repository.open_to_write(public=public)
        missing, other = missing_in(repository.files(), files)
        to_send = {*other, *(file.path for file in missing)}
        sent = repository.send(
            [file for file in files if file.path in to_send], message=f"Tutelage: {cls.KIND}", say=say
        )
        return Copied(kind=cls.KIND, repository=repository.name, num_files=len(files), num_copied=sent)

    @classmethod
    def pull(
        cls, repository: Repository, folder: str, *, commit: str, extras: Sequence[str], say: Say
    ) -> Copied:
        """Download into `FOLDER.pulling`, which becomes the folder when all files are there.

        Raises:
            ConfigError: The folder exists, the repository is no such one, or the hub refuses.
            MachineError: The hub cannot be reached, or fails.
        """
        if os.path.exists(folder):
            raise ConfigError(f"{folder} exists. Remove it, or pull into another folder.")
        wanted = cls._chosen(sorted(repository.files(commit)), repository.name, extras, say)
        partial = f"{folder}.pulling"
        repository.fetch(partial, wanted, commit, say=say)
        drop_download_notes(partial)
        storage.sync_tree(partial)
        os.rename(partial, folder)
        return Copied(
            kind=cls.KIND, repository=repository.name, num_files=len(wanted), num_copied=len(wanted)
        )

    @classmethod
    def _chosen(cls, found: Iterable[str], where: str, extras: Sequence[str], say: Say) -> list[str]:
        if extras:
            raise ConfigError(f"--with {extras[0]} is for a corpus; {where} holds {cls.KIND}. Leave it out.")
        paths = [path for path in found if path != ".gitattributes" and not path.startswith(".cache/")]
        chosen = [path for path in paths if any(_matches(path, pattern) for pattern in cls.PATTERNS)]
        if not any(_matches(path, pattern) for path in chosen for pattern in cls.REQUIRED):
            raise ConfigError(f"{where}: holds no {cls.KIND}: it has none of {', '.join(cls.REQUIRED)}.")
        if left := [path for path in paths if path not in {*chosen}]:
            named = ", ".join(left[:5]) + (", …" if left[5:] else "")
            say(f"{where}: {len(left):,} files left out, which are no part of {cls.KIND}: {named}")
        return chosen


class ModelCopy(_FolderCopy):
    """A model, adapter or tokenizer as `tutelage export` writes it; no code and no pickled weights."""

    KIND = "model"
    PATTERNS = (
        "*.safetensors",
        "*.json",
        "*.txt",
        "*.model",
        "*.jinja",
        "*.md",
        "LICENSE",
        "additional_chat_templates/*.jinja",
    )
    REQUIRED = ("config.json", "adapter_config.json", "tokenizer_config.json")


class TasksCopy(_FolderCopy):
    """A folder of evaluation tasks."""

    KIND = "tasks"
    PATTERNS = ("*.jsonl", "*.yaml", "*.yml", "*.md", "LICENSE")
    REQUIRED = ("*.jsonl", "*.yaml", "*.yml")


def _matches(path: str, pattern: str) -> bool:
    """True if a path of as many parts as the pattern matches it."""
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
