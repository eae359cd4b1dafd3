"""Where the parts of an increment lie in a corpus."""

from __future__ import annotations

from schemas import storage


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


def ledger_uri(corpus: str, stream: str, number: int) -> str:
    """Ledger of one increment and stream."""
    return storage.join(corpus, "ledger", f"{number:06d}.{stream}.ledger")


def near_index_uri(corpus: str, stream: str, number: int) -> str:
    """Directory of the index that near copies are found by, of one increment and stream."""
    return storage.join(corpus, "dedup", f"{number:06d}.{stream}")


def asked_again_uri(increment: str, stream: str) -> str:
    """File of the names of documents without pairs that an increment asks about again."""
    return storage.join(increment, f"asked-again-{stream}.zst")


def remove_tables(corpus: str, number: int) -> None:
    """Remove all ledgers and indexes of near copies of an increment that is not published."""
    for folder in ("ledger", "dedup"):
        fs, path = storage.filesystem(storage.join(corpus, folder))
        if not fs.exists(path):
            continue
        for entry in fs.ls(path, detail=False, refresh=True):
            if entry.rstrip("/").rsplit("/", 1)[-1].startswith(f"{number:06d}."):
                fs.rm(entry, recursive=True)
