"""One copy of texts that say nearly the same: against all earlier increments, then within this one.

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
       (content, its cluster) ────────► join by content ─► first of its cluster, or of none: kept
                                                      └─► else: reject, with the one that was kept

Which one of a cluster is kept is decided by the order of content hashes, never by arrival; a cluster is all
that hangs together by shared keys, so that its ends may be less alike than its neighbours are. A text that a
newer one superseded keeps out nothing, nor does the old text of a document its own new one.

Texts pass through one shuffle. The others carry contents and keys, 24 bytes a key, packed by the thousand; of
documents in clusters also their names and signatures. Only edges come together in one worker.

An increment's outcome depends on its documents and on what the corpus holds, not on their order or on
workers. It does depend on how documents are spread over increments: what came first stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from pipelines.steps.base import REJECTS, StepFn
from pipelines.steps.exact_dedup import DUPLICATES
from pipelines.steps.near.clusters import as_contents, find_clusters, pack_rows, star_edges
from pipelines.steps.near.minhash import MinHasher, UInt64s, similarity
from pipelines.store.duplicate_records import Duplicate, shortened
from pipelines.store.ledger import Ledger
from pipelines.store.near_index import NearIndex, check_indexes, partition_of
from schemas.corpus_config import NearDedupConfig
from schemas.records import Document

_ROWS = "rows"
_MEMBERS = "members"
_FINGERPRINTS = "fingerprints"

_PARTITIONS = 256
_BATCH_CHARACTERS = 1 << 22
_DOCUMENT_CHARACTERS = 1 << 10  # what a document counts for beside its text, since it brings a signature


class NearDeduplicated(NamedTuple):
    """What DropNearDuplicates gives.

    Attributes:
        kept: Documents that are near copies of nothing that is kept.
        rejects: The others.
        duplicates: What each of these was dropped for.
        fingerprints: For each kept document the first 8 bytes of its content hash and its band keys, as bytes
            of little-endian numbers; what `WriteNearIndex` takes.
    """

    kept: beam.PCollection
    rejects: beam.PCollection
    duplicates: beam.PCollection
    fingerprints: beam.PCollection


class DropNearDuplicates(beam.PTransform):
    """Drop near copies among documents of which no two have the same content.

    Args:
        config: When two documents are near copies.
        corpus: The corpus.
        stream: Stream of the documents.
        names: The increments that they are compared with.
        progress_dir: See Counters.

    Raises:
        CorpusError: When it is applied: the corpus compares documents in another way.
    """

    def __init__(
        self,
        config: NearDedupConfig,
        *,
        corpus: str,
        stream: str,
        names: Sequence[str],
        progress_dir: str | None,
    ):
        super().__init__()
        self.config = config
        self.corpus = corpus
        self.stream = stream
        self.names = tuple(names)
        self.progress_dir = progress_dir

    def expand(self, documents: beam.PCollection) -> NearDeduplicated:
        check_indexes(self.corpus, self.stream, self.names, self.config)
        compared = (
            documents
            | "Batch"
            >> beam.BatchElements(
                min_batch_size=_BATCH_CHARACTERS // 64,
                max_batch_size=_BATCH_CHARACTERS,
                element_size_fn=_size,
            )
            | "AgainstEarlier"
            >> beam.ParDo(
                _AgainstEarlier(self.config, self.corpus, self.stream, self.names, self.progress_dir)
            ).with_outputs(REJECTS, DUPLICATES, _ROWS, main="signed")
        )
        clusters = (
            compared[_ROWS]
            | "GroupByPartition" >> beam.GroupByKey()
            | "Edges" >> beam.Map(_edges)
            | "GroupEdges" >> beam.GroupByKey()
            | "Clusters" >> beam.FlatMap(_clusters)
        )
        settled = (
            {"signed": compared.signed, "cluster": clusters}
            | "JoinByContent" >> beam.CoGroupByKey()
            | "KeepFirst" >> beam.FlatMap(_settle).with_outputs(_MEMBERS, _FINGERPRINTS, main="kept")
        )
        dropped = (
            settled[_MEMBERS]
            | "GroupByCluster" >> beam.GroupByKey()
            | "Report" >> beam.ParDo(_Report(self.progress_dir)).with_outputs(REJECTS, main=DUPLICATES)
        )
        return NearDeduplicated(
            kept=settled.kept,
            rejects=(compared[REJECTS], dropped[REJECTS]) | "AllNear" >> beam.Flatten(),
            duplicates=(compared[DUPLICATES], dropped[DUPLICATES]) | "AllDropped" >> beam.Flatten(),
            fingerprints=settled[_FINGERPRINTS],
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
    content: str
    signature: bytes


@dataclasses.dataclass(frozen=True)
class _Known:
    """What earlier increments hold; one for all threads of a worker process."""

    index: NearIndex
    ledger: Ledger


class _AgainstEarlier(StepFn):
    """Reject near copies of what the corpus holds; sign the others and give their rows, by partition."""

    def __init__(
        self,
        config: NearDedupConfig,
        corpus: str,
        stream: str,
        names: tuple[str, ...],
        progress_dir: str | None,
    ):
        super().__init__("dedup", progress_dir)
        self.config = config
        self.corpus = corpus
        self.stream = stream
        self.names = names
        self._shared = Shared()

    def setup(self) -> None:
        super().setup()
        self._hasher = MinHasher(self.config)
        self._known: _Known = self._shared.acquire(self._open)

    def _open(self) -> _Known:
        return _Known(
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
            yield from _rows(keys[left], contents)

    def _near_held(self, documents: Sequence[Document], keys: UInt64s) -> dict[int, tuple[str, int]]:
        """By place of a document, the first content that it is a near copy of, and the increment of that."""
        index, ledger = self._known.index, self._known.ledger
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
        yield self.reject(
            "near_duplicate",
            document_id=document.document_id,
            source=document.source,
            detail=f"near copy of content {content} in increment {number}",
        )
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
    """Tell of each dropped member of a cluster what was kept for it."""

    def __init__(self, progress_dir: str | None):
        super().__init__("dedup", progress_dir)

    def process(self, cluster: tuple[bytes, Iterable[_Member]]) -> Iterator[Any]:
        (kept,) = (member for member in cluster[1] if member.is_kept)
        signature = np.frombuffer(kept.signature, np.uint32)
        for member in cluster[1]:
            if member.is_kept:
                continue
            alike = similarity(np.frombuffer(member.signature, np.uint32), signature)
            yield self.reject(
                "near_duplicate",
                document_id=member.document_id,
                source=member.source,
                detail=f"kept {kept.document_id!r} from {kept.source}, similarity {alike:.2f}",
            )
            yield Duplicate(
                kind="near",
                document_id=member.document_id,
                source=member.source,
                content=shortened(member.content),
                kept_content=shortened(kept.content),
                kept_id=kept.document_id,
                kept_source=kept.source,
                similarity=round(alike, 4),
            )


def _size(document: Document) -> int:
    return len(document.text) + _DOCUMENT_CHARACTERS


def _rows(keys: UInt64s, contents: np.ndarray[Any, np.dtype[np.bytes_]]) -> Iterator[Any]:
    """The rows of a batch, those of each partition together."""
    flat, owners = keys.ravel(), np.repeat(contents, keys.shape[1])
    partitions = partition_of(flat, _PARTITIONS)
    order = np.argsort(partitions, kind="stable")
    present, starts = np.unique(partitions[order], return_index=True)
    for partition, part in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        yield beam.pvalue.TaggedOutput(_ROWS, (partition, pack_rows(flat[part], owners[part])))


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
            content=document.content_hash,
            signature=signed.signature,
        )
        yield beam.pvalue.TaggedOutput(_MEMBERS, (first, member))
    if first is None or first == content:
        prefix = int(shortened(document.content_hash), 16).to_bytes(8, "little")
        yield beam.pvalue.TaggedOutput(_FINGERPRINTS, prefix + signed.keys)
        yield document
