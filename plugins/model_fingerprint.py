"""Fingerprints of a model's configuration and weights, by which an adapter recognises its base model.

    configuration    config.json without the keys that a library writes about itself
    weights          for each file of weights: its size, and 1,024 pieces of 4 KiB, evenly spaced

Cost: files of up to 4 MiB are read whole; of 16 GB in four files 16 MB are read. Any training changes nearly
every piece; a change of single bytes between the pieces goes unnoticed.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from pathlib import Path

from plugins.hub import folder_of

_PIECE_BYTES = 4096
_NUM_PIECES = 1024
_OF_LIBRARY = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")
_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
"""Files of weights; as in transformers, the first kind with files counts."""


def config_fingerprint(name: str) -> str | None:
    """Hash the configuration of a directory or hub name; None if this machine does not have the file."""
    path = Path(folder_of(name) or "", "config.json")
    if not path.is_file():
        return None
    try:
        config = {
            key: value for key, value in json.loads(path.read_bytes()).items() if key not in _OF_LIBRARY
        }
    except (ValueError, AttributeError):  # the model's loader reports it
        return None
    return hashlib.blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=8).hexdigest()


def weights_fingerprint(name: str) -> str | None:
    """Hash the weights of a directory or hub name; None if this machine does not have the files."""
    folder = folder_of(name)
    if folder is None:
        return None
    found = (sorted(fnmatch.filter(os.listdir(folder), pattern)) for pattern in _PATTERNS)
    files = next(filter(None, found), None)
    if files is None:
        return None
    seen = hashlib.blake2b(digest_size=8)
    for each in files:
        with open(os.path.join(folder, each), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            seen.update(f"{each} {size}\n".encode())
            for place in range(0, size, max(_PIECE_BYTES, size // _NUM_PIECES)):
                file.seek(place)
                seen.update(file.read(_PIECE_BYTES))
    return seen.hexdigest()
