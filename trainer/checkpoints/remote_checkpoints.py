"""Checkpoints at any fsspec URI: saved on this machine, uploaded while training goes on.

Composer saves into a staging folder of this machine (`local_folder.py`) and tells its loggers of each file
that a rank wrote. One of them, `CheckpointUploads`, uploads it, deletes it here, and keeps k checkpoints
there.

Nothing at the URI marks a checkpoint as complete: a whole one is there when its one file is (an object
store shows a file whole or not at all), a sharded one when every file that its `.metadata` names has the
length it needs. So a run that is killed in the middle of an upload leaves a checkpoint that is named as
damaged, and the one before it, which is not removed before a newer one is complete, is used.

Cost: disk for two checkpoints, and for the one that a run went on from; a step waits for an upload only
if the checkpoint before the one just saved is not uploaded yet.
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
"""Between attempts to upload; file systems try again by themselves within each."""


class CheckpointUploads(LoggerDestination):  # type: ignore[misc, unused-ignore]
    """Uploads what Composer saves in a folder, and keeps the newest checkpoints at the URI.

    Args:
        folder: Local folder in which checkpoints are saved.
        uri: Where they go; `{run_name}` filled in.
        keep: How many complete ones stay there; -1 keeps all.
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
        """Begin to upload a file of a checkpoint, once those of the checkpoint before are uploaded.

        Raises:
            TrainingError: One of those could not be.
        """
        name = os.path.relpath(file_path, self.folder)
        if name.startswith(os.pardir):
            return  # no checkpoint: what other callbacks upload
        checkpoint = name.split(os.sep)[0]
        if checkpoint != self._checkpoint:
            self.finish()
            self._checkpoint = checkpoint
        self._uploads.append(self._thread.submit(self._upload, name))

    def can_upload_files(self) -> bool:
        """Other callbacks' files are not taken."""
        return False

    def finish(self) -> None:
        """Wait for the uploads that were begun.

        Raises:
            TrainingError: One failed.
        """
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()

    def complete(self, *, sharded: bool) -> None:
        """Wait until all ranks' files are uploaded, and remove what is too old.

        Args:
            sharded: Whether every rank uploads files, not rank 0 alone.

        Raises:
            TrainingError: An upload failed.
        """
        self.finish()
        if sharded:
            dist.barrier()
            if dist.get_global_rank() == 0:
                self._remove_older_patiently()

    def remove_older(self) -> None:
        """Leave the newest k complete checkpoints at the URI, and what is newer than those."""
        num_complete = 0
        for checkpoint in reversed(list_checkpoints(self.uri)):
            if 0 <= self.keep <= num_complete:
                storage.remove_tree(checkpoint)
            elif is_complete(checkpoint):
                num_complete += 1

    def _upload(self, name: str) -> None:
        path, uri = os.path.join(self.folder, name), storage.join(self.uri, name)
        _attempt(f"checkpoint {uri} could not be uploaded", lambda: storage.upload(path, uri))
        os.remove(path)
        if os.path.dirname(name):
            with contextlib.suppress(OSError):  # other ranks have files in it yet
                os.rmdir(os.path.dirname(path))
        if dist.get_global_rank() == 0:
            self._remove_older_patiently()

    def _remove_older_patiently(self) -> None:
        _attempt(f"older checkpoints at {self.uri} could not be removed", self.remove_older)


def _attempt(failure: str, call: Callable[[], None]) -> None:
    """Do something at a URI, again after a while if it fails.

    Raises:
        TrainingError: It failed to the last.
    """
    for pause in (*_PAUSES_SEC, None):
        try:
            call()
            return
        except Exception as error:  # each file system has errors of its own
            if pause is None:
                raise TrainingError(
                    f"{failure} in {len(_PAUSES_SEC) + 1} attempts: {type(error).__name__}: {error}. See "
                    "that this machine may list, write and delete there, and resume."
                ) from error
            time.sleep(pause)
