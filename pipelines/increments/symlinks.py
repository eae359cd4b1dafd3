"""The folders of a corpus are its own: a link among them would have a run write and remove elsewhere."""

from __future__ import annotations

import os
import stat

from pipelines.store.layout import TABLES
from schemas import storage
from schemas.errors import CorpusError

_DEPTHS = {"lock": 1, "manifest": 1, "journal": 1, "ledger": 1, "increments": 2, "tokenizer": 2}
"""How deep below each folder a run writes or removes by name; removing a tree follows no links."""


def refuse_links(corpus: str) -> None:
    """See that nothing which a run writes or removes lies behind a link; stores have none.

    Raises:
        CorpusError: Names the link.
    """
    if not storage.is_local(corpus):
        return
    _, root = storage.filesystem(corpus)
    for name in (*_DEPTHS, *TABLES, "sources.jsonl.zst"):
        _look(os.path.join(root, name), _DEPTHS.get(name, 2))


def _look(path: str, depth: int) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # of the corpus itself others say so
        return
    if stat.S_ISLNK(mode):
        raise CorpusError(
            f"{path}: is a link. A run would write or remove what lies behind it, so nothing inside a corpus "
            "may be one. Put the folder or file itself there, then run again. Nothing was changed."
        )
    if depth and stat.S_ISDIR(mode):
        for name in os.listdir(path):
            _look(os.path.join(path, name), depth - 1)
