"""Where the parts of an increment lie in a corpus."""

from __future__ import annotations

import re

from schemas import storage
from schemas.manifest import increment_uri

TABLES = ("ledger", "dedup")
"""Folders of a corpus with files of each increment beside `increments/`."""


def text_uri(increment: str, stream: str, group: str) -> str:
    """File of the texts of one group of a stream's shards, in an increment's directory."""
    return storage.join(increment, "texts", f"{stream}-{group}.jsonl.zst")


def pairs_uri(texts: str) -> str:
    """File of the pairs in the texts of a file, in their order; there is none where no text has any."""
    increment, _, name = texts.rpartition("/texts/")
    return storage.join(increment, "pairs", name)


def lineage_uri(increment: str, stream: str, group: str) -> str:
    """File that says what each row of such a group is made of."""
    return storage.join(increment, "lineage", f"{stream}-{group}.jsonl.zst")


def ledger_uri(corpus: str, stream: str, name: str) -> str:
    """Ledger of one increment and stream."""
    return storage.join(corpus, "ledger", f"{name}.{stream}.ledger")


def near_index_uri(corpus: str, stream: str, name: str) -> str:
    """Directory of the index that near copies are found by, of one increment and stream."""
    return storage.join(corpus, "dedup", f"{name}.{stream}")


def asked_again_uri(increment: str, stream: str) -> str:
    """File of the names of documents without pairs that an increment asks about again."""
    return storage.join(increment, f"asked-again-{stream}.zst")


def remove_increment(corpus: str, name: str) -> None:
    """Remove all that an increment which no manifest names has written: its folder and its tables."""
    storage.remove_tree(increment_uri(corpus, name))
    for folder in TABLES:
        for entry in entries_of(corpus, folder):
            if entry.startswith(f"{name}."):
                storage.remove_tree(storage.join(corpus, folder, entry))


def unpublished(corpus: str, number: int, published: str) -> set[str]:
    """Names of increments of a number that were written and not published: what ended runs left."""
    entries = {
        entry.partition(".")[0] for folder in ("increments", *TABLES) for entry in entries_of(corpus, folder)
    }
    return {name for name in entries if re.fullmatch(rf"{number:06d}(-[0-9a-f]+)?", name)} - {published}


def entries_of(corpus: str, folder: str) -> list[str]:
    """Names of what lies in a folder of a corpus, sorted; none where there is no such folder."""
    fs, path = storage.filesystem(storage.join(corpus, folder).rstrip("/"))
    if not fs.exists(path):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False, refresh=True))
