"""Rejection of near copies: against all earlier increments, then within this one.

    new documents ─► sign ─► shares a key with a text of the corpus? ─► reject
                              │ no
              ┌───────────────┴────────────────┐
              ▼                                ▼
       keys and contents               (content, document)
              │  group by partition            │
              ▼                                │
       edges within each key                   │
              │  in one worker                 │
              ▼                                ▼
       (content, its cluster) ────────► join by content ─► first of its cluster, or in none: kept, indexed
                                                      └─► else: reject, with the one that was kept

The order of content hashes decides which document of a cluster stays, never the order of arrival. A cluster
is a connected component of shared keys, so two of its members may be less alike than neighbours are. A
superseded text keeps out nothing, and the old text of a document does not keep out its new one.

Texts pass through one shuffle. The other shuffles carry contents and keys, 24 bytes a key in batches, and for
documents in clusters also names and signatures. Only edges come together in one worker. Several workers write
the index, each with one partition in memory; a partition that is written twice has the same bytes.

The outcome of an increment depends on its documents and on the corpus, not on order or workers. It also
depends on how documents are spread over increments: the first copy stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from pipelines.steps.base import REJECTS, StepFn, batches_of, outputs_of
from pipelines.steps.dedup.clusters import as_contents, find_clusters, pack_rows, star_edges
from pipelines.steps.dedup.exact import DUPLICATES, duplicate_of
from pipelines.steps.dedup.minhash import SCHEME, MinHasher, UInt64s, similarity
from pipelines.store.duplicate_records import Duplicate, shortened
from pipelines.store.ledger import Ledger
from pipelines.store.near_index import (
    NearIndex,
    PartitionEntry,
    num_partitions,
    partition_of,
    write_index,
    write_partition,
)
from schemas.corpus_config import NearDedupConfig
from schemas.records import Document

FINGERPRINTS = "fingerprints"
_ROWS = "rows"
_MEMBERS = "members"

_PARTITIONS = 256
_BATCH_FINGERPRINTS = 4096
_DOCUMENT_CHARACTERS = 1 << 10  # size of a document beside its text, since it brings a signature


@beam.ptransform_fn
def DropNearDuplicates(
    documents: beam.PCollection,
    config: NearDedupConfig,
    *,
    corpus: str,
    stream: str,
    names: Sequence[str],
    scheme: str = SCHEME,
) -> dict[str, beam.PCollection]:
    """Drop near copies among documents with distinct contents, and near copies of earlier increments' texts.

    Outputs: `ok`; the others as rejects, with a Duplicate for each; and for each kept document a fingerprint:
    the first 8 bytes of its content hash and its band keys, as bytes of little-endian numbers.

    `scheme` is that of the corpus's keys, as `check_indexes` returns it.
    """
    batches = documents | "Batch" >> batches_of(_size)
    compared = outputs_of(
        batches, "AgainstEarlier", _AgainstEarlier(config, scheme, corpus, stream, tuple(names))
    )
    clusters = (
        compared[_ROWS]
        | "GroupByPartition" >> beam.GroupByKey()
        | "Edges" >> beam.Map(_edges)
        | "GroupEdges" >> beam.GroupByKey()
        | "Clusters" >> beam.FlatMap(_clusters)
    )
    settled = (
        {"signed": compared["ok"], "cluster": clusters}
        | "JoinByContent" >> beam.CoGroupByKey()
        | "KeepFirst" >> beam.FlatMap(_settle).with_outputs(_MEMBERS, FINGERPRINTS, main="ok")
    )
    dropped = outputs_of(settled[_MEMBERS] | "GroupByCluster" >> beam.GroupByKey(), "Report", _Report())
    return {
        "ok": settled.ok,
        REJECTS: (compared[REJECTS], dropped[REJECTS]) | "AllNear" >> beam.Flatten(),
        DUPLICATES: (compared[DUPLICATES], dropped["ok"]) | "AllDropped" >> beam.Flatten(),
        FINGERPRINTS: settled[FINGERPRINTS],
    }


@beam.ptransform_fn
def WriteNearIndex(
    fingerprints: beam.PCollection, uri: str, config: NearDedupConfig, scheme: str
) -> beam.PCollection:
    """Write the index of one stream of one increment from its fingerprints; none without documents."""
    count = beam.pvalue.AsSingleton(
        fingerprints
        | "CountDocuments" >> beam.combiners.Count.Globally()
        | "CountPartitions" >> beam.Map(lambda number, bands: num_partitions(number * bands), config.bands)
    )
    return (
        fingerprints
        | "Batch" >> beam.BatchElements(min_batch_size=16, max_batch_size=_BATCH_FINGERPRINTS)
        | "RowsByPartition" >> beam.FlatMap(_index_rows, count)
        | "GroupByPartition" >> beam.GroupByKey()
        | "WritePartition" >> beam.Map(_write_partition, uri)
        | "GroupPartitions" >> beam.GroupByKey()
        | "WriteIndex"
        >> beam.Map(
            lambda entries, count: write_index(uri, config, entries[1], count=count, scheme=scheme), count
        )
    )


class _Signed(NamedTuple):
    """A document with its signature, uint32, and its band keys, uint64, as bytes."""

    document: Document
    signature: bytes
    keys: bytes


class _Member(NamedTuple):
    """A document of a cluster."""

    is_kept: bool
    document_id: str
    source: str
    content_hash: str
    signature: bytes


@dataclasses.dataclass(frozen=True)
class _Earlier:
    """Index and ledger of earlier increments, shared by all threads of a worker process."""

    index: NearIndex
    ledger: Ledger


@dataclasses.dataclass(eq=False)
class _AgainstEarlier(StepFn):
    """Reject near copies of texts in the corpus; sign the others and give their rows by partition."""

    step = "dedup"
    tags = (REJECTS, DUPLICATES, _ROWS)
    config: NearDedupConfig
    scheme: str
    corpus: str
    stream: str
    names: tuple[str, ...]
    _shared: Shared = dataclasses.field(default_factory=Shared, init=False)

    def setup(self) -> None:
        super().setup()
        self._hasher = MinHasher(self.config, self.scheme)
        self._earlier: _Earlier = self._shared.acquire(self._open)

    def _open(self) -> _Earlier:
        return _Earlier(
            NearIndex.open(self.corpus, self.stream, self.names, self.config),
            Ledger.open(self.corpus, self.stream, self.names),
        )

    def process(self, documents: list[Document]) -> Iterator[Any]:
        signatures = self._hasher.sign([document.text for document in documents])
        keys = self._hasher.keys(signatures)
        held = self._near_held(documents, keys)
        left = []
        for at, document in enumerate(documents):
            if at in held:
                yield from self._refuse(document, *held[at])
            else:
                content = bytes.fromhex(document.content_hash)
                yield content, _Signed(document, signatures[at].tobytes(), keys[at].tobytes())
                left.append(at)
        if left:
            contents = as_contents(bytes.fromhex(documents[at].content_hash) for at in left)
            flat, owners = keys[left].ravel(), np.repeat(contents, keys.shape[1])
            for partition, part in _by_partition(flat, _PARTITIONS):
                yield beam.pvalue.TaggedOutput(_ROWS, (partition, pack_rows(flat[part], owners[part])))

    def _near_held(self, documents: Sequence[Document], keys: UInt64s) -> dict[int, tuple[str, int]]:
        """By index of a document, the first content that it is a near copy of, and its increment."""
        index, ledger = self._earlier.index, self._earlier.ledger
        hits = index.find(keys)
        rows = zip(hits.query.tolist(), hits.content.tolist(), hits.number.tolist(), strict=True)
        held: dict[int, tuple[str, int]] = {}
        for at, prefix, number in sorted(set(rows)):
            content = f"{prefix:016x}"
            if at in held or ledger.holder_of(content) is None:
                continue
            own = ledger.content_of(documents[at].document_id)
            if own is None or not own.startswith(content):
                held[at] = content, number
        return held

    def _refuse(self, document: Document, content: str, number: int) -> Iterator[Any]:
        yield self.reject("near_duplicate", document, f"near copy of content {content} in increment {number}")
        duplicate = Duplicate(
            kind="near",
            document_id=document.document_id,
            source=document.source,
            content=shortened(document.content_hash),
            kept_content=content,
            kept_in=number,
        )
        yield beam.pvalue.TaggedOutput(DUPLICATES, duplicate)


class _Report(StepFn):
    """Reject all members of a cluster but the kept one; give Duplicates."""

    step = "dedup"

    def process(self, cluster: tuple[bytes, Iterable[_Member]]) -> Iterator[Any]:
        (kept,) = (member for member in cluster[1] if member.is_kept)
        signature = np.frombuffer(kept.signature, np.uint32)
        for member in cluster[1]:
            if member.is_kept:
                continue
            alike = similarity(np.frombuffer(member.signature, np.uint32), signature)
            found = f"kept {kept.document_id!r} from {kept.source}, similarity {alike:.2f}"
            yield self.reject("near_duplicate", member, found)
            yield duplicate_of("near", member, kept, round(alike, 4))


def _size(document: Document) -> int:
    return len(document.text) + _DOCUMENT_CHARACTERS


def _by_partition(keys: UInt64s, count: int) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.intp]]]]:
    """Yield each partition that keys fall into, with the indices of its keys."""
    partitions = partition_of(keys, count)
    order = np.argsort(partitions, kind="stable")
    present, starts = np.unique(partitions[order], return_index=True)
    yield from zip(present.tolist(), np.split(order, starts[1:]), strict=True)


def _edges(partition: tuple[int, Iterable[bytes]]) -> tuple[None, bytes]:
    return None, star_edges(b"".join(partition[1]))


def _clusters(edges: tuple[None, Iterable[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    return find_clusters(edges[1])


def _settle(joined: tuple[bytes, Any]) -> Iterator[Any]:
    """Keep a document that is first of its cluster or in none; give all members of clusters, by cluster."""
    content, found = joined
    (signed,) = found["signed"]
    document = signed.document
    first = next(iter(found["cluster"]), None)
    if first is not None:
        member = _Member(
            is_kept=first == content,
            document_id=document.document_id,
            source=document.source,
            content_hash=document.content_hash,
            signature=signed.signature,
        )
        yield beam.pvalue.TaggedOutput(_MEMBERS, (first, member))
    if first is None or first == content:
        prefix = int(shortened(document.content_hash), 16).to_bytes(8, "little")
        yield beam.pvalue.TaggedOutput(FINGERPRINTS, prefix + signed.keys)
        yield document


def _index_rows(fingerprints: list[bytes], count: int) -> Iterator[tuple[int, bytes]]:
    """Yield rows (key, content) as the index stores them, by partition."""
    table = np.frombuffer(b"".join(fingerprints), "<u8").reshape(len(fingerprints), -1)
    keys = table[:, 1:].ravel()
    rows = np.stack([keys, np.repeat(table[:, 0], table.shape[1] - 1)], axis=1)
    for partition, part in _by_partition(keys, count):
        yield partition, rows[part].tobytes()


def _write_partition(
    partition: tuple[int, Iterable[bytes]], uri: str
) -> tuple[None, tuple[int, PartitionEntry]]:
    number, parts = partition
    rows = np.frombuffer(b"".join(parts), "<u8").reshape(-1, 2)
    return None, write_partition(uri, number, rows[:, 0], rows[:, 1])
