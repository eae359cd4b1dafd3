"""Held-out documents of a corpus: texts that never become training text, kept for evaluation.

increments/000003-<token>/held-out/<stream>-00000.jsonl.zst    a HeldOutDocument a line, in hash order
ledger/000003-<token>.<stream>.held-out.ledger                 their ids and content hashes

The ledger of the stream has their rows as well. So copies of them are found as copies of any document are,
and the newest row of a document says which of its versions counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator

from pipelines.store.ledger import Newest
from schemas import storage
from schemas.corpus_layout import held_out_uris
from schemas.manifest import Increment, Manifest
from schemas.records import Document, InstructionPair
from schemas.validation import read_records


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutDocument:
    """A held-out document.

    Attributes:
        document_id: Its stable name.
        stream: Its stream.
        text: Its whole text, cleaned as training text is.
        source: Its origin, as `uri` or `uri:position`.
        content_hash: Its content hash.
        pairs: The pairs that it came with, in a stream with `tuning`.
    """

    document_id: str
    stream: str
    text: str
    source: str
    content_hash: str
    pairs: tuple[InstructionPair, ...] = ()

    @classmethod
    def of(cls, document: Document, stream: str) -> HeldOutDocument:
        """Make the record of a document."""
        return cls(
            document_id=document.document_id,
            stream=stream,
            text=document.text,
            source=document.source,
            content_hash=document.content_hash,
            pairs=document.pairs,
        )


def read_held_out(
    corpus: str,
    manifest: Manifest,
    *,
    streams: Collection[str] | None = None,
    names: Collection[str] | None = None,
) -> Iterator[HeldOutDocument]:
    """Yield the held-out documents of a manifest, stream by stream, newest increment first.

    Superseded and withdrawn ones are left out. The order is that of hashes, not of the sources.

    Args:
        streams: Streams to read; None reads all.
        names: Names of the increments to read; None reads all.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    for stream in sorted({name for each in manifest.increments for name in each.num_held_out}):
        if streams is not None and stream not in streams:
            continue
        newest = Newest(corpus, stream, manifest.names())
        for increment in reversed(manifest.increments):
            if names is not None and increment.name not in names:
                continue
            for document in stored_in(corpus, increment, stream):
                if newest.is_current(increment.number, document):
                    yield document


def count_held_out(corpus: str, stream: str, name: str) -> int:
    """Number of documents that an increment holds out of a stream."""
    return sum(1 for uri in held_out_uris(corpus, stream, name) for _ in storage.read_lines_zst(uri))


def held_out_by_stream(corpus: str, streams: Iterable[str], name: str) -> dict[str, int]:
    """The same by stream, without streams that have none."""
    counts = {stream: count_held_out(corpus, stream, name) for stream in streams}
    return {stream: count for stream, count in counts.items() if count}


def stored_in(corpus: str, increment: Increment, stream: str) -> Iterator[HeldOutDocument]:
    """Yield the held-out documents of one increment and stream as stored, outdated ones included."""
    if stream in increment.num_held_out:
        for uri in held_out_uris(corpus, stream, increment.name):
            yield from read_records(uri, HeldOutDocument)
