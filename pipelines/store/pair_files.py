"""Instruction pairs as data, stored beside the training texts.

texts/<stream>-00000.jsonl.zst     the texts of a group
pairs/<stream>-00000.jsonl.zst     their pairs, a StoredPair a line, in the order of the texts
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from plugins.synthesizers.language_model import asks_model
from schemas import storage
from schemas.corpus_layout import pairs_uri
from schemas.errors import CorpusError
from schemas.manifest import ShardSet
from schemas.records import AugmentedText, StoredPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig
from schemas.validation import read_records


def synthesizer_name(config: SynthesisConfig) -> str:
    """Name of the synthesizer in `StoredPair.synthesizer`."""
    if asks_model(config.backend):
        return f"{config.backend}:{config.protocol}:{config.model}"
    return config.backend


def with_pairs(
    text: AugmentedText, documents: Sequence[SynthesizedDocument], *, synthesizer: str
) -> AugmentedText:
    """Add the pairs of its documents to a training text, which has a passage for each document."""
    pairs: list[StoredPair] = []
    for passage, done in zip(text.passages, documents, strict=True):
        words = done.document.text
        start = text.text.find(words, passage.start, passage.end)
        span = () if start < 0 else (start - passage.start, start - passage.start + len(words))
        pairs += (
            StoredPair(
                text_id=text.text_id,
                document_id=passage.document_id,
                content_hash=passage.content_hash,
                source=passage.source,
                part=passage.part,
                instruction=pair.instruction,
                response=pair.response,
                options=pair.options,
                rationale=pair.rationale,
                span=find_words(pair.response, words),
                passage_span=span,
                synthesizer=synthesizer,
                generation=passage.generation,
                verdicts=pair.verdicts,
            )
            for pair in done.pairs
        )
    return dataclasses.replace(text, pairs=tuple(pairs), mean_score=mean_score(pairs))


def mean_score(pairs: Iterable[StoredPair]) -> float | None:
    """Mean of the scores of all verdicts about some pairs; None without a verdict."""
    scores = [verdict.score for pair in pairs for verdict in pair.verdicts]
    return round(math.fsum(scores) / len(scores), 4) if scores else None


def find_words(wanted: str, text: str) -> tuple[int, ...]:
    """Start and end offset of the first occurrence of some words in a text; an empty tuple if there is none.

    Only whole words count: "diagnosis" has no "no". Scripts without letter case are searched without this
    rule, because many of them do not separate words.
    """
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        end = start + len(wanted)
        if not (_within_word(text[start - 1 : start + 1]) or _within_word(text[end - 1 : end + 1])):
            return start, end
        start = text.find(wanted, start + 1)
    return ()


def _within_word(two: str) -> bool:
    return len(two) == 2 and all(each.isdigit() or each.lower() != each.upper() for each in two)


def read_pairs(texts: str) -> Iterator[StoredPair]:
    """Yield the pairs of the texts in a file; nothing if no text has any."""
    uri = pairs_uri(texts)
    if storage.exists(uri):
        yield from read_records(uri, StoredPair)


def read_texts(texts: str, shards: ShardSet) -> Iterator[AugmentedText]:
    """Yield the training texts in a file, with their pairs; `shards` has their counts in the manifest.

    Raises:
        CorpusError: A file is damaged, or lacks a pair that the manifest counts.
    """
    groups = itertools.groupby(read_pairs(texts), key=lambda pair: pair.text_id)
    upcoming = next(groups, None)
    for text in read_records(texts, AugmentedText):
        if upcoming is not None and upcoming[0] == text.text_id:
            text = dataclasses.replace(text, pairs=tuple(upcoming[1]))
            upcoming = next(groups, None)
        if len(text.pairs) != text.num_pairs and (text.pairs or shards.num_stored_pairs == shards.num_pairs):
            raise CorpusError(
                f"{pairs_uri(texts)}: is damaged: it holds {len(text.pairs)} of the {text.num_pairs} pairs "
                f"of text {text.text_id}. Restore it."
            )
        yield text
    if upcoming is not None:
        raise CorpusError(
            f"{pairs_uri(texts)}: is damaged: it holds pairs of a text {upcoming[0]}, which {texts} does not "
            "have there. Restore it."
        )
