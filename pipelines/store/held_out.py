"""Held-out documents of a corpus: texts that never become training text, kept for evaluation.

increments/000003-<token>/held-out/<stream>-00000.jsonl.zst    a Document a line
ledger/000003-<token>.<stream>.held-out.ledger                 their content hashes, as names and as contents

The ledger of the stream has their rows as well. So copies of them are found as copies of any document are,
and the newest row of a document says which of its versions counts. The second ledger keeps the contents of
old versions and of withdrawn documents, which no build may train on either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pipelines.store.ledger import Newest
from schemas import storage
from schemas.corpus_layout import HELD_OUT, text_uris
from schemas.manifest import Increment, Manifest
from schemas.records import Document
from schemas.validation import read_records


def read_held_out(
    corpus: str, manifest: Manifest, stream: str, names: Collection[str] | None = None
) -> Iterator[Document]:
    """Yield the current held-out documents of a stream, newest increment first, in the order of their hashes.

    Args:
        names: Names of the increments to read; None reads all.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    newest = Newest(corpus, stream, manifest.names())
    for increment in reversed(manifest.increments):
        if names is None or increment.name in names:
            for document in stored_in(corpus, increment, stream):
                if newest.is_current(increment.number, document.document_id, document.content_hash):
                    yield document


def stored_in(corpus: str, increment: Increment, stream: str) -> Iterator[Document]:
    """Yield the held-out documents of one increment and stream as stored, outdated ones included."""
    if stream in increment.num_held_out:
        for uri in text_uris(corpus, stream, increment.name, HELD_OUT):
            yield from read_records(uri, Document)


def count_held_out(corpus: str, streams: Iterable[str], name: str) -> dict[str, int]:
    """Number of documents that an increment holds out, by stream, without streams that have none."""
    uris = {stream: text_uris(corpus, stream, name, HELD_OUT) for stream in streams}
    return {
        stream: sum(1 for uri in found for _ in storage.read_lines_zst(uri))
        for stream, found in uris.items()
        if found
    }
