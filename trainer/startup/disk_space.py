"""Folders that a run writes: write permission and disk space, checked before the first step.

(`HuggingFaceExport.init` tries the files that an export copies from the base model.)
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile

from schemas import storage
from schemas.content_hash import digest
from schemas.errors import ConfigError, TrainingError
from schemas.train_config import TrainConfig
from trainer.reporting.announce import announce

_FULL = re.compile(r"unexpected pos \d+ vs \d+|file write failed|No space left on device|Disk quota exceeded")


def places_of(config: TrainConfig) -> dict[str, str]:
    """Return the folders and URIs that a run writes, by key."""
    places = {
        "save_folder": config.save_folder,
        "callbacks.hf_export.folder": config.callbacks.get("hf_export", {}).get("folder"),
        "callbacks.domain_eval.output": config.callbacks.get("domain_eval", {}).get("output"),
    }
    return {key: str(at).replace("{run_name}", config.run_name) for key, at in places.items() if at}


def check_writable(config: TrainConfig, *, remote: bool) -> None:
    """Refuse folders without write permission; with `remote` also try URIs, by a small file."""
    for key, place in places_of(config).items():
        try:
            if storage.is_local(place):
                # An export is written beside its folder, and then renamed.
                place = _existing(os.path.dirname(os.path.abspath(place)) if "export" in key else place)
                with tempfile.TemporaryFile(dir=place):
                    pass
            elif remote:
                probe = storage.join(place, f".{digest(config.run_name, size_bytes=8)}.probe")
                storage.write_bytes(probe, b"")
                storage.remove_tree(probe)
        except Exception as error:  # each file system has errors of its own
            raise ConfigError(
                f"{key}: nothing can be written in {place!r}: {type(error).__name__}: {error}. Make it "
                "writable, or give another place."
            ) from error


def check_room(
    config: TrainConfig,
    *,
    checkpoint_folder: str | None,
    checkpoint_bytes: int,
    num_checkpoints: int,
    export_bytes: int,
) -> None:
    """Refuse disks of this machine without room for one checkpoint and the export; announce if all need more.

    Args:
        config: The run's.
        checkpoint_folder: Local folder of the checkpoints, if any.
        checkpoint_bytes: Size of this machine's part of a checkpoint.
        num_checkpoints: Checkpoints that the run adds.
        export_bytes: Size of an export.
    """
    wanted: list[tuple[str, str, str, int]] = []  # key, folder, content, bytes
    if checkpoint_folder:
        wanted.append(("save_folder", checkpoint_folder, "a checkpoint", checkpoint_bytes))
    if folder := places_of(config).get("callbacks.hf_export.folder"):
        wanted.append(("callbacks.hf_export.folder", folder, "the export", export_bytes))
    disks: dict[int, list[tuple[str, str, str, int]]] = {}
    for each in wanted:
        disks.setdefault(os.stat(_existing(each[1])).st_dev, []).append(each)
    for group in disks.values():
        free = shutil.disk_usage(_existing(group[0][1])).free
        named = " and ".join(f"{key} {folder!r}" for key, folder, *_ in group)
        least = most = sum(size for *_, size in group)
        if group[0][0] == "save_folder":
            most += (max(1, num_checkpoints) - 1) * checkpoint_bytes
        found = f"the disk of {named} has {_size(free)} free, but"
        if free < least:
            parts = " and ".join(f"{content} of {_size(size)}" for *_, content, size in group)
            raise ConfigError(
                f"{found} {parts} take {_size(least)}. Free some space, or give another folder."
            )
        if free < most:
            announce(
                f"{found} the run's files there take up to {_size(most)} ({num_checkpoints} checkpoints of "
                f"{_size(checkpoint_bytes)}). Set save_num_checkpoints_to_keep, or free some space."
            )


def full_disk(error: BaseException, folder: str | None) -> TrainingError | None:
    """Return the error to raise if a full disk is the cause of an error; None for another cause.

    torch says "unexpected pos 704 vs 598" or "file write failed", safetensors a message of Rust's.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(str(cause)):
            break
        cause = cause.__cause__ or cause.__context__
    else:
        return None
    place = getattr(cause, "filename", None) or folder or "."
    free = shutil.disk_usage(_existing(str(place))).free
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return TrainingError(
        f"the disk is full, or its quota used up: {place!r} has {_size(free)} free now ({first_line}). Free "
        "some space, or lower save_num_checkpoints_to_keep; with autoresume: true the same command resumes "
        "from the newest sound checkpoint."
    )


def _existing(folder: str) -> str:
    """Return the folder, or the nearest existing one above it."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
