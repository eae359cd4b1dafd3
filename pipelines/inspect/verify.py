"""`corpus verify`: check that every shard file, row and pair of a manifest is as it was published.

    manifest ─┬► shard directories ─► listing: each file exists and has its size
              │                    └► each file: hash ─► unpack ─► rows: number, length, texts that fit
              ├► texts, pairs ─► number of pairs, each with its text
              ├► held-out documents ─► number
              ├► ledgers and near indexes of each increment and stream ─► hash
              └► files of the tokenizer ─► hash

Streaming itself does not know the manifest, and ends an epoch early without an error if a shard is missing or
truncated. Verification reads every file once, on any file system. At most `NUM_READERS` shards are in memory,
packed and unpacked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.store.held_out import stored_in
from pipelines.store.ledger import check_ledger
from pipelines.store.near_index import check_near_index
from pipelines.store.pair_files import read_texts
from plugins.corpus_tokenizer import tokenizer_damage
from plugins.progress import Progress
from schemas import exit_status, storage
from schemas.corpus_layout import (
    HELD_OUT,
    held_out_ledger,
    increment_uri,
    index_uri,
    ledger_uri,
    near_index_uri,
    text_uris,
    versions_ledger,
)
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest, ShardSet, read_manifest
from schemas.mds import rows_of
from schemas.shard_index import CURE, Damage, ShardFile, directory_damage, read_index, read_shard, row_fault

NUM_READERS = 4
"""Shards read at a time, by threads: hashing and unpacking release Python's lock, remote reads are slow."""

NAMED_ROWS = 3
"""Wrong rows of a shard that are named one by one; further ones are counted."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Result of a verification."""

    corpus: str
    manifest: int  # its number
    num_files: int  # shard files in the indexes
    num_bytes: int  # total size of these files, as announced
    num_rows: int  # that the manifest announces
    num_pairs: int  # stored pairs that it announces
    damages: tuple[Damage, ...]  # one for each fault; empty for a sound corpus


def verify_command(arguments: argparse.Namespace) -> int:
    """Run `corpus verify`; return the exit status, FAILED for a damaged corpus."""
    verification = verify_corpus(arguments.uri, read_manifest(arguments.uri, arguments.manifest))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(verification), ensure_ascii=False))
    else:
        _print(verification)
    return exit_status.FAILED if verification.damages else exit_status.DONE


def verify_corpus(corpus: str, manifest: Manifest) -> Verification:
    """Read every file that a manifest names."""
    shard_sets = [shards for increment in manifest.increments for shards in increment.streams.values()]
    damages = [*tokenizer_damage(corpus, manifest), *_damaged_tables(corpus, manifest)]
    num_files = num_bytes = 0
    num_rows = sum(shard_set.num_samples for shard_set in shard_sets)
    progress = Progress("verify", unit="rows", total=num_rows)
    with progress, ThreadPoolExecutor(NUM_READERS) as readers:
        for shard_set in shard_sets:
            try:
                index = read_index(corpus, shard_set)
            except (CorpusError, OSError) as error:
                damages.append(_damage(index_uri(storage.join(corpus, shard_set.path)), error))
                continue
            files = index.shards
            num_files += len(files)
            num_bytes += sum(file.stored.bytes for file in files)
            listed = list(directory_damage(corpus, shard_set, index))
            damages += _damages(corpus, shard_set, listed, files, manifest.seq_len, readers, progress)
    for increment in manifest.increments:
        for stream, shard_set in increment.streams.items():
            damages += _pair_damages(text_uris(corpus, stream, increment.name), shard_set)
        damages += _held_out_damages(corpus, increment)
    return Verification(
        corpus=corpus,
        manifest=manifest.number,
        num_files=num_files,
        num_bytes=num_bytes,
        num_rows=num_rows,
        num_pairs=sum(shard_set.num_stored_pairs for shard_set in shard_sets),
        damages=tuple(damages),
    )


def _damaged_tables(corpus: str, manifest: Manifest) -> Iterator[Damage]:
    """Ledgers that are missing or damaged, and damaged near indexes."""
    for increment in manifest.increments:
        held_out = increment.num_held_out
        others = (*map(held_out_ledger, held_out), *map(versions_ledger, increment.versions))
        for stream in (*{**increment.streams, **held_out}, *others):
            ledger = ledger_uri(corpus, stream, increment.name)
            near = near_index_uri(corpus, stream, increment.name)
            for uri, check in ((ledger, check_ledger), (near, check_near_index)):
                try:
                    check(uri)
                except FileNotFoundError:
                    yield Damage(file=uri, finding="is missing")
                except (CorpusError, OSError) as error:
                    yield _damage(uri, error)


def _damage(file: str, error: Exception) -> Damage:
    return Damage(file=file, finding=str(error).removeprefix(f"{file}: ").rstrip("."))


def _damages(
    corpus: str,
    shard_set: ShardSet,
    listed: list[Damage],
    files: tuple[ShardFile, ...],
    seq_len: int,
    readers: ThreadPoolExecutor,
    progress: Progress,
) -> Iterator[Damage]:
    """Damages of one shard directory: those in its listing, then those inside the complete files."""
    yield from listed
    uri = storage.join(corpus, shard_set.path)
    known = {damage.file for damage in listed}
    whole = [file for file in files if f"{uri}/{file.stored.basename}" not in known]
    num_tokens = 0
    all_read = len(whole) == len(files)
    readings = readers.map(lambda file: _read(uri, file, seq_len), whole)
    for file, (tokens, findings) in zip(whole, readings, strict=True):
        yield from (Damage(file=f"{uri}/{file.stored.basename}", finding=finding) for finding in findings)
        progress.add(file.samples)
        num_tokens += tokens or 0
        all_read = all_read and tokens is not None
    if all_read and num_tokens != shard_set.num_tokens:
        yield Damage(
            file=index_uri(uri),
            finding=f"its shards hold {num_tokens} tokens, the manifest says {shard_set.num_tokens}",
        )


def _pair_damages(files: list[str], shard_set: ShardSet) -> Iterator[Damage]:
    """Damages of the texts and pairs of an increment and stream; nothing without stored pairs."""
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


def _held_out_damages(corpus: str, increment: Increment) -> Iterator[Damage]:
    """Damages of the held-out documents of an increment."""
    for stream, expected in increment.num_held_out.items():
        folder = storage.join(increment_uri(corpus, increment.name), HELD_OUT)
        try:
            found = sum(1 for _ in stored_in(corpus, increment, stream))
        except (CorpusError, OSError) as error:
            yield _damage(folder, error)
            continue
        if found != expected:
            said = f"the manifest says {expected}"
            yield Damage(file=folder, finding=f"holds {found} held-out documents of {stream!r}, {said}")


def _read(uri: str, file: ShardFile, seq_len: int) -> tuple[int | None, list[str]]:
    """Read one shard file; return its tokens, None if it is damaged, and its faults."""
    try:
        data = read_shard(uri, file)
    except CorpusError as error:
        message = str(error).removeprefix(f"{uri}/{file.stored.basename}: ")
        return None, [message.removesuffix(f" {CURE}").rstrip(".")]
    num_tokens = num_misfits = 0
    findings: list[str] = []
    try:
        for number, row in enumerate(rows_of(data, file.column_names)):
            finding = row_fault(row, seq_len)
            if finding is not None:
                num_misfits += 1
                findings += [f"row {number} {finding}"] if num_misfits <= NAMED_ROWS else []
            num_tokens += int(row["segment_lengths"].sum(dtype=np.int64))
    except CorpusError as error:
        return None, [f"shard {error}"]
    if num_misfits > NAMED_ROWS:
        findings.append(f"{num_misfits - NAMED_ROWS} more rows are wrong")
    return num_tokens, findings


def _print(verification: Verification) -> None:
    for damage in verification.damages:
        print(f"{damage.file}: {damage.finding}.")
    size = f"{verification.num_files:,} shard files of {verification.num_bytes / 1e6:,.1f} MB"
    head = f"{verification.corpus}, manifest {verification.manifest}: {size}, {verification.num_rows:,} rows"
    if verification.num_pairs:
        head += f", {verification.num_pairs:,} pairs"
    if verification.damages:
        print(f"{head}: {len(verification.damages):,} found wrong. {CURE}")
    else:
        print(f"{head}: all sound.")
