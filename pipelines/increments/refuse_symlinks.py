"""Refusal of symbolic links inside a corpus: through one, a run would write or remove files elsewhere."""

from __future__ import annotations

import os
import stat

from schemas import corpus_layout as layout
from schemas import storage
from schemas.errors import CorpusError

_DEPTHS = {
    **dict.fromkeys((layout.LEASES, layout.MANIFESTS, layout.JOURNAL, layout.LEDGERS, layout.MADE_TASKS), 1),
    **dict.fromkeys((layout.INCREMENTS, layout.NEAR_INDEXES, layout.TOKENIZERS), 2),
    layout.SOURCES_NOTE: 0,
}
"""Levels below each entry in which a run writes or removes by name; removing a tree follows no links."""


def refuse_links(corpus: str) -> None:
    """Raise a CorpusError if a file or folder that a run writes or removes in a local corpus is a link."""
    if storage.is_local(corpus):
        _, root = storage.filesystem(corpus)
        for name, depth in _DEPTHS.items():
            _check(os.path.join(root, name), depth)


def _check(path: str, depth: int) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # other checks report a corpus that is no folder
        return
    if stat.S_ISLNK(mode):
        raise CorpusError(
            f"{path}: is a link. A run would write to its target or remove it, so a corpus must not contain "
            "links. Replace the link by the folder or file itself, then run again. Nothing was changed."
        )
    if depth and stat.S_ISDIR(mode):
        for name in os.listdir(path):
            _check(os.path.join(path, name), depth - 1)
