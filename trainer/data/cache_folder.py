"""Private cache folders: only this user may write to them.

Training trusts the files in the cache of shards and in the folders beside it. So another user of the machine
with write permission there could change the training data.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile

from schemas.errors import ConfigError


def default_cache_dir() -> str:
    """Return this user's cache of shards in the temporary folder; raises as `private_folder` does."""
    return private_folder(os.path.join(private_folder(_default_folder()), "shards"))


def default_staging_dir() -> str:
    """Return the parent of staged checkpoints without a `cache_dir`; raises as `private_folder` does."""
    return private_folder(_default_folder())


def private_folder(path: str) -> str:
    """Make a folder that only this user may write to, or check that it is one.

    Raises:
        ConfigError: It is a link or another user's; or others may write to it, or rename it.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    wrong = ""
    if not stat.S_ISDIR(found.st_mode):
        wrong = "is a link or no folder"
    elif found.st_uid != os.geteuid():
        wrong = f"belongs to user {found.st_uid}, and this is user {os.geteuid()}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong = f"has mode {stat.S_IMODE(found.st_mode):o}, so others may write to it"
    else:
        above = os.path.dirname(os.path.realpath(path))
        while not wrong:
            mode = os.stat(above).st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                wrong = f"lies in {above}, where anybody may rename it (mode {stat.S_IMODE(mode):o})"
            if above == (above := os.path.dirname(above)):
                break
    if wrong:
        raise ConfigError(
            f"the cache {path!r} {wrong}. Others could replace shards in it. Remove it, or name another "
            "folder as train_loader.dataset.cache_dir: one of yours, without write permission for others."
        )
    return path


def _default_folder() -> str:
    return os.path.join(tempfile.gettempdir(), f"tutelage-{getpass.getuser()}")
