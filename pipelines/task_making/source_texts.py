"""Texts that are asked about: documents of a corpus drawn by seed, and its held-out documents.

A document is drawn if the hash of the seed and its name is among the lowest, so one pass over the texts is
enough, and the same documents are drawn from a corpus that was built in other increments. Memory holds twice
the drawn documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.inspect.lineage import text_lines
from pipelines.store.held_out import read_held_out
from pipelines.store.ledger import Newest
from pipelines.task_making.questions import SourceText
from schemas.content_hash import digest
from schemas.manifest import Manifest


def draw_texts(
    corpus: str,
    manifest: Manifest,
    streams: Sequence[str],
    num_documents: int,
    seed: int,
    counts: Counter[str],
) -> list[SourceText]:
    """Draw current documents of some streams; return their texts, a document's parts one after the other.

    `counts` gets the number of drawn `documents`, and of texts whose share cannot be told from its pairs
    (`untold`, in corpora of old versions).

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    drawn: dict[str, dict[str, SourceText]] = {}
    for stream in streams:
        newest = Newest(corpus, stream, manifest.names())
        for line in text_lines(corpus, manifest, stream):
            text = line.text()
            for each in text.passages:
                if not newest.is_current(line.place.increment, each.document_id, each.content_hash):
                    continue
                start, end = (each.text_start, each.text_end) if each.num_pairs else (each.start, each.end)
                if start == end:
                    counts["untold"] += 1
                    continue
                found = SourceText(each.document_id, stream, text.text[start:end], each.source, each.part)
                key = digest(str(seed), stream, each.document_id)
                drawn.setdefault(key, {})[each.part] = found
            if len(drawn) > 2 * num_documents:
                drawn = {key: drawn[key] for key in sorted(drawn)[:num_documents]}
    chosen = [drawn[key] for key in sorted(drawn)[:num_documents]]
    counts["documents"] += len(chosen)
    return [parts[name] for parts in chosen for name in sorted(parts, key=_number_of)]


def held_out_texts(corpus: str, manifest: Manifest, most: int, counts: Counter[str]) -> list[SourceText]:
    """Return up to `most` held-out documents of each stream; `counts` gets the number of all, `held_out`."""
    texts = []
    for stream in sorted({name for each in manifest.increments for name in each.num_held_out}):
        for number, document in enumerate(read_held_out(corpus, manifest, stream)):
            counts["held_out"] += 1
            if number < most:
                text = SourceText(document.document_id, stream, document.text, document.source, held_out=True)
                texts.append(text)
    return texts


def _number_of(part: str) -> int:
    return int(part.partition("/")[0] or 0)
