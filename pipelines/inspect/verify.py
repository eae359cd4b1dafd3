"""Whether a corpus is as it was published: every shard file, row and pair that a manifest names.

    manifest ─┬► shard directories ─► listing: is each file there, of its size
              │                    └► each file: hash ─► unpack ─► rows: as many, as long, texts that fit
              ├► texts, pairs ─► as many pairs as announced, each of its text
              ├► ledgers and near indexes ─► those of each stream of an increment: hash
              └► the tokenizer's files: hash

Streaming itself ends an epoch early, and says nothing, where a shard is missing or cut short, and knows
nothing of the manifest. Every file is read once, whichever file system it lies on; at any time at most
`NUM_READERS` shards are in memory, packed and unpacked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.store.layout import ledger_uri, near_index_uri
from pipelines.store.ledger import check_ledger
from pipelines.store.near_index import check_near_index
from pipelines.store.pair_files import read_texts
from plugins.corpus_tokenizer import tokenizer_damage
from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import Manifest, ShardSet, text_uris
from schemas.mds import rows_of
from schemas.shard_index import (
    Damage,
    ShardFile,
    directory_damage,
    hash_mismatch,
    read_index,
    row_fault,
    unpack,
)

NUM_READERS = 4
"""Shards read at a time: hashing and unpacking leave Python's lock, and remote files take their time."""

NAMED_ROWS = 3
"""Wrong rows of a shard that are named one by one; the others are counted."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was read of a corpus, and what was wrong with it.

    Attributes:
        corpus: URI of the corpus.
        manifest: Number of the manifest.
        num_files: Shard files that it names.
        num_bytes: Their size together, as announced.
        num_rows: Rows that it announces.
        num_pairs: Instruction pairs that it announces to be stored.
        damages: One for each thing that is wrong; empty for a sound corpus.
    """

    corpus: str
    manifest: int
    num_files: int
    num_bytes: int
    num_rows: int
    num_pairs: int
    damages: tuple[Damage, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What one shard file holds.

    Attributes:
        num_tokens: Tokens of its texts; None if it could not be read to its end.
        findings: What is wrong with it.
    """

    num_tokens: int | None
    findings: tuple[str, ...]


def verify_corpus(corpus: str, manifest: Manifest) -> Verification:
    """Read every shard that a manifest names.

    Args:
        corpus: URI of the corpus, on any fsspec file system.
        manifest: One of its manifests.
    """
    shard_sets = [shards for increment in manifest.increments for shards in increment.streams.values()]
    damages = [*tokenizer_damage(corpus, manifest), *_damaged_tables(corpus, manifest)]
    num_files = num_bytes = 0
    with ThreadPoolExecutor(NUM_READERS) as readers:
        for shard_set in shard_sets:
            try:
                index = read_index(corpus, shard_set)
            except (CorpusError, OSError) as error:
                file = storage.join(corpus, shard_set.path, "index.json")
                damages.append(Damage(file=file, finding=str(error).removeprefix(f"{file}: ").rstrip(".")))
                continue
            files = index.shards
            num_files += len(files)
            num_bytes += sum(file.stored.bytes for file in files)
            listed = list(directory_damage(corpus, shard_set, index))
            damages += _damages(corpus, shard_set, listed, files, manifest.seq_len, readers)
    for increment in manifest.increments:
        for stream, shard_set in increment.streams.items():
            damages += _pair_damages(text_uris(corpus, stream, increment.name), shard_set)
    return Verification(
        corpus=corpus,
        manifest=manifest.number,
        num_files=num_files,
        num_bytes=num_bytes,
        num_rows=sum(shard_set.num_samples for shard_set in shard_sets),
        num_pairs=sum(shard_set.num_stored_pairs for shard_set in shard_sets),
        damages=tuple(damages),
    )


def _damaged_tables(corpus: str, manifest: Manifest) -> Iterator[Damage]:
    """Ledgers that are missing or damaged, by which a build knows what is in, and damaged near indexes."""
    for increment in manifest.increments:
        for stream in increment.streams:
            ledger = ledger_uri(corpus, stream, increment.name)
            near = near_index_uri(corpus, stream, increment.name)
            for uri, check in ((ledger, check_ledger), (near, check_near_index)):
                try:
                    check(uri)
                except FileNotFoundError:
                    yield Damage(file=uri, finding="is missing")
                except (CorpusError, OSError) as error:
                    yield Damage(file=uri, finding=str(error).removeprefix(f"{uri}: ").rstrip("."))


def _damages(
    corpus: str,
    shard_set: ShardSet,
    listed: list[Damage],
    files: tuple[ShardFile, ...],
    seq_len: int,
    readers: ThreadPoolExecutor,
) -> Iterator[Damage]:
    """Damages of one shard directory: those of its listing, then those of the files that are there whole."""
    yield from listed
    uri = storage.join(corpus, shard_set.path)
    known = {damage.file for damage in listed}
    whole = [file for file in files if f"{uri}/{file.stored.basename}" not in known]
    num_tokens = 0
    all_read = len(whole) == len(files)
    for file, reading in zip(
        whole,
        readers.map(lambda file: _read(f"{uri}/{file.stored.basename}", file, seq_len), whole),
        strict=True,
    ):
        yield from (
            Damage(file=f"{uri}/{file.stored.basename}", finding=finding) for finding in reading.findings
        )
        num_tokens += reading.num_tokens or 0
        all_read = all_read and reading.num_tokens is not None
    if all_read and num_tokens != shard_set.num_tokens:
        yield Damage(
            file=f"{uri}/index.json",
            finding=f"its shards hold {num_tokens} tokens, the manifest says {shard_set.num_tokens}",
        )


def _pair_damages(files: list[str], shard_set: ShardSet) -> Iterator[Damage]:
    """Damages of the pairs of a stream in an increment; of texts only where they hold stored pairs."""
    if not shard_set.num_stored_pairs:
        return
    found = stored = 0
    all_read = True
    for file in files:
        try:
            for text in read_texts(file, shard_set):
                found += text.num_pairs
                stored += len(text.pairs)
        except CorpusError as error:
            named, _, finding = str(error).partition(": ")
            yield Damage(file=named, finding=finding.removesuffix(" Restore it.").rstrip("."))
            all_read = False
        except (OSError, ValueError, TypeError, KeyError) as error:
            yield Damage(file=file, finding=f"texts or their pairs cannot be read: {error}")
            all_read = False
    if all_read and (found, stored) != (shard_set.num_pairs, shard_set.num_stored_pairs):
        yield Damage(
            file=shard_set.path,
            finding=f"its texts hold {found} pairs, of which {stored} are stored; the manifest says "
            f"{shard_set.num_pairs} and {shard_set.num_stored_pairs}",
        )


def _read(name: str, file: ShardFile, seq_len: int) -> _Reading:
    """Read one shard file to its last row, or to where it is damaged."""
    try:
        data = storage.read_bytes(name, limit=file.stored.bytes)
    except OSError as error:
        return _unread(f"shard cannot be read: {error}")
    mismatch = hash_mismatch([data], file.stored.hashes)
    if mismatch is not None:
        return _unread(mismatch)
    try:
        num_tokens = num_misfits = 0
        findings: list[str] = []
        for number, row in enumerate(rows_of(unpack(data, file), file.column_names)):
            finding = row_fault(row, seq_len)
            if finding is not None:
                num_misfits += 1
                findings += [f"row {number} {finding}"] if num_misfits <= NAMED_ROWS else []
            num_tokens += int(row["segment_lengths"].sum(dtype=np.int64))
        if num_misfits > NAMED_ROWS:
            findings.append(f"{num_misfits - NAMED_ROWS} more rows are wrong")
    except CorpusError as error:
        return _unread(f"shard {error}")
    return _Reading(num_tokens=num_tokens, findings=tuple(findings))


def _unread(finding: str) -> _Reading:
    return _Reading(num_tokens=None, findings=(finding,))
