"""Increments that no kept manifest needs, removed from a corpus.

    kept manifests: the newest, and those that are asked for ─► the increments that they name
    claim the next increment, so that no other run writes
        ─► remove manifests that name any other increment
        ─► remove the other increments: texts, shards, rejects, statistics, ledgers, indexes
        ─► remove what killed runs left

Manifests go first: whenever it is stopped, no manifest names files that are gone, and the next prune goes on.
A training run that pins a removed manifest cannot be resumed. The journal stays unless its removal is asked
for: without it documents that are synthesized once more are paid for once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator

from pipelines.claim import refuse_if_held
from pipelines.draft import drafted
from schemas import storage
from schemas.manifest import increment_uri, manifest_numbers, manifest_uri, read_manifest

_OF_AN_INCREMENT = re.compile(r"(\d{6,})(\..*)?")
_TEMPORARY = re.compile(r".*\.[0-9a-f]{32}\.tmp")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        corpus: The corpus.
        kept: Numbers of the manifests that stay.
        manifests: Numbers of the manifests that go.
        increments: Numbers of the increments that go with them.
        leftovers: What killed runs left: numbers of increments that no manifest names, and temporary files.
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
    newest = read_manifest(corpus)
    kept = {newest.number: newest} | {number: read_manifest(corpus, number) for number in keep}
    needed = {number for manifest in kept.values() for number in manifest.numbers()}
    manifests, named = [], set()
    for number in manifest_numbers(corpus):
        of_manifest = set((kept.get(number) or read_manifest(corpus, number)).numbers())
        if of_manifest <= needed:
            kept.setdefault(number, newest)
        else:
            manifests.append(number)
            named |= of_manifest - needed
    folders = ("increments", "ledger", "dedup")
    entries = [entry for folder in folders for entry in _entries(corpus, folder) if entry[0] not in needed]
    temporary = [uri for folder in ("", "manifest", *folders) for uri in _temporary_files(corpus, folder)]
    doomed = [manifest_uri(corpus, number) for number in manifests]
    doomed += [*(uri for _, uri in entries), *temporary]
    if journal:
        doomed.append(storage.join(corpus, "journal"))
    found = Pruned(
        corpus=corpus,
        kept=tuple(sorted(kept)),
        manifests=tuple(manifests),
        increments=tuple(sorted(named)),
        leftovers=(
            *(f"{number:06d}" for number in sorted({number for number, _ in entries} - named)),
            *(uri.rsplit("/", 1)[-1] for uri in temporary),
        ),
        journal=journal,
        num_bytes=sum(map(_size, doomed)),
    )
    if dry_run:
        refuse_if_held(increment_uri(corpus, newest.number + 1))
        return found
    with drafted(corpus, newest.number + 1):  # never published; whoever claims it removes what was in it
        for uri in doomed:
            storage.remove_tree(uri)
    return found


def _entries(corpus: str, folder: str) -> Iterator[tuple[int, str]]:
    """Numbers and URIs of what lies in a folder under the number of an increment."""
    for name in _names(corpus, folder):
        matched = _OF_AN_INCREMENT.fullmatch(name)
        if matched and not _TEMPORARY.fullmatch(name):
            yield int(matched[1]), storage.join(corpus, folder, name)


def _temporary_files(corpus: str, folder: str) -> Iterator[str]:
    for name in _names(corpus, folder):
        if _TEMPORARY.fullmatch(name):
            yield storage.join(corpus, *filter(None, (folder,)), name)


def _names(corpus: str, folder: str) -> list[str]:
    fs, path = storage.filesystem(storage.join(corpus, folder).rstrip("/"))
    if not fs.exists(path):
        return []
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False, refresh=True))


def _size(uri: str) -> int:
    fs, path = storage.filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        return int(fs.du(path))
    return 0
