"""Checkpoint files: listed, checked for damage, fetched, and read as data alone.

They lie in a local folder, or at any URI of fsspec, where `uploads.py` writes them.

Composer 0.32.1 writes `ep0-ba500-rank0.pt`, or under FSDP with sharded state a directory `ep0-ba500`. It
loads checkpoints with pickle, which runs any code that a file names; it does not check whether a file is
whole; and after a resumption it forgets the older checkpoints that it should delete. Here:

    find_damage      compares every byte with its checksum, at the disk's speed
    load_only_data   puts torch's restricted unpickler in place of pickle, for both kinds
    keep_counting    gives the new process the checkpoints of the old one
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import io
import os
import pickle
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from schemas import storage
from schemas.errors import ConfigError, TrainingError

_NAME = re.compile(r"ep(?P<epoch>\d+)-ba(?P<batch>\d+)(?P<whole>-rank0\.pt)?")
_METADATA = ".metadata"
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
        if _METADATA in names:
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
        metadata = _read_metadata(os.path.join(path, _METADATA))
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
        return f"{_METADATA} cannot be read: {error}"
    return None


def is_complete(path: str) -> bool:
    """True if all files of a checkpoint are at its URI with their whole size."""
    if not path.endswith("-rank0.pt"):
        fs, root = storage.filesystem(path)
        try:
            metadata = _MetadataUnpickler(io.BytesIO(fs.cat_file(f"{root}/{_METADATA}"))).load()
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
        state = _load_whole(path, "cpu")["state"]
        at = state["timestamp"]["Timestamp"]
        return SavedModel(weights=state["model"], steps=int(at["batch"]), tokens=int(at["token"]))
    import torch
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    load_only_data()
    wanted: dict[str, Any] = {}
    for name, info in _read_metadata(os.path.join(path, _METADATA)).state_dict_metadata.items():
        if name.startswith(_SHARDED_MODEL) and isinstance(info, TensorStorageMetadata):
            wanted[name] = torch.empty(info.size, dtype=info.properties.dtype)
        elif name in (f"{_SHARDED_TIME}batch", f"{_SHARDED_TIME}token"):
            wanted[name] = None
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
        return list(_load_whole(path, "meta")["state"]["model"])
    names = _read_metadata(os.path.join(path, _METADATA)).state_dict_metadata
    return [name.removeprefix(_SHARDED_MODEL) for name in names if name.startswith(_SHARDED_MODEL)]


def parameter_groups_in(path: str) -> list[set[str]]:
    """Return the parameter names of each optimizer group in a checkpoint; none without an optimizer."""
    if not os.path.isdir(path):
        optimizers = _load_whole(path, "meta")["state"].get("optimizers") or {}
        return [set(group["params"]) for each in optimizers.values() for group in each["param_groups"]]
    from torch.distributed import checkpoint

    load_only_data()
    names = sorted(_read_metadata(os.path.join(path, _METADATA)).state_dict_metadata)
    wanted = dict.fromkeys(filter(_SHARDED_GROUP.fullmatch, names))
    checkpoint.state_dict_loader.load(wanted, checkpoint_id=path, no_dist=True)
    return [set(each or ()) for each in wanted.values()]


def load_only_data() -> None:
    """Have checkpoints loaded with `weights_only=True`, in this process from now on.

    Three places unpickle: Composer's loader of whole checkpoints, torch's loader of what is no tensor
    in sharded ones, and torch's reader of their `.metadata`. None takes an argument for it.
    """
    from composer.utils import checkpoint
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (checkpoint, "_torch_load_with_validation", _load_whole),
        (DefaultLoadPlanner, "load_bytes", _load_bytes),
        (FileSystemReader, "read_metadata", _read_metadata_of),
    ]
    for owner, name, ours in places:
        setattr(owner, name, ours)


def _load_whole(checkpoint_filepath: Any, map_location: str) -> Any:
    import torch

    try:
        with _known_classes():
            return torch.load(checkpoint_filepath, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(str(checkpoint_filepath), error) from error


def _load_bytes(planner: Any, read_item: Any, value: io.BytesIO) -> None:
    import torch
    from torch.distributed.checkpoint._traverse import set_element

    name = read_item.dest_index.fqn
    try:
        with _known_classes():
            loaded = torch.load(value, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(name, error) from error
    if planner.flatten_state_dict:
        set_element(planner.original_state_dict, planner.mappings[name], loaded)
    else:
        planner.state_dict[name] = loaded


def _read_metadata_of(reader: Any) -> Any:
    path = os.path.join(str(reader.path), _METADATA)
    try:
        metadata = _read_metadata(path)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    if getattr(metadata, "storage_meta", None) is None:
        metadata.storage_meta = reader.storage_meta()
    metadata.storage_meta.load_id = reader.load_id
    return metadata


def _read_metadata(path: str) -> Any:
    with open(path, "rb") as file:
        return _MetadataUnpickler(file).load()


class _MetadataUnpickler(pickle.Unpickler):
    """Reads `.metadata` of a sharded checkpoint: names, shapes and places, and nothing that acts."""

    _MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
    _NAMES = (
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
    )

    def find_class(self, module: str, name: str) -> Any:
        import torch

        if module in self._MODULES or (module, name) in self._NAMES:
            found = super().find_class(module, name)
            if module not in self._MODULES or (isinstance(found, type) and found.__module__ == module):
                return found
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype | torch.memory_format):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a checkpoint")


@contextlib.contextmanager
def _known_classes() -> Iterator[None]:
    """What Composer's checkpoints hold beside tensors and plain values: random state, times, versions."""
    import numpy as np
    import torch

    # Numpy's own name for it differs between versions 1 and 2; both are found by pickling an array.
    reconstruct: Any = np.empty(0).__reduce__()[0]
    known: list[Any] = [
        *(reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))),
        datetime.timedelta,
        torch.torch_version.TorchVersion,
    ]
    with torch.serialization.safe_globals(known):
        yield


def _refusal(name: str, error: Exception) -> TrainingError:
    named = re.search(r"(?:GLOBAL|names) ([\w.]+)", str(error))
    reason = named[1].rstrip(".") if named else None
    return TrainingError(
        f"checkpoint {name} holds {reason or 'something'}, which is no data, and is not loaded: reading it "
        "could run code. Load what this trainer wrote; if a callback of yours saved it, let its state_dict "
        "return numbers, strings, lists and tensors only."
    )
