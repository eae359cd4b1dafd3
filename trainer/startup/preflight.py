"""What a run needs at its end, tried before its first step: folders that it may write, room on their disks.

What an export takes from the base model is read and written once when the trainer is made
(`HuggingFaceExport.init`).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable

from schemas import storage
from schemas.errors import ConfigError, TrainingError
from schemas.records import digest
from schemas.train_config import TrainConfig

_FULL = re.compile(r"unexpected pos \d+ vs \d+|file write failed|No space left on device|Disk quota exceeded")


def places_of(config: TrainConfig) -> dict[str, str]:
    """Folders and URIs that a run writes, by key."""
    places = {
        "save_folder": config.save_folder,
        "callbacks.hf_export.folder": config.callbacks.get("hf_export", {}).get("folder"),
        "callbacks.domain_eval.output": config.callbacks.get("domain_eval", {}).get("output"),
    }
    return {key: str(at).replace("{run_name}", config.run_name) for key, at in places.items() if at}


def check_writable(config: TrainConfig, *, remote: bool) -> None:
    """See that a run may write where it will have to.

    Args:
        config: The run's.
        remote: Whether to try places on stores, too: a small file is written and removed.

    Raises:
        ConfigError: It may not; names the key.
    """
    for key, place in places_of(config).items():
        try:
            if storage.is_local(place):
                # An export is written beside its folder, and then takes its place.
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
    say: Callable[[str], None],
) -> None:
    """See that the disks of this machine have room for what a run writes.

    Args:
        config: The run's.
        checkpoint_folder: Local folder that checkpoints are saved in, if any.
        checkpoint_bytes: Size of one, the part that this machine writes.
        num_checkpoints: How many more there will be at once.
        export_bytes: Size of an export.
        say: Told where one checkpoint has room, and all of them have not.

    Raises:
        ConfigError: There is no room for one checkpoint and the export; names the keys.
    """
    places = places_of(config)
    wanted: list[tuple[str, str, int, int]] = []  # key, folder, bytes at least, bytes in all
    if checkpoint_folder:
        many = max(1, num_checkpoints) * checkpoint_bytes
        wanted.append(("save_folder", checkpoint_folder, checkpoint_bytes, many))
    if folder := places.get("callbacks.hf_export.folder"):
        wanted.append(("callbacks.hf_export.folder", folder, export_bytes, export_bytes))
    disks: dict[int, list[tuple[str, str, int, int]]] = {}
    for each in wanted:
        disks.setdefault(os.stat(_existing(each[1])).st_dev, []).append(each)
    for group in disks.values():
        free = shutil.disk_usage(_existing(group[0][1])).free
        named = " and ".join(f"{key} {folder!r}" for key, folder, *_ in group)
        least, most = (sum(sizes) for sizes in zip(*(each[2:] for each in group), strict=True))
        found = f"the disk of {named} has {_size(free)} free, but"
        if free < least:
            raise ConfigError(
                f"{found} {' and '.join(_part(key, size) for key, _, size, _ in group)} take {_size(least)}. "
                "Free some space, or give another folder."
            )
        if free < most:
            say(
                f"{found} what the run saves there takes up to {_size(most)} ({num_checkpoints} checkpoints "
                f"of {_size(checkpoint_bytes)}). Set save_num_checkpoints_to_keep, or free some space."
            )


def full_disk(error: BaseException, folder: str | None) -> TrainingError | None:
    """What a run is told whose disk filled up; None where something else went wrong.

    torch says "unexpected pos 704 vs 598" or "file write failed", safetensors a message of Rust's.

    Args:
        error: What training raised.
        folder: Local folder that checkpoints are saved in, if any.
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
        "some space, or lower save_num_checkpoints_to_keep; with autoresume: true the same command goes on "
        "from the newest sound checkpoint."
    )


def _existing(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    folder = os.path.abspath(folder)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _part(key: str, size: int) -> str:
    return f"{'a checkpoint' if key == 'save_folder' else 'the export'} of {_size(size)}"


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
