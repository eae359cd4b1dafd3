"""Uploads of checkpoints to any fsspec URI while training continues.

Composer saves into a staging folder of this machine (`resume_from.py`) and notifies its loggers of each file
that a rank wrote. One logger, `CheckpointUploads`, uploads the file, deletes the local one, and keeps k
checkpoints at the URI.

Nothing at the URI marks a checkpoint as complete. A whole checkpoint is complete when its one file exists (an
object store shows a file whole or not at all), a sharded one when every file in its `.metadata` has its
length. A run that is killed during an upload leaves a damaged checkpoint; resuming reports it and takes the
one before, which is not removed before a newer one is complete.

Cost: disk for two checkpoints, and for the one that the run resumed from. A step waits for an upload only if
the last but one checkpoint is not uploaded yet.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from composer.core import State
from composer.loggers import LoggerDestination
from composer.utils import dist

from schemas import storage
from schemas.errors import TrainingError
from trainer.checkpoints.checkpoint_files import is_complete, list_checkpoints

_PAUSES_SEC = (1.0, 2.0, 4.0, 8.0)
"""Pauses between attempts; file systems retry by themselves within each."""


class CheckpointUploads(LoggerDestination):  # type: ignore[misc, unused-ignore]
    """Upload the checkpoints of a folder, and keep the newest ones at the URI.

    Args:
        folder: Local folder of the checkpoints.
        uri: Their URI; `{run_name}` filled in.
        keep: Complete checkpoints that stay there; -1 keeps all.
    """

    def __init__(self, folder: str, uri: str, *, keep: int):
        self.folder = folder
        self.uri = uri
        self.keep = keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-upload")
        self._uploads: list[Future[None]] = []
        self._checkpoint = ""

    def upload_file(
        self, state: State, remote_file_name: str, file_path: Path, *, overwrite: bool = False
    ) -> None:
        """Upload a file in the background; wait first, and raise errors, for an earlier checkpoint."""
        name = os.path.relpath(file_path, self.folder)
        if name.startswith(os.pardir):
            return  # a file of another callback
        checkpoint = name.split(os.sep)[0]
        if checkpoint != self._checkpoint:
            self.finish()
            self._checkpoint = checkpoint
        self._uploads.append(self._thread.submit(self._upload, name))

    def can_upload_files(self) -> bool:
        """Return False: this logger takes no files of other callbacks."""
        return False

    def finish(self) -> None:
        """Wait for the uploads in flight; raise the error of one that failed."""
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()

    def complete(self, *, sharded: bool) -> None:
        """Wait until the files of all ranks are uploaded, and remove old checkpoints.

        With sharded checkpoints every rank uploads files, else rank 0 alone.
        """
        self.finish()
        if sharded:
            dist.barrier()
            if dist.get_global_rank() == 0:
                self.remove_older()

    def remove_older(self) -> None:
        """Keep the newest k complete checkpoints at the URI, and all newer ones."""

        def remove() -> None:
            num_complete = 0
            for checkpoint in reversed(list_checkpoints(self.uri)):
                if 0 <= self.keep <= num_complete:
                    storage.remove_tree(checkpoint)
                elif is_complete(checkpoint):
                    num_complete += 1

        _attempt(f"older checkpoints at {self.uri} could not be removed", remove)

    def _upload(self, name: str) -> None:
        path, uri = os.path.join(self.folder, name), storage.join(self.uri, name)
        _attempt(f"checkpoint {uri} could not be uploaded", lambda: storage.upload(path, uri))
        os.remove(path)
        if os.path.dirname(name):
            with contextlib.suppress(OSError):  # it still has files of other ranks
                os.rmdir(os.path.dirname(path))
        if dist.get_global_rank() == 0:
            self.remove_older()


def _attempt(failure: str, call: Callable[[], None]) -> None:
    """Call a function with retries and backoff; raise a TrainingError if all attempts fail."""
    for pause in (*_PAUSES_SEC, None):
        try:
            call()
            return
        except Exception as error:  # each file system has errors of its own
            if pause is None:
                raise TrainingError(
                    f"{failure} in {len(_PAUSES_SEC) + 1} attempts: {type(error).__name__}: {error}. Check "
                    "that this machine may list, write and delete there, and resume."
                ) from error
            time.sleep(pause)
