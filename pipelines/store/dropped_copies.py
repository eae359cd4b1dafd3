"""Which document was dropped as a copy of which: a record of each, and the clusters that they make.

    increments/000003-<token>/duplicates/domain.jsonl.zst      a Duplicate a line, sorted

An exact copy names the document that stayed of its content; where that one was dropped in its turn, as a near
copy, the two clusters are one. A file that is read again, since it changed, brings its copies again.

Cost: the records are read three times, and those of near copies and of what is shown held.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from schemas import storage
from schemas.manifest import increment_uri
from schemas.validation import read_records


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A document that was dropped for another.

    Attributes:
        kind: `exact` or `near`.
        document_id: The one that was dropped.
        source: Where it was read.
        content: The first 16 digits of its content hash.
        kept_content: The same of the one that was kept.
        kept_id: The one that was kept; "" where it came in with an earlier increment.
        kept_source: Where that one was read, or "".
        kept_in: Number of the earlier increment that holds it; 0 for the same one.
        similarity: Jaccard similarity of the two, estimated for near copies of the same increment and 1 for
            exact ones; None where the other's signature is not kept.
    """

    kind: Literal["exact", "near"]
    document_id: str
    source: str
    content: str
    kept_content: str
    kept_id: str = ""
    kept_source: str = ""
    kept_in: int = 0
    similarity: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A document that was kept and all that were dropped for it.

    Attributes:
        stream: Their stream.
        kept_id: As in Duplicate.
        kept_source: As in Duplicate.
        kept_content: As in Duplicate.
        kept_in: As in Duplicate.
        copies: Near ones by similarity, highest first, after the exact ones.
    """

    stream: str
    kept_id: str
    kept_source: str
    kept_content: str
    kept_in: int
    copies: tuple[Duplicate, ...]


def duplicates_uri(increment: str, stream: str) -> str:
    """The file of a stream's duplicates in the directory of an increment."""
    return storage.join(increment, "duplicates", f"{stream}.jsonl.zst")


def shortened(content_hash: str) -> str:
    """What Duplicate keeps of a content hash: what the index of near duplicates knows of it."""
    return content_hash[:16]


def find_clusters(corpus: str, increment: str, stream: str, most: int) -> list[Cluster]:
    """The clusters of an increment, biggest first, then by name.

    Args:
        corpus: The corpus.
        increment: Name of the increment.
        stream: The stream; one without duplicates has no cluster.
        most: How many at most.
    """
    uri = duplicates_uri(increment_uri(corpus, increment), stream)
    if not storage.exists(uri):
        return []
    moved = {each.content: each for each in _read(uri) if each.kind == "near"}

    def kept(duplicate: Duplicate) -> Duplicate:
        """The record that tells what stayed in the end."""
        return moved.get(duplicate.kept_content, duplicate)

    sizes: Counter[str] = Counter()
    names: dict[str, str] = {}
    for each in _read(uri):
        last = kept(each)
        sizes[last.kept_content] += 1
        names[last.kept_content] = last.kept_id or names.get(last.kept_content, "")
    biggest = sorted(sizes, key=lambda content: (-sizes[content], names[content], content))[:most]
    found: dict[str, list[Duplicate]] = {content: [] for content in biggest}
    for each in _read(uri):
        if kept(each).kept_content in found:
            found[kept(each).kept_content].append(each)
    return [_cluster(stream, [kept(copy) for copy in copies], copies) for copies in found.values()]


def _cluster(stream: str, told: list[Duplicate], copies: list[Duplicate]) -> Cluster:
    """The cluster of these copies, of whose kept document each record in `told` tells something."""
    named = max(told, key=lambda each: each.kept_id)
    copies.sort(key=lambda each: (each.kind, -(each.similarity or 0.0), each.document_id, each.source))
    return Cluster(
        stream=stream,
        kept_id=named.kept_id,
        kept_source=named.kept_source,
        kept_content=named.kept_content,
        kept_in=max(each.kept_in for each in told),
        copies=tuple(copies),
    )


def _read(uri: str) -> Iterator[Duplicate]:
    yield from read_records(uri, Duplicate)
