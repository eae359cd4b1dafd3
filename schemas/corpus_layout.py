"""Paths of a corpus: every folder and file name that it has on disk.

    manifest/000003.json                     one state of the corpus; the highest number is the newest
    increments/000003-<token>/
        texts/<stream>-00000.jsonl.zst       training texts of a group of shards
        pairs/<stream>-00000.jsonl.zst       instruction pairs of these texts; no file without pairs
        lineage/<stream>-00000.jsonl.zst     texts of each row of the group
        shards/<stream>/index.json           index of all groups
        shards/<stream>/00000/               shards of one group, index.json and group.json
        rejects/<stage>.jsonl.zst            rejects of each step
        duplicates/<stream>.jsonl.zst        documents dropped as copies
        held-out/<stream>-00000.jsonl.zst    documents kept for evaluation; no folder without any
        superseded-<stream>.zst              document_ids that the increment replaces
        asked-again-<stream>.zst             document_ids that --retry-empty asks about again
        decontamination.json  stats.json  README.md  report.html
    ledger/000003-<token>.<stream>.ledger    content hashes of the documents
    ledger/000003-<token>.<stream>.held-out.ledger   of those that were held out, by content
    ledger/000003-<token>.<stream>.versions.ledger   newest versions seen, where rows or files state them
    dedup/000003-<token>.<stream>/           band keys of the documents, an index of near duplicates
    tokenizer/<fingerprint>/                 files of the tokenizer, and files.json with their hashes
    journal/
        <writer>-0001.jsonl                  answers of the model that a worker appends
        <writer>-0001.jsonl.zst              answers of one flush, on object stores
        merged-<token>.jsonl.zst             those of many flushes
        table-<token>-00000.keys             where the answer to each key is
        sealed-000003.json                   files and tables; the highest number is the newest
        retry.json                           marks an attempt to ask again
    made-tasks/<name>.jsonl                  questions made about the corpus, which builds keep out
    sources.jsonl.zst                        source files already read
    lock/000007.json                         lease of the run that may write

The token is random, so each run writes to folders of its own. Increments of older versions have none.

A function `…_uri` returns the URI of one of these files or folders. Its first argument is the corpus, or the
directory of an increment or journal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from schemas import storage

MANIFESTS = "manifest"
INCREMENTS = "increments"
LEDGERS = "ledger"
NEAR_INDEXES = "dedup"
TOKENIZERS = "tokenizer"
JOURNAL = "journal"
JOURNAL_LINES = ".jsonl"
JOURNAL_FLUSH = ".jsonl.zst"
JOURNAL_MERGED = "merged-"
LEASES = "lock"
MADE_TASKS = "made-tasks"
SOURCES_NOTE = "sources.jsonl.zst"

OF_INCREMENTS = (INCREMENTS, LEDGERS, NEAR_INDEXES)
"""Folders whose entries each belong to one increment."""

TEXTS = "texts"
PAIRS = "pairs"
LINEAGE = "lineage"
SHARDS = "shards"
REJECTS = "rejects"
DUPLICATES = "duplicates"
HELD_OUT = "held-out"
INDEX_FILE = "index.json"
GROUP_FILE = "group.json"
TOKENIZER_LISTING = "files.json"

_NUMBERED = re.compile(r"(?!0{6})(?:[0-9]{6}|[1-9][0-9]{6,17})\.json")
_SEALED = re.compile(r"sealed-(\d{6,18})\.json", re.ASCII)
_OF_AN_INCREMENT = re.compile(r"(\d{6,}(?:-[0-9a-f]+)?)(\..*)?", re.ASCII)
_LEDGER = re.compile(r"(\d{6,18}(?:-[0-9a-f]{1,32})?)\.([\w-]+)\.ledger", re.ASCII)


def names_in(folder: str) -> list[str]:
    """Names of the entries of a folder, sorted; none if there is no such folder."""
    fs, path = storage.filesystem(folder.rstrip("/"))
    try:
        entries = fs.ls(path, detail=False, refresh=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in entries)


def numbers_in(corpus: str, folder: str) -> list[int]:
    """Numbers of the files `000003.json` in the folder of manifests or leases, in order."""
    names = names_in(storage.join(corpus, folder))
    return sorted(int(name[:-5]) for name in names if _NUMBERED.fullmatch(name))


def manifest_uri(corpus: str, number: int) -> str:
    return storage.join(corpus, MANIFESTS, f"{number:06d}.json")


def manifest_numbers(corpus: str) -> list[int]:
    return numbers_in(corpus, MANIFESTS)


def parse_manifest_uri(uri: str) -> tuple[str, int] | None:
    """Corpus and number of `CORPUS/manifest/000003.json`; None for any other URI."""
    corpus, _, number = uri.removesuffix(".json").rpartition(f"/{MANIFESTS}/")
    if not uri.endswith(".json") or not corpus or not number.isdecimal() or int(number) < 1:
        return None
    return corpus, int(number)


def lease_uri(corpus: str, number: int) -> str:
    return storage.join(corpus, LEASES, f"{number:06d}.json")


def made_tasks_uri(corpus: str, name: str) -> str:
    return storage.join(corpus, MADE_TASKS, f"{name}.jsonl")


def sources_note_uri(corpus: str) -> str:
    return storage.join(corpus, SOURCES_NOTE)


def tokenizer_uri(corpus: str, fingerprint: str) -> str:
    """Directory of a tokenizer's files."""
    return storage.join(corpus, TOKENIZERS, fingerprint)


def journal_uri(corpus: str) -> str:
    return storage.join(corpus, JOURNAL)


def journal_file_uri(journal: str, writer: str, number: int) -> str:
    return storage.join(journal, f"{writer}-{number:04d}{JOURNAL_LINES}")


def journal_flush_uri(journal: str, writer: str, number: int) -> str:
    return storage.join(journal, f"{writer}-{number:04d}{JOURNAL_FLUSH}")


def is_sealed_table(name: str) -> bool:
    """True for the name of a file of a journal's table."""
    return name.startswith("table-") and name.endswith(".keys")


def sealed_uri(journal: str, number: int) -> str:
    return storage.join(journal, f"sealed-{number:06d}.json")


def sealed_number(name: str) -> int:
    """Number of a listing of a journal's tables; 0 for any other file."""
    found = _SEALED.fullmatch(name)
    return int(found[1]) if found else 0


def retry_marker_uri(journal: str) -> str:
    return storage.join(journal, "retry.json")


def ledger_uri(corpus: str, stream: str, name: str) -> str:
    """URI of the ledger of one increment and stream."""
    return storage.join(corpus, LEDGERS, f"{name}.{stream}.ledger")


def held_out_ledger(stream: str) -> str:
    """Stream of `ledger_uri` for the held-out contents of a stream; no stream has a dot."""
    return f"{stream}.{HELD_OUT}"


def versions_ledger(stream: str) -> str:
    """Stream of `ledger_uri` for the newest versions that were seen of a stream's documents."""
    return f"{stream}.versions"


def streams_with_versions(corpus: str, streams: Iterable[str], name: str) -> tuple[str, ...]:
    """Streams with a ledger of versions of one increment."""
    uris = {stream: ledger_uri(corpus, versions_ledger(stream), name) for stream in streams}
    return tuple(stream for stream, uri in uris.items() if storage.exists(uri))


def streams_with_ledgers(corpus: str, names: Collection[str]) -> set[str]:
    """Streams with a ledger of one of these increments."""
    found = map(_LEDGER.fullmatch, names_in(storage.join(corpus, LEDGERS)))
    return {each[2] for each in found if each and each[1] in names}


def near_index_uri(corpus: str, stream: str, name: str) -> str:
    """Directory of the index of near duplicates of one increment and stream."""
    return storage.join(corpus, NEAR_INDEXES, f"{name}.{stream}")


def near_partition_uri(index: str, number: int) -> str:
    return storage.join(index, f"{number:05d}.near")


def index_uri(folder: str) -> str:
    return storage.join(folder, INDEX_FILE)


def increment_name(number: int, token: str = "") -> str:
    """Name of an increment's folders and tables: its number and a random part."""
    return f"{number:06d}-{token}" if token else f"{number:06d}"


def number_of(name: str) -> int:
    return int(name.partition("-")[0])


def increment_entries(corpus: str) -> Iterator[tuple[str, str]]:
    """Name of an increment, and URI of a file or folder that it has; published or not."""
    for folder in OF_INCREMENTS:
        for entry in names_in(storage.join(corpus, folder)):
            if matched := _OF_AN_INCREMENT.fullmatch(entry):
                yield matched[1], storage.join(corpus, folder, entry)


def increment_uri(corpus: str, name: str) -> str:
    return storage.join(corpus, INCREMENTS, name)


def shards_path(name: str, stream: str) -> str:
    """Directory of the shards of an increment and stream, relative to the corpus."""
    return storage.join(INCREMENTS, name, SHARDS, stream)


def shards_uri(increment: str, stream: str) -> str:
    """Directory of the shards of a stream; each group has a folder `00000` in it."""
    return storage.join(increment, SHARDS, stream)


def group_path(kind: str, stream: str, group: str) -> str:
    """File of one group's TEXTS, PAIRS, LINEAGE or HELD_OUT, relative to the directory of the increment."""
    return storage.join(kind, f"{stream}-{group}.jsonl.zst")


def text_uri(increment: str, stream: str, group: str) -> str:
    return storage.join(increment, group_path(TEXTS, stream, group))


def text_uris(corpus: str, stream: str, name: str, kind: str = TEXTS) -> list[str]:
    """URIs of all TEXTS or HELD_OUT documents that an increment holds of a stream, in order."""
    folder = storage.join(increment_uri(corpus, name), kind)
    return [storage.join(folder, file) for file in names_in(folder) if file.rsplit("-", 1)[0] == stream]


def group_of(texts: str) -> str:
    """Name of the group, such as 00000, of a file of texts."""
    return texts.rsplit("-", 1)[1].partition(".")[0]


def pairs_uri(texts: str) -> str:
    """URI of the pairs of a file of texts, in the order of the texts."""
    increment, _, file = texts.rpartition(f"/{TEXTS}/")
    return storage.join(increment, PAIRS, file)


def lineage_uri(increment: str, stream: str, group: str) -> str:
    return storage.join(increment, group_path(LINEAGE, stream, group))


def rejects_uri(increment: str, stage: str) -> str:
    return storage.join(increment, REJECTS, f"{stage}.jsonl.zst")


def rejects_uris(increment: str) -> list[str]:
    """URIs of the rejects of all steps, sorted."""
    folder = storage.join(increment, REJECTS)
    return [storage.join(folder, name) for name in names_in(folder)]


def duplicates_uri(increment: str, stream: str) -> str:
    return storage.join(increment, DUPLICATES, f"{stream}.jsonl.zst")


def superseded_uri(increment: str, stream: str) -> str:
    return storage.join(increment, f"superseded-{stream}.zst")


def asked_again_uri(increment: str, stream: str) -> str:
    return storage.join(increment, f"asked-again-{stream}.zst")


def decontamination_uri(increment: str) -> str:
    return storage.join(increment, "decontamination.json")


def stats_uri(increment: str) -> str:
    return storage.join(increment, "stats.json")


def card_uri(increment: str) -> str:
    return storage.join(increment, "README.md")


def report_uri(increment: str) -> str:
    """Report about the corpus up to an increment; written after its publication, and no part of it."""
    return storage.join(increment, "report.html")
