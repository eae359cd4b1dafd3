"""Files of a corpus that belong to a manifest: all that a copy of the corpus needs, and nothing else.

Not among them: lease, leftovers of ended runs, reports, and files that no build writes. A copy has
rejects (records that cleaning refused), the journal (answers of the model) and the note of sources (paths of
files) only if somebody asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from schemas import storage
from schemas.corpus_layout import (
    INCREMENTS,
    JOURNAL,
    MADE_TASKS,
    MANIFESTS,
    SOURCES_NOTE,
    TOKENIZERS,
    increment_entries,
    manifest_numbers,
)
from schemas.manifest import Manifest, read_manifest

_STREAM = r"[\w-]+"
_OF_AN_INCREMENT = re.compile(
    rf"(texts|pairs|lineage|held-out)/{_STREAM}-\d{{5}}\.jsonl\.zst"
    rf"|shards/{_STREAM}/(\d{{5}}/)?(index\.json|group\.json|shard\.\d{{5}}\.mds(\.\w+)?)"
    rf"|(superseded|asked-again)-{_STREAM}\.zst|decontamination\.json|stats\.json|README\.md",
    re.ASCII,
)
_REJECTS = re.compile(r"(rejects|duplicates)/[\w-]+\.jsonl\.zst", re.ASCII)
_TABLES = re.compile(r"[\w.-]+\.ledger|[\w.-]+/(\d{5}\.near|index\.json)", re.ASCII)
_EXTRAS = {"journal": JOURNAL, "made-tasks": MADE_TASKS, "sources": SOURCES_NOTE}


def manifest_files(corpus: str, manifest: Manifest, extras: Collection[str] = ()) -> list[str]:
    """Paths, relative to the corpus, of all files of a manifest but the manifests themselves, sorted.

    Args:
        extras: Of `rejects`, `journal`, `made-tasks` and `sources`, what belongs to the copy, too.
    """
    fs, root = storage.filesystem(corpus.rstrip("/"))

    def below(*parts: str) -> list[str]:
        where = storage.join(root, *parts)
        return [str(each).removeprefix(f"{root}/") for each in fs.find(where)]

    names = {*manifest.names()}
    found: list[str] = []
    for name, uri in increment_entries(corpus):
        if name not in names:
            continue
        folder, entry = uri.rstrip("/").rsplit("/", 2)[-2:]
        for path in below(folder, entry):
            inside = path.split("/", 2 if folder == INCREMENTS else 1)[-1]
            patterns = [_TABLES]
            if folder == INCREMENTS:
                patterns = [_OF_AN_INCREMENT, *([_REJECTS] if "rejects" in extras else [])]
            if any(pattern.fullmatch(inside) for pattern in patterns):
                found.append(path)
    found += below(TOKENIZERS, manifest.tokenizer)
    for extra in extras:
        if extra in _EXTRAS:
            found += [path for path in below(_EXTRAS[extra]) if not path.endswith(".tmp")]
    return sorted(found)


def manifests_within(corpus: str, manifest: Manifest) -> list[str]:
    """Paths of a manifest and of the older ones that name no other increments, oldest first."""
    names = {*manifest.names()}
    return [
        f"{MANIFESTS}/{number:06d}.json"
        for number in manifest_numbers(corpus)
        if number <= manifest.number and {*read_manifest(corpus, number).names()} <= names
    ]
