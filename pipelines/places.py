"""Where the parts of an increment lie in a corpus."""

from __future__ import annotations

from schemas import storage


def increment_uri(corpus: str, number: int) -> str:
    """Directory of an increment: its texts, shards, rejects and statistics."""
    return storage.join(corpus, "increments", f"{number:06d}")


def ledger_uri(corpus: str, stream: str, number: int) -> str:
    """Ledger of one increment and stream."""
    return storage.join(corpus, "ledger", f"{number:06d}.{stream}.ledger")


def remove_ledgers(corpus: str, number: int) -> None:
    """Remove all ledgers of an increment that is not published."""
    fs, path = storage.filesystem(storage.join(corpus, "ledger"))
    if not fs.exists(path):
        return
    for entry in fs.ls(path, detail=False, refresh=True):
        if entry.rsplit("/", 1)[-1].startswith(f"{number:06d}."):
            fs.rm_file(entry)
