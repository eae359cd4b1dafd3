"""`corpus prune`: removal of increments that no kept manifest needs.

    kept manifests: the newest, and those named by --keep ─► increments in them
    take the lease, so that no other run writes
        ─► remove manifests that name any other increment
        ─► remove the other increments: texts, shards, rejects, statistics, ledgers, indexes
        ─► remove the remains of ended runs

Manifests go first: whenever a prune stops, no manifest names missing files, and the next prune continues. A
training run that pins a removed manifest cannot resume. The journal stays unless --journal is given: without
it, documents that are synthesized once more are paid for once more.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable

from pipelines.increments.lease import held, new_token, refuse_if_held
from pipelines.increments.refuse_symlinks import refuse_links
from plugins.progress import tracked
from schemas import storage
from schemas.corpus_layout import (
    JOURNAL,
    LEASES,
    MANIFESTS,
    OF_INCREMENTS,
    increment_entries,
    journal_uri,
    manifest_numbers,
    manifest_uri,
    names_in,
    number_of,
)
from schemas.manifest import read_manifest

_TEMPORARY = re.compile(r".*\.[0-9a-f]{32}\.tmp")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Result of a prune."""

    corpus: str
    kept: tuple[int, ...]  # numbers of the manifests that stay
    manifests: tuple[int, ...]  # numbers of the removed ones
    increments: tuple[int, ...]  # numbers of the removed ones
    leftovers: tuple[str, ...]  # of ended runs: increments that no manifest names, and temporary files
    journal: bool  # True if the journal is removed
    num_bytes: int  # of everything removed


def prune_command(arguments: argparse.Namespace) -> int:
    """Run `corpus prune`; return the exit status."""
    pruned = prune(arguments.uri, keep=arguments.keep, journal=arguments.journal, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(pruned)))
    else:
        _print(pruned, dry_run=arguments.dry_run)
    return 0


def prune(corpus: str, *, keep: Iterable[int] = (), journal: bool = False, dry_run: bool = False) -> Pruned:
    """Remove everything that no kept manifest needs.

    Args:
        keep: Numbers of manifests that stay whole, beside the newest.
        journal: Remove the journal, too.
        dry_run: Remove nothing; only report.

    Raises:
        CorpusError: There is no corpus or no such manifest, a manifest is damaged, or another run is at work.
    """
    refuse_links(corpus)
    with contextlib.nullcontext() if dry_run else held(corpus, new_token()) as lease:
        found, doomed = _find(corpus, keep=keep, journal=journal)
        if lease is None:
            refuse_if_held(corpus)
            return found
        for uri in tracked(doomed, "prune", unit="files and folders", total=len(doomed)):
            lease.check()
            storage.remove_tree(uri)
        return found


def _find(corpus: str, *, keep: Iterable[int], journal: bool) -> tuple[Pruned, list[str]]:
    """The result of a prune, and the URIs to remove, in this order."""
    newest = read_manifest(corpus)
    kept = {newest.number: newest} | {number: read_manifest(corpus, number) for number in keep}
    needed = {name for manifest in kept.values() for name in manifest.names()}
    manifests, named = [], set()
    for number in manifest_numbers(corpus):
        of_manifest = set((kept.get(number) or read_manifest(corpus, number)).names())
        if of_manifest <= needed:
            kept.setdefault(number, newest)
        else:
            manifests.append(number)
            named |= of_manifest - needed
    temporary = [
        storage.join(corpus, folder, file)
        for folder in ("", MANIFESTS, LEASES, JOURNAL, *OF_INCREMENTS)
        for file in names_in(storage.join(corpus, folder))
        if _TEMPORARY.fullmatch(file)
    ]
    entries = [
        (name, uri)
        for name, uri in increment_entries(corpus)
        if name not in needed and not _TEMPORARY.fullmatch(uri)
    ]
    doomed = [manifest_uri(corpus, number) for number in manifests]
    doomed += [*(uri for _, uri in entries), *temporary, *([journal_uri(corpus)] if journal else [])]
    found = Pruned(
        corpus=corpus,
        kept=tuple(sorted(kept)),
        manifests=tuple(manifests),
        increments=tuple(sorted(map(number_of, named))),
        leftovers=(
            *sorted({name for name, _ in entries} - named),
            *(uri.rsplit("/", 1)[-1] for uri in temporary),
        ),
        journal=journal,
        num_bytes=sum(map(_size, doomed)),
    )
    return found, doomed


def _size(uri: str) -> int:
    fs, path = storage.filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        return int(fs.du(path))
    return 0


def _print(pruned: Pruned, *, dry_run: bool) -> None:
    lines = []
    if pruned.increments:
        lines.append(f"  increments {_list(pruned.increments)}, which no kept manifest names")
    if pruned.manifests:
        lines.append(f"  manifests {_list(pruned.manifests)}: training runs that pin them cannot resume")
    if pruned.leftovers:
        lines.append(f"  left by killed runs: {_list(pruned.leftovers)}")
    if pruned.journal:
        lines.append("  the journal: a document that is synthesized again costs a request again")
    size = f"{pruned.num_bytes / 1e6:,.1f} MB"
    head = f"{'would remove' if dry_run else 'removed'} {size}" if lines else "nothing to remove"
    print("\n".join([f"{pruned.corpus}: {head}; manifests kept: {_list(pruned.kept)}.", *lines]))


def _list(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))
