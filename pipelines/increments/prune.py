"""Increments that no kept manifest needs, removed from a corpus.

    kept manifests: the newest, and those that are asked for ─► the increments that they name
    take the lease, so that no other run writes
        ─► remove manifests that name any other increment
        ─► remove the other increments: texts, shards, rejects, statistics, ledgers, indexes
        ─► remove what ended runs left

Manifests go first: whenever it is stopped, no manifest names files that are gone, and the next prune goes on.
A training run that pins a removed manifest cannot be resumed. The journal stays unless its removal is asked
for: without it documents that are synthesized once more are paid for once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator

from pipelines.increments.lease import held, new_token, refuse_if_held
from pipelines.increments.symlinks import refuse_links
from pipelines.store.layout import TABLES, entries_of
from schemas import storage
from schemas.manifest import manifest_numbers, manifest_uri, number_of, read_manifest

_OF_AN_INCREMENT = re.compile(r"(\d{6,}(?:-[0-9a-f]+)?)(\..*)?")
_TEMPORARY = re.compile(r".*\.[0-9a-f]{32}\.tmp")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        corpus: The corpus.
        kept: Numbers of the manifests that stay.
        manifests: Numbers of the manifests that go.
        increments: Numbers of the increments that go with them.
        leftovers: What ended runs left: names of increments that no manifest names, and temporary files.
        journal: Whether the journal goes.
        num_bytes: Bytes of all that goes.
    """

    corpus: str
    kept: tuple[int, ...]
    manifests: tuple[int, ...]
    increments: tuple[int, ...]
    leftovers: tuple[str, ...]
    journal: bool
    num_bytes: int


def prune(corpus: str, *, keep: Iterable[int] = (), journal: bool = False, dry_run: bool = False) -> Pruned:
    """Remove what no kept manifest needs.

    Args:
        corpus: The corpus.
        keep: Numbers of manifests that stay whole, beside the newest.
        journal: Whether the journal goes, too.
        dry_run: Only find out what would go.

    Raises:
        CorpusError: There is no corpus or no such manifest, a manifest is damaged, or another run is at work.
    """
    refuse_links(corpus)
    with contextlib.nullcontext() if dry_run else held(corpus, new_token()) as lease:
        found, doomed = _find(corpus, keep=keep, journal=journal)
        if lease is None:
            refuse_if_held(corpus)
            return found
        for uri in doomed:
            lease.check()
            storage.remove_tree(uri)
        return found


def _find(corpus: str, *, keep: Iterable[int], journal: bool) -> tuple[Pruned, list[str]]:
    """What goes, and the URIs of it in the order in which they are removed."""
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
    folders = ("increments", *TABLES)
    entries = [entry for folder in folders for entry in _entries(corpus, folder) if entry[0] not in needed]
    temporary = [
        storage.join(corpus, folder, file)
        for folder in ("", "manifest", "lock", *folders)
        for file in entries_of(corpus, folder)
        if _TEMPORARY.fullmatch(file)
    ]
    doomed = [manifest_uri(corpus, number) for number in manifests]
    doomed += [*(uri for _, uri in entries), *temporary]
    if journal:
        doomed.append(storage.join(corpus, "journal"))
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


def _entries(corpus: str, folder: str) -> Iterator[tuple[str, str]]:
    """Names of increments and URIs of what lies in a folder under them."""
    for file in entries_of(corpus, folder):
        matched = _OF_AN_INCREMENT.fullmatch(file)
        if matched and not _TEMPORARY.fullmatch(file):
            yield matched[1], storage.join(corpus, folder, file)


def _size(uri: str) -> int:
    fs, path = storage.filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        return int(fs.du(path))
    return 0
