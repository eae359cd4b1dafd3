"""Checkpoints: loaded as data alone, found whole after a crash, the newest k kept across resumptions.

They lie in a local folder, or at any URI of fsspec: `remote_checkpoints.py` says how they get there.

Composer 0.32.1 writes `ep0-ba500-rank0.pt`, or under FSDP with sharded state a directory `ep0-ba500`,
and then points `latest-rank0.pt` at it. It loads them with pickle, which runs whatever code a file
names; does not look whether a file is whole; and after a resumption forgets which older ones it should
delete. Here:

    settle_checkpoints   before a resumption: newest first, every byte against its checksum; what is
                         damaged is set aside under another name, `latest` points to the newest sound one
    unpickling.py        torch's restricted unpickler in place of pickle, for both kinds
    keep_counting        tells the new process about the checkpoints of the old one

Cost: the newest checkpoint is read once more, at the disk's speed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
import os
import pickle
import posixpath
import re
import zipfile
from collections.abc import Callable
from typing import Any

from schemas import storage
from schemas.errors import ConfigError, TrainingError
from trainer.checkpoints.unpickling import METADATA, data_only, load_metadata, load_whole, read_metadata

LATEST = "latest-rank0.pt"
DAMAGED = ".damaged"

_NAME = re.compile(r"ep(?P<epoch>\d+)-ba(?P<batch>\d+)(?P<whole>-rank0\.pt)?")
_SHARDED_MODEL = "state.model."
_SHARDED_TIME = "state.timestamp.Timestamp."
_SHARDED_GROUP = re.compile(r"state\.optimizers\.\w+\.param_groups\.\d+\.params")
_UNREADABLE = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError)


def list_checkpoints(folder: str) -> list[str]:
    """Paths or URIs of the checkpoints in a folder, oldest first; a directory is a sharded one."""
    fs, root = storage.filesystem(folder)
    fs.invalidate_cache()
    try:
        entries = fs.ls(root, detail=True)
    except FileNotFoundError:
        return []
    kinds = {posixpath.basename(entry["name"].rstrip("/")): entry["type"] for entry in entries}
    matches = [match for match in map(_NAME.fullmatch, kinds) if match]
    matches.sort(key=lambda match: (int(match["batch"]), int(match["epoch"])))
    return [
        storage.join(folder, match[0])
        for match in matches
        if (kinds[match[0]] == "directory") != bool(match["whole"])
    ]


def settle_checkpoints(folder: str, say: Callable[[str], None], copies: str | None = None) -> str | None:
    """Make `latest` point at the newest sound checkpoint, and set damaged newer ones aside.

    Args:
        folder: Directory or URI of one run's checkpoints; may be missing.
        say: Told of every damaged checkpoint.
        copies: Local folder into which checkpoints are fetched to be read, if their own is not local;
            `latest` is then there.

    Returns:
        The checkpoint to go on from, under the folder; None if the run begins anew.

    Raises:
        TrainingError: There are several and none is sound, or one cannot be fetched.
    """
    checkpoints = list_checkpoints(folder)
    damages: list[str] = []
    for path in reversed(checkpoints):
        local = path if copies is None else fetch_checkpoint(path, copies)
        damage = find_damage(local)
        if damage is None:
            break
        if copies is not None:
            storage.remove_tree(local)
        damages.append(f"checkpoint {path} is damaged: {damage}")
    sound = checkpoints[: len(checkpoints) - len(damages)]
    if damages and not sound and len(damages) > 1:
        raise TrainingError(
            "\n".join(damages) + "\nNo sound checkpoint is left. Restore one, or give another save_folder."
        )
    for path, message in zip(reversed(checkpoints), damages, strict=False):
        aside = _set_aside(path)
        say(f"{message}. Set aside as {os.path.basename(aside)}; the run goes on from the one before it.")
    point_latest(folder if copies is None else copies, sound[-1] if sound else None)
    return sound[-1] if sound else None


def check_checkpoint(path: str, copies: str | None = None, *, key: str = "load_path") -> None:
    """See that a checkpoint that was asked for by name is there and whole.

    Args:
        path: Its path or URI.
        copies: Local folder into which it is fetched to be read, if it is not local.
        key: What named it, for the message.

    Raises:
        ConfigError: It is not there, or is something else.
        TrainingError: It is damaged, or cannot be fetched.
    """
    path = path.replace("{rank}", "0")
    if not storage.exists(path):
        raise ConfigError(f"{key} {path!r}: no such checkpoint. Name one, or leave {key} out.")
    if other := _kind_of(path):
        raise ConfigError(f"{key} {path!r} is {other}")
    damage = find_damage(path if copies is None else fetch_checkpoint(path, copies))
    if damage:
        raise TrainingError(f"{key} {path!r} is damaged: {damage}. Restore it, or name another one.")


def _kind_of(path: str) -> str:
    """What a path or URI is instead of a checkpoint, and what to do; "" where it may be one."""
    fs, root = storage.filesystem(path)
    weights = (".safetensors", ".safetensors.index.json", ".bin")
    if not fs.isdir(root):
        is_weights = path.endswith(weights)
        model = posixpath.dirname(path)
    else:
        names = {posixpath.basename(entry["name"].rstrip("/")) for entry in fs.ls(root, detail=True)}
        if METADATA in names:
            return ""
        is_weights = "config.json" in names or any(name.endswith(weights) for name in names)
        model = path
        if held := list_checkpoints(path):
            return f"a folder of checkpoints. Name one of them, such as {held[-1]}."
    if is_weights:
        return (
            "a Hugging Face model, no checkpoint. To begin from its weights, set "
            f"model.pretrained_model_name_or_path to {model!r}, and leave this out."
        )
    return ""


def fetch_checkpoint(uri: str, folder: str) -> str:
    """Copy a checkpoint, a file or a directory, to this machine; returns its local path.

    Raises:
        TrainingError: It cannot be read.
    """
    fs, source = storage.filesystem(uri)
    local = os.path.join(folder, posixpath.basename(source))
    os.makedirs(folder, exist_ok=True)
    try:
        if fs.isdir(source):
            fs.get(source, local, recursive=True)
        else:
            fs.get_file(source, local)
    except Exception as error:  # each file system has errors of its own
        raise TrainingError(
            f"checkpoint {uri} cannot be fetched to {local}: {type(error).__name__}: {error}. See that this "
            "machine may read it and has room for it, and start again."
        ) from error
    return local


def find_damage(path: str) -> str | None:
    """What is wrong with a checkpoint: files missing or cut short, bytes that do not match their checksum."""
    try:
        if not os.path.isdir(path):
            return _zip_damage(path, os.path.basename(path))
        metadata = read_metadata(path)
        for name, pieces in _pieces(metadata).items():
            with open(os.path.join(path, name), "rb") as file:
                for offset, length in pieces:
                    file.seek(offset)
                    damage = _zip_damage(io.BytesIO(file.read(length)), name)
                    if damage:
                        return damage
    except FileNotFoundError as error:
        return f"{os.path.basename(str(error.filename))} is missing"
    except _UNREADABLE as error:
        return f"{METADATA} cannot be read: {error}"
    return None


def is_complete(path: str) -> bool:
    """Whether all files of a checkpoint that is being uploaded are at its URI, judged by their sizes."""
    if not path.endswith("-rank0.pt"):
        fs, root = storage.filesystem(path)
        try:
            metadata = load_metadata(io.BytesIO(fs.cat_file(f"{root}/{METADATA}")))
        except (FileNotFoundError, *_UNREADABLE):
            return False
        sizes = {posixpath.basename(entry["name"]): entry["size"] for entry in fs.ls(root, detail=True)}
        for name, pieces in _pieces(metadata).items():
            if sizes.get(name, 0) < max(offset + length for offset, length in pieces):
                return False
    return True


def _zip_damage(file: Any, name: str) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        return f"{name} is cut short or no checkpoint ({error})"
    return f"{name}: the checksum of {bad} does not match" if bad else None


def _pieces(metadata: Any) -> dict[str, list[tuple[int, int]]]:
    """Offset and length of what each file of a sharded checkpoint holds."""
    pieces: dict[str, list[tuple[int, int]]] = collections.defaultdict(list)
    for info in metadata.storage_data.values():
        pieces[info.relative_path].append((info.offset, info.length))
    return pieces


def _set_aside(path: str) -> str:
    fs, source = storage.filesystem(path)
    aside = f"{path}{DAMAGED}"
    number = 1
    while storage.exists(aside):
        number += 1
        aside = f"{path}{DAMAGED}-{number}"
    fs.mv(source, storage.filesystem(aside)[1], recursive=fs.isdir(source))
    return aside


def point_latest(folder: str, path: str | None) -> None:
    """Replace the link at once: Composer removes it before it makes a new one, and may die in between."""
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


def keep_counting(saver: Any, folder: str, *, up_to_batch: int, sharded: bool) -> None:
    """Tell Composer's saver of the checkpoints that are there, so that it keeps k of all, not of its own.

    Args:
        saver: A CheckpointSaver that has saved nothing yet.
        folder: Where it saves.
        up_to_batch: Step that the run goes on from.
        sharded: Whether it saves sharded checkpoints.
    """
    for path in list_checkpoints(folder):
        match = _NAME.fullmatch(os.path.basename(path))
        if match and os.path.isdir(path) == sharded and int(match["batch"]) <= up_to_batch:
            # It deletes the folder around a sharded file and a whole checkpoint itself.
            saver.saved_checkpoints.append(os.path.join(path, "__0_0.distcp") if sharded else path)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """The part of a checkpoint that a model is.

    Attributes:
        weights: On the CPU, by the names they have in Composer's model.
        steps: Batches trained.
        tokens: Tokens trained on.
    """

    weights: dict[str, Any]
    steps: int
    tokens: int


def read_checkpoint(path: str) -> SavedModel:
    """Read the weights of a checkpoint, whole or sharded, as data, in one process.

    Raises:
        TrainingError: It holds what is no data.
    """
    if not os.path.isdir(path):
        state = load_whole(path, "cpu")["state"]
        at = state["timestamp"]["Timestamp"]
        return SavedModel(weights=state["model"], steps=int(at["batch"]), tokens=int(at["token"]))
    import torch
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    wanted: dict[str, Any] = {}
    for name, info in read_metadata(path).state_dict_metadata.items():
        if name.startswith(_SHARDED_MODEL) and isinstance(info, TensorStorageMetadata):
            wanted[name] = torch.empty(info.size, dtype=info.properties.dtype)
        elif name in (f"{_SHARDED_TIME}batch", f"{_SHARDED_TIME}token"):
            wanted[name] = None
    with data_only(path):
        checkpoint.state_dict_loader.load(wanted, checkpoint_id=path, no_dist=True)
    return SavedModel(
        weights={
            name.removeprefix(_SHARDED_MODEL): tensor
            for name, tensor in wanted.items()
            if name.startswith(_SHARDED_MODEL)
        },
        steps=int(wanted[f"{_SHARDED_TIME}batch"]),
        tokens=int(wanted[f"{_SHARDED_TIME}token"]),
    )


def weight_names(path: str) -> list[str]:
    """Names of the model's weights in a checkpoint, whole or sharded; none of the weights is read.

    Raises:
        TrainingError: It holds what is no data.
    """
    if not os.path.isdir(path):
        return list(load_whole(path, "meta")["state"]["model"])
    names = read_metadata(path).state_dict_metadata
    return [name.removeprefix(_SHARDED_MODEL) for name in names if name.startswith(_SHARDED_MODEL)]


def parameter_groups_in(path: str) -> list[set[str]]:
    """Names of the parameters in each group of the optimizer in a checkpoint; none without an optimizer."""
    if not os.path.isdir(path):
        optimizers = load_whole(path, "meta")["state"].get("optimizers") or {}
        return [set(group["params"]) for each in optimizers.values() for group in each["param_groups"]]
    from torch.distributed import checkpoint

    names = sorted(read_metadata(path).state_dict_metadata)
    wanted = dict.fromkeys(filter(_SHARDED_GROUP.fullmatch, names))
    with data_only(path):
        checkpoint.state_dict_loader.load(wanted, checkpoint_id=path, no_dist=True)
    return [set(each or ()) for each in wanted.values()]
