"""Where a run's checkpoints are, and where on this machine Composer finds them.

torch reads and writes checkpoints at local paths. If `save_folder` or `load_path` is at another URI, what is
there is fetched into a staging folder to be read, and what is saved is written there to be uploaded (see
`remote_checkpoints.py`). It lies beside the cache of shards, under a name made of machine and save_folder.

    claim      on each machine    the folder is this run's, and empty
    settle     on rank 0          the newest sound checkpoint is found, and fetched to be looked at
    fetch      on other machines  the same checkpoint is fetched
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import shutil
import socket
import time
from collections.abc import Callable
from typing import IO

from schemas import storage
from schemas.errors import ConfigError, TrainingError
from schemas.records import digest
from schemas.train_config import TrainConfig
from trainer.checkpoints.checkpoint_files import (
    check_checkpoint,
    fetch_checkpoint,
    list_checkpoints,
    point_latest,
    settle_checkpoints,
)
from trainer.data.cache_folder import default_staging_dir, private_folder

_WAIT_SEC = 15.0
"""Reader processes of a run that was killed notice it, and let go of the lock, within 5 s."""


def fill_in_places(config: TrainConfig) -> TrainConfig:
    """Fill the run's name into `save_folder` and `load_path`, and take `file://` off.

    Raises:
        ConfigError: fsspec does not know such a URI, or lacks what it needs for it.
    """
    places: dict[str, str | None] = {"save_folder": config.save_folder, "load_path": config.load_path}
    for key, place in places.items():
        if place:
            place = place.replace("{run_name}", config.run_name)
            try:
                path = storage.filesystem(place)[1]
            except (ValueError, ImportError) as error:
                raise ConfigError(f"{key} is {place!r}: {error}.") from error
            places[key] = path if place.startswith("file://") else place
    return config.model_copy(update=places)


class RunCheckpoints:
    """The checkpoints of one run, as one of its processes sees them.

    Attributes:
        save_folder: Their folder or URI; empty if none are saved.
        local_folder: Local folder that Composer saves in; None if none are saved.
        newest: The one to go on from, under `save_folder`; None if the run begins anew.

    Args:
        config: The run's, its places filled in.
    """

    def __init__(self, config: TrainConfig):
        self.save_folder = config.save_folder or ""
        self.newest: str | None = None
        self._load_path = config.load_path
        self._autoresume = config.autoresume
        self._name = self.save_folder or f"run {config.run_name}"
        cache_dir = config.train_loader.dataset.cache_dir or default_staging_dir()
        # Machines may share the cache, and each has checkpoints of its own ranks.
        name = digest(f"{socket.gethostname()} {self._name}", size_bytes=8)
        self._staging = os.path.join(cache_dir, "checkpoints", name)
        self._loaded = os.path.join(self._staging, "loaded")
        saved = os.path.join(self._staging, "saved") if self.are_uploaded else config.save_folder
        self.local_folder = saved
        self._lock: IO[str] | None = None

    @property
    def are_uploaded(self) -> bool:
        """Whether they are saved here first, and then go elsewhere."""
        return not storage.is_local(self.save_folder)

    @property
    def are_fetched(self) -> bool:
        """Whether what the run starts from may have to be fetched."""
        return self.are_uploaded or not storage.is_local(self._load_path or "")

    @property
    def load_path(self) -> str | None:
        """Local path of what the run starts from, unless it goes on from one of its own."""
        if self._load_path is None or storage.is_local(self._load_path):
            return self._load_path
        return os.path.join(self._loaded, posixpath.basename(_of_rank_zero(self._load_path)))

    @property
    def begins_from(self) -> str | None:
        """Local path of the checkpoint that the run goes on or starts from; of whole ones rank 0's."""
        if self.newest is None:
            return None if self.load_path is None else _of_rank_zero(self.load_path)
        if self.are_uploaded:
            return os.path.join(str(self.local_folder), posixpath.basename(self.newest))
        return self.newest

    def claim(self, wait_sec: float = _WAIT_SEC) -> None:
        """Take the staging folder, if one is needed, until this process ends, and empty it.

        Raises:
            TrainingError: Another process on this machine has it.
        """
        if not self.are_fetched:
            return
        self._make_private()
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

    def _make_private(self) -> None:
        checkpoints = os.path.dirname(self._staging)
        private_folder(os.path.dirname(checkpoints))
        private_folder(checkpoints)

    def settle(self, say: Callable[[str], None]) -> None:
        """Find what to start from, see that it is whole, and have it here.

        Args:
            say: Told of every damaged checkpoint.

        Raises:
            TrainingError: Nothing sound is left, or checkpoints are there that the run may not replace.
        """
        if self._autoresume:
            copies = self.local_folder if self.are_uploaded else None
            self.newest = settle_checkpoints(self.save_folder, say, copies)
        elif self.are_uploaded and list_checkpoints(self.save_folder):
            raise self.in_the_way()
        if self._load_path and not self.newest:
            local = storage.is_local(self._load_path)
            check_checkpoint(self._load_path, None if local else self._loaded)

    def fetch(self) -> None:
        """Have here what another machine settled on."""
        if self.newest and self.are_uploaded:
            assert self.local_folder is not None
            fetch_checkpoint(self.newest, self.local_folder)
            point_latest(self.local_folder, self.newest)
        elif self._load_path and not self.newest and not storage.is_local(self._load_path):
            fetch_checkpoint(_of_rank_zero(self._load_path), self._loaded)

    def release(self) -> None:
        """Remove the staging folder, if this process has it."""
        if self._lock is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def in_the_way(self) -> TrainingError:
        """What a run is told that would write over the checkpoints of another."""
        return TrainingError(
            f"save_folder {self.save_folder!r} holds checkpoints of an earlier run. Set autoresume: true to "
            "go on with it, or give another run_name or save_folder."
        )


def _of_rank_zero(path: str) -> str:
    return path.replace("{rank}", "0")
