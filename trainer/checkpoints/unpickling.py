"""Unpickle checkpoints as data alone, so that a checkpoint of a stranger runs no code.

Composer and torch load checkpoints with pickle, which runs any code that a file names. Three places do so,
and none takes an argument for it:

    Composer's loader of whole checkpoints          torch.load(weights_only=False)
    torch's loader of non-tensors in sharded ones   torch.load(weights_only=False)
    torch's reader of `.metadata` in sharded ones   pickle.load

TORCH_FORCE_WEIGHTS_ONLY_LOAD makes torch.load ignore that argument; the reader of `.metadata` is replaced.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import re
from collections.abc import Iterator
from typing import IO, Any

from schemas.errors import TrainingError
from schemas.replaced_internals import Internal, replaced

METADATA = ".metadata"
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextlib.contextmanager
def data_only(path: str) -> Iterator[None]:
    """Have Composer and torch load checkpoints as data alone until the block ends.

    Args:
        path: The checkpoint, for the error.

    Raises:
        TrainingError: The checkpoint holds other objects than data.
    """
    import torch
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    allowed = torch.serialization.get_safe_globals()
    known = [each for each in _known_classes() if each not in allowed]
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with (
            torch.serialization.safe_globals(known),
            replaced(Internal(FileSystemReader, "read_metadata", _read_metadata)),
        ):
            yield
    except (
        BaseException
    ) as error:  # torch's CheckpointException, with the errors of all ranks, is no Exception
        if isinstance(error, pickle.UnpicklingError) or pickle.UnpicklingError.__name__ in str(error):
            raise _refusal(path, error) from error
        raise
    finally:
        os.environ.pop(_FORCE)
        if before is not None:
            os.environ[_FORCE] = before


def load_whole(path: str, map_location: str) -> Any:
    """Load a whole checkpoint.

    Raises:
        TrainingError: It holds other objects than data.
    """
    import torch

    with data_only(path):
        return torch.load(path, map_location=map_location, weights_only=True)


def read_metadata(path: str) -> Any:
    """Read `.metadata` of a sharded checkpoint.

    Raises:
        pickle.UnpicklingError: It names other classes than those of metadata.
    """
    with open(os.path.join(path, METADATA), "rb") as file:
        return load_metadata(file)


def load_metadata(file: IO[bytes]) -> Any:
    """Load an open `.metadata`, as `read_metadata` does."""
    return _MetadataUnpickler(file).load()


def _read_metadata(self: Any) -> Any:
    """Take the place of FileSystemReader.read_metadata."""
    metadata = read_metadata(str(self.path))
    if getattr(metadata, "storage_meta", None) is None:
        metadata.storage_meta = self.storage_meta()
    metadata.storage_meta.load_id = self.load_id
    return metadata


class _MetadataUnpickler(pickle.Unpickler):
    """Reads names, shapes and paths, and nothing that acts."""

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


def _known_classes() -> list[Any]:
    """Return the classes in Composer's checkpoints beside tensors and plain values."""
    import numpy as np
    import torch

    # The name of numpy's function differs between versions 1 and 2; pickling an array finds both.
    reconstruct: Any = np.empty(0).__reduce__()[0]
    random_state = [reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    return [*random_state, datetime.timedelta, torch.torch_version.TorchVersion]


def _refusal(path: str, error: BaseException) -> TrainingError:
    named = re.search(r"(?:GLOBAL|names) ([\w.]+)", str(error))
    found = named[1].rstrip(".") if named else "an object"
    return TrainingError(
        f"checkpoint {path} holds {found}, which is not data, and is not loaded: reading it could run code. "
        "Load a checkpoint of this trainer; if a callback of yours saved it, let its state_dict return "
        "numbers, strings, lists and tensors only."
    )
