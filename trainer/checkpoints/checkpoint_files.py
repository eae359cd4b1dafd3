"""Checkpoint files: listed, checked for damage, fetched, and read as data alone.

They lie in a local folder, or at any URI of fsspec, where `uploads.py` writes them.

Composer 0.32.1 writes `ep0-ba500-rank0.pt`, or under FSDP with sharded state a directory `ep0-ba500`. It
loads checkpoints with pickle, which runs any code that a file names; it does not check whether a file is
whole; and after a resumption it forgets the older checkpoints that it should delete. Here:

    find_damage      compares every byte with its checksum, at the disk's speed
    keep_counting    gives the new process the checkpoints of the old one
    unpickling.py    puts torch's restricted unpickler in place of pickle, for both kinds
"""

from __future__ import annotations

import collections
import dataclasses
import io
import os
import pickle
import posixpath
import re
import zipfile
from typing import Any

from schemas import storage
from schemas.errors import ConfigError, TrainingError
from trainer.checkpoints.unpickling import METADATA, data_only, load_metadata, load_whole, read_metadata

_NAME = re.compile(r"ep(?P<epoch>\d+)-ba(?P<batch>\d+)(?P<whole>-rank0\.pt)?")
_SHARDED_MODEL = "state.model."
_SHARDED_TIME = "state.timestamp.Timestamp."
_SHARDED_GROUP = re.compile(r"state\.optimizers\.\w+\.param_groups\.\d+\.params")
_UNREADABLE = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError)


def list_checkpoints(folder: str) -> list[str]:
    """Return paths or URIs of the checkpoints in a folder, oldest first; a directory is a sharded one."""
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


def check_checkpoint(path: str, copies: str | None = None, *, key: str = "load_path") -> None:
    """Check that a named checkpoint exists and is whole.

    Args:
        path: Its path or URI.
        copies: Local folder for a copy, if the checkpoint is not local.
        key: Key or option that names it, for the message.

    Raises:
        ConfigError: It does not exist, or is something else.
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
    """Return what a path is instead of a checkpoint, and the cure; "" if it may be a checkpoint."""
    fs, root = storage.filesystem(path)
    weights = ("config.json", ".safetensors", ".safetensors.index.json", ".bin")
    model, names = posixpath.dirname(path), {posixpath.basename(path)}
    if fs.isdir(root):
        model, names = path, {posixpath.basename(each.rstrip("/")) for each in fs.ls(root, detail=False)}
        if METADATA in names:
            return ""
        if held := list_checkpoints(path):
            return f"a folder of checkpoints. Name one of them, such as {held[-1]}."
    if any(name.endswith(weights) for name in names):
        return (
            "a Hugging Face model, no checkpoint. To begin from its weights, set "
            f"model.pretrained_model_name_or_path to {model!r}, and leave this out."
        )
    return ""


def fetch_checkpoint(uri: str, folder: str) -> str:
    """Copy a checkpoint, a file or a directory, to this machine; return its local path.

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
    """Return the damage of a checkpoint, such as a missing file or a wrong checksum; None if it is sound."""
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
    """True if all files of a checkpoint are at its URI with their whole size."""
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
    """Return offset and length of all pieces in each file of a sharded checkpoint."""
    pieces: dict[str, list[tuple[int, int]]] = collections.defaultdict(list)
    for info in metadata.storage_data.values():
        pieces[info.relative_path].append((info.offset, info.length))
    return pieces


def keep_counting(saver: Any, folder: str, *, up_to_batch: int, sharded: bool) -> None:
    """Give Composer's saver the existing checkpoints, so that it keeps k of all instead of k of its own.

    It gets those of its kind, `sharded` or whole, up to the step that the run resumes from.
    """
    for path in list_checkpoints(folder):
        match = _NAME.fullmatch(os.path.basename(path))
        if match and os.path.isdir(path) == sharded and int(match["batch"]) <= up_to_batch:
            # It deletes the parent of a sharded file, and a whole checkpoint itself.
            saver.saved_checkpoints.append(os.path.join(path, "__0_0.distcp") if sharded else path)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """Model of a checkpoint.

    Attributes:
        weights: On the CPU, by their names in Composer's model.
        steps: Batches trained.
        tokens: Tokens trained on.
    """

    weights: dict[str, Any]
    steps: int
    tokens: int


def read_checkpoint(path: str) -> SavedModel:
    """Read the weights of a checkpoint, whole or sharded, as data, in one process.

    Raises:
        TrainingError: It holds something other than data.
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
    """Return the names of the weights in a checkpoint, whole or sharded, without reading the weights."""
    if not os.path.isdir(path):
        return list(load_whole(path, "meta")["state"]["model"])
    names = read_metadata(path).state_dict_metadata
    return [name.removeprefix(_SHARDED_MODEL) for name in names if name.startswith(_SHARDED_MODEL)]


def parameter_groups_in(path: str) -> list[set[str]]:
    """Return the parameter names of each optimizer group in a checkpoint; none without an optimizer."""
    if not os.path.isdir(path):
        optimizers = load_whole(path, "meta")["state"].get("optimizers") or {}
        return [set(group["params"]) for each in optimizers.values() for group in each["param_groups"]]
    from torch.distributed import checkpoint

    names = sorted(read_metadata(path).state_dict_metadata)
    wanted = dict.fromkeys(filter(_SHARDED_GROUP.fullmatch, names))
    with data_only(path):
        checkpoint.state_dict_loader.load(wanted, checkpoint_id=path, no_dist=True)
    return [set(each or ()) for each in wanted.values()]
