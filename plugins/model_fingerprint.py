"""Fingerprints of a model's files, which say whether an adapter still finds the model that it was trained on.

    configuration    all of config.json but what a library writes about itself
    weights          of each file of weights: its size, and 1,024 pieces of 4 KiB, evenly spaced

Files of up to 4 MiB are read whole. Of 16 GB in four files 16 MB are read; another training of the same model
changes nearly every piece, while a change of single bytes between the pieces is not seen.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os

from plugins.tokenizers import folder_of

_PIECE_BYTES = 4096
_NUM_PIECES = 1024
_OF_LIBRARY = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")
_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
"""Files of weights; of the first kind that is there, as transformers takes it."""


def config_fingerprint(name: str) -> str | None:
    """Fingerprint of a model's configuration; None where no such file is on this machine.

    Args:
        name: Directory or hub name.
    """
    path = os.path.join(folder_of(name) or "", "config.json")
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        data = file.read()
    try:
        config = {key: value for key, value in json.loads(data).items() if key not in _OF_LIBRARY}
    except (ValueError, AttributeError):  # its loader says what is wrong
        return None
    return hashlib.blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=8).hexdigest()


def weights_fingerprint(name: str) -> str | None:
    """Fingerprint of a model's weights; None where no file with them is on this machine.

    Args:
        name: Directory or hub name.
    """
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
