"""Choice of the checkpoint that a run resumes or starts from, and its place on this machine.

With `autoresume` that is the newest sound checkpoint of `save_folder`. Checkpoints are read newest first,
every byte against its checksum; damaged ones get another name, and Composer's link `latest-rank0.pt` points
to the newest sound one.

torch reads and writes checkpoints at local paths. If `save_folder` or `load_path` is a URI, checkpoints are
fetched into a staging folder, and new ones are written there and uploaded (`uploads.py`). The staging folder
lies beside the cache of shards; its name is a hash of machine and save_folder.

    claim      on each machine    locks and empties the staging folder
    settle     on rank 0          chooses the checkpoint, and fetches it to check it
    fetch      on other machines  fetches the same checkpoint
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import shutil
import socket
import time
from typing import IO

from schemas import storage
from schemas.content_hash import digest
from schemas.errors import ConfigError, TrainingError
from schemas.train_config import TrainConfig
from trainer.checkpoints.checkpoint_files import (
    check_checkpoint,
    fetch_checkpoint,
    find_damage,
    list_checkpoints,
)
from trainer.data.cache_folder import default_staging_dir, private_folder
from trainer.reporting.announce import announce

LATEST = "latest-rank0.pt"

_WAIT_SEC = 15.0
"""Reader processes of a killed run notice its end, and release the lock, within 5 s."""


def fill_in_places(config: TrainConfig) -> TrainConfig:
    """Put the run's name into `save_folder` and `load_path`, and remove `file://`.

    Raises:
        ConfigError: fsspec does not know such a URI, or lacks a package for it.
    """
    places: dict[str, str | None] = {"save_folder": config.save_folder, "load_path": config.load_path}
    for key, place in places.items():
        if place:
            place = place.replace("{run_name}", config.run_name)
            try:
                path = storage.filesystem(place)[1]
            except ConfigError as error:
                raise ConfigError(f"{key}: {error}") from error
            places[key] = path if place.startswith("file://") else place
    return config.model_copy(update=places)


def settle_checkpoints(folder: str, copies: str | None = None) -> str | None:
    """Choose the newest sound checkpoint, point `latest` at it, and set damaged newer ones aside.

    Args:
        folder: Directory or URI of one run's checkpoints; may be missing.
        copies: Local folder for copies, and for `latest`, if the checkpoints are not local.

    Returns:
        The checkpoint to resume from, in `folder`; None if the run begins anew.

    Raises:
        TrainingError: There are several and none is sound, or one cannot be fetched.
    """
    newest, damages = find_sound(folder, copies)
    if newest is None and len(damages) > 1:
        raise TrainingError(
            "\n".join(damages.values())
            + "\nNo sound checkpoint is left. Restore one, or give another save_folder."
        )
    for path, message in damages.items():
        aside = _set_aside(path)
        announce(f"{message}. Renamed to {os.path.basename(aside)}; the run resumes from the one before it.")
    _point_latest(folder if copies is None else copies, newest)
    return newest


def find_sound(folder: str, copies: str | None = None) -> tuple[str | None, dict[str, str]]:
    """Return the newest sound checkpoint of a folder, and the damage of each newer one.

    Checkpoints that are not local are copied into `copies`; the copy of the sound one stays there.
    """
    damages: dict[str, str] = {}
    for path in reversed(list_checkpoints(folder)):
        local = path if copies is None else fetch_checkpoint(path, copies)
        damage = find_damage(local)
        if damage is None:
            return path, damages
        if copies is not None:
            storage.remove_tree(local)
        damages[path] = f"checkpoint {path} is damaged: {damage}"
    return None, damages


def _set_aside(path: str) -> str:
    fs, source = storage.filesystem(path)
    aside = f"{path}.damaged"
    number = 1
    while storage.exists(aside):
        number += 1
        aside = f"{path}.damaged-{number}"
    fs.mv(source, storage.filesystem(aside)[1], recursive=fs.isdir(source))
    return aside


def _point_latest(folder: str, path: str | None) -> None:
    """Replace the link atomically; Composer removes it first, and a crash may leave it missing."""
    link = os.path.join(folder, LATEST)
    if path is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(link)
        return
    target = os.path.basename(path)
    if os.path.islink(link) and os.readlink(link) == target:
        return
    temporary = f"{link}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.remove(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    storage.sync(folder)


class RunCheckpoints:
    """Checkpoints of one run, as one of its processes sees them.

    Attributes:
        save_folder: Their folder or URI; empty if none are saved.
        local_folder: Local folder in which Composer saves; None if none are saved.
        newest: The one to resume from, in `save_folder`; None if the run begins anew.
        are_uploaded: Whether they are saved in a staging folder and uploaded.
        are_fetched: Whether the first checkpoint may have to be fetched.

    Args:
        config: The run's, its places filled in.
    """

    def __init__(self, config: TrainConfig):
        self.save_folder = config.save_folder or ""
        self.newest: str | None = None
        self.are_uploaded = not storage.is_local(self.save_folder)
        self._remote_load = bool(config.load_path) and not storage.is_local(config.load_path or "")
        self.are_fetched = self.are_uploaded or self._remote_load
        self._load_path = config.load_path
        self._autoresume = config.autoresume
        self._name = self.save_folder or f"run {config.run_name}"
        cache_dir = config.train_loader.dataset.cache_dir or default_staging_dir()
        # Machines may share the cache, and each has checkpoints of its own ranks.
        name = digest(f"{socket.gethostname()} {self._name}", size_bytes=8)
        self._staging = os.path.join(cache_dir, "checkpoints", name)
        self._loaded = os.path.join(self._staging, "loaded")
        self.local_folder = os.path.join(self._staging, "saved") if self.are_uploaded else config.save_folder
        self._lock: IO[str] | None = None

    @property
    def load_path(self) -> str | None:
        """Return the local path of the checkpoint to start from, unless the run resumes its own."""
        if self._load_path is None or not self._remote_load:
            return self._load_path
        return os.path.join(self._loaded, posixpath.basename(_of_rank_zero(self._load_path)))

    @property
    def begins_from(self) -> str | None:
        """Return the local path of the checkpoint to resume or start from; of whole ones rank 0's."""
        if self.newest is None:
            return None if self.load_path is None else _of_rank_zero(self.load_path)
        if self.are_uploaded:
            return os.path.join(str(self.local_folder), posixpath.basename(self.newest))
        return self.newest

    def claim(self, wait_sec: float = _WAIT_SEC) -> None:
        """Lock the staging folder, if one is needed, until this process ends, and empty it.

        Raises:
            TrainingError: Another process on this machine holds the lock.
        """
        if not self.are_fetched:
            return
        checkpoints = os.path.dirname(self._staging)
        private_folder(os.path.dirname(checkpoints))
        private_folder(checkpoints)
        lock = open(f"{self._staging}.lock", "w")  # noqa: SIM115 - open for as long as it is held
        until = time.monotonic() + wait_sec
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    lock.close()
                    raise TrainingError(
                        f"another process on this machine trains with the checkpoints of {self._name}. End "
                        "it, or give another run_name or save_folder."
                    ) from None
                time.sleep(0.2)
        self._lock = lock
        shutil.rmtree(self._staging, ignore_errors=True)

    def settle(self) -> None:
        """Choose the checkpoint to resume or start from, check it, and fetch it.

        Raises:
            TrainingError: No checkpoint is sound, or the run would overwrite another run's checkpoints.
        """
        if self._autoresume:
            self.newest = settle_checkpoints(
                self.save_folder, self.local_folder if self.are_uploaded else None
            )
        elif self.are_uploaded and list_checkpoints(self.save_folder):
            raise self.in_the_way()
        if self._load_path and not self.newest:
            check_checkpoint(self._load_path, self._loaded if self._remote_load else None)

    def fetch(self) -> None:
        """Fetch the checkpoint that rank 0 chose on another machine."""
        if self.newest and self.are_uploaded:
            assert self.local_folder is not None
            fetch_checkpoint(self.newest, self.local_folder)
            _point_latest(self.local_folder, self.newest)
        elif self._load_path and not self.newest and self._remote_load:
            fetch_checkpoint(_of_rank_zero(self._load_path), self._loaded)

    def release(self) -> None:
        """Remove the staging folder, if this process holds its lock."""
        if self._lock is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def in_the_way(self) -> TrainingError:
        """Return the error of a run that would overwrite the checkpoints of another."""
        return TrainingError(
            f"save_folder {self.save_folder!r} holds checkpoints of an earlier run. Set autoresume: true to "
            "resume that run, or give another run_name or save_folder."
        )


def _of_rank_zero(path: str) -> str:
    return path.replace("{rank}", "0")
