"""Texts that are asked about: documents of a corpus drawn by seed, and its held-out documents.

A document is drawn if the hash of the seed and its name is among the lowest, so one pass over the texts is
enough, and the same documents are drawn from a corpus that was built in other increments. Memory holds twice
the drawn documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipelines.store.ledger import Ledger
from pipelines.task_making.questions import SourceText
from pipelines.task_making.seam import read_held_out
from schemas.content_hash import digest
from schemas.corpus_layout import text_uris
from schemas.manifest import Manifest
from schemas.records import AugmentedText
from schemas.validation import read_records


def draw_texts(
    corpus: str,
    manifest: Manifest,
    streams: Sequence[str],
    *,
    seed: int,
    num_documents: int,
    counts: Counter[str],
) -> list[SourceText]:
    """Draw documents of some streams; return their texts, a document's parts one after the other.

    Superseded and withdrawn versions are left out. `counts` gets the number of drawn `documents`, and of
    texts whose share cannot be told from its pairs (`untold`, in corpora of old versions).

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    drawn: dict[str, dict[str, SourceText]] = {}
    for stream in streams:
        for text in _current_texts(corpus, manifest, stream, counts):
            key = digest(str(seed), stream, text.document_id)
            drawn.setdefault(key, {})[text.part] = text
            if len(drawn) > 2 * num_documents:
                drawn = {each: drawn[each] for each in sorted(drawn)[:num_documents]}
    chosen = [drawn[key] for key in sorted(drawn)[:num_documents]]
    counts["documents"] += len(chosen)
    return [parts[name] for parts in chosen for name in sorted(parts, key=_number_of)]


def held_out_texts(
    corpus: str, manifest: Manifest, num_documents: int, counts: Counter[str]
) -> list[SourceText]:
    """Return up to `num_documents` held-out documents of each stream; `counts` gets all as `held_out`."""
    taken: Counter[str] = Counter()
    texts = []
    for document in read_held_out(corpus, manifest):
        counts["held_out"] += 1
        taken[document.stream] += 1
        if taken[document.stream] <= num_documents:
            texts.append(
                SourceText(
                    document_id=document.document_id,
                    stream=document.stream,
                    text=document.text,
                    source=document.source,
                    held_out=True,
                )
            )
    return texts


def _current_texts(
    corpus: str, manifest: Manifest, stream: str, counts: Counter[str]
) -> Iterator[SourceText]:
    ledger = Ledger.open(corpus, stream, manifest.names())
    for increment in manifest.increments:
        for uri in text_uris(corpus, stream, increment.name):
            for text in read_records(uri, AugmentedText):
                for passage in text.passages:
                    if ledger.content_of(passage.document_id) != passage.content_hash:
                        continue
                    start, end = passage.start, passage.end
                    if passage.num_pairs:
                        start, end = passage.text_start, passage.text_end
                    if start == end:
                        counts["untold"] += 1
                        continue
                    yield SourceText(
                        document_id=passage.document_id,
                        stream=stream,
                        text=text.text[start:end],
                        source=passage.source,
                        part=passage.part,
                    )


def _number_of(part: str) -> int:
    return int(part.partition("/")[0] or 0)
