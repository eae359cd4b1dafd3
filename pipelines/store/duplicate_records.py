"""Records of documents that were dropped as copies, and the clusters that they make.

    increments/000003-<token>/duplicates/domain.jsonl.zst      a Duplicate a line, sorted

An exact copy names the kept document of its content. If that one was dropped too, as a near copy, the two
clusters are one. A changed file is read again, and its copies are recorded again.

Cost: reads the records three times; in memory are those of near copies and of the clusters to show.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Literal

from schemas import storage
from schemas.corpus_layout import duplicates_uri, increment_uri
from schemas.validation import read_records


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A document that was dropped as a copy of another.

    The Jaccard similarity is 1 for exact copies and an estimate for near copies of the same increment. It is
    None for near copies of earlier increments, whose signatures are not stored.
    """

    kind: Literal["exact", "near"]
    document_id: str
    source: str
    content: str  # first 16 digits of its content hash
    kept_content: str  # the same of the kept document
    kept_id: str = ""  # "" if the kept document is of an earlier increment
    kept_source: str = ""  # "" likewise
    kept_in: int = 0  # number of the earlier increment that holds it; 0 for the same increment
    similarity: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A kept document and its dropped copies."""

    stream: str
    kept_id: str
    kept_source: str
    kept_content: str
    kept_in: int
    copies: tuple[Duplicate, ...]  # exact copies, then near ones by similarity, highest first


def shortened(content_hash: str) -> str:
    """First 16 digits of a content hash, which are all that the index of near duplicates stores."""
    return content_hash[:16]


def find_clusters(corpus: str, increment: str, stream: str, most: int) -> list[Cluster]:
    """Find up to `most` clusters of an increment, biggest first, then by name."""
    uri = duplicates_uri(increment_uri(corpus, increment), stream)
    if not storage.exists(uri):
        return []
    moved = {each.content: each for each in read_records(uri, Duplicate) if each.kind == "near"}

    def kept(duplicate: Duplicate) -> Duplicate:
        """The record with the document that was kept in the end."""
        return moved.get(duplicate.kept_content, duplicate)

    sizes: Counter[str] = Counter()
    names: dict[str, str] = {}
    for each in read_records(uri, Duplicate):
        last = kept(each)
        sizes[last.kept_content] += 1
        names[last.kept_content] = last.kept_id or names.get(last.kept_content, "")
    biggest = sorted(sizes, key=lambda content: (-sizes[content], names[content], content))[:most]
    found: dict[str, list[Duplicate]] = {content: [] for content in biggest}
    for each in read_records(uri, Duplicate):
        if kept(each).kept_content in found:
            found[kept(each).kept_content].append(each)
    return [_cluster(stream, [kept(copy) for copy in copies], copies) for copies in found.values()]


def _cluster(stream: str, records: list[Duplicate], copies: list[Duplicate]) -> Cluster:
    """Make the cluster of these copies; `records` describe its kept document."""
    named = max(records, key=lambda each: each.kept_id)
    copies.sort(key=lambda each: (each.kind, -(each.similarity or 0.0), each.document_id, each.source))
    return Cluster(
        stream=stream,
        kept_id=named.kept_id,
        kept_source=named.kept_source,
        kept_content=named.kept_content,
        kept_in=max(each.kept_in for each in records),
        copies=tuple(copies),
    )
