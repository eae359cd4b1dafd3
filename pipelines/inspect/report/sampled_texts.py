"""Sample of a corpus's texts and rows for a report.

Texts: the first ones of each increment and stream, as many as its share of the corpus. Texts stand in random
order, so these are a fair sample. Rows: the first of the newest increment of each stream, decoded by segment.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.inspect.lineage import find_row
from pipelines.store.packed_rows import read_rows
from pipelines.store.pair_files import read_texts
from plugins.corpus_tokenizer import load_corpus_tokenizer
from plugins.progress import tracked
from plugins.report.blocks import Block, Note, Pair, Row, Rows, Text, Texts
from schemas.corpus_layout import text_uris
from schemas.errors import TutelageError
from schemas.manifest import Manifest
from schemas.records import AugmentedText, StoredPair
from schemas.secrets import public_uri

_SHOWN_TEXTS, _MOST_TEXTS = 240, 320
_READ_TEXTS = 5000
_SHOWN_PASSAGES, _SHOWN_PAIRS = 8, 10
_SHOWN_ROWS = 6


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample of texts.

    Attributes:
        num_texts: Texts of the corpus.
        lengths: Characters of the texts that were read.
        kinds: Their pairs, by kind.
        blocks: A browser of some of them.
    """

    num_texts: int
    lengths: Sequence[int]
    kinds: Counter[str]
    blocks: Sequence[Block]


def sample_texts(corpus: str, manifest: Manifest) -> Sample:
    """Read a sample of the texts of all increments and streams.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    sizes = [shards.num_texts for each in manifest.increments for shards in each.streams.values()]
    total = sum(sizes)
    lengths: list[int] = []
    kinds: Counter[str] = Counter()
    shown: list[Text] = []
    for increment in reversed(manifest.increments):
        for stream, shards in sorted(increment.streams.items()):
            share = shards.num_texts / max(total, 1)
            num_shown = min(math.ceil(_SHOWN_TEXTS * share), _MOST_TEXTS - len(shown))
            uris = text_uris(corpus, stream, increment.name)
            texts = itertools.chain.from_iterable(read_texts(uri, shards) for uri in uris)
            sampled = itertools.islice(texts, max(math.ceil(_READ_TEXTS * share), num_shown))
            for at, text in enumerate(tracked(sampled, f"report: {stream}", unit="texts")):
                lengths.append(len(text.text))
                kinds.update(map(_kind, text.pairs))
                if at < num_shown:
                    shown.append(_text(text, stream, increment.number))
    said = f"{len(shown):,} of {total:,} texts. Answers are marked where the passage holds or supports them."
    if not shown:
        return Sample(
            num_texts=total, lengths=lengths, kinds=kinds, blocks=[Note(text="There are no texts.")]
        )
    return Sample(num_texts=total, lengths=lengths, kinds=kinds, blocks=[Note(text=said), Texts(texts=shown)])


def shown_rows(corpus: str, manifest: Manifest) -> list[Block]:
    """Decode the first rows of the newest increment of each stream."""
    if not manifest.stream_names():
        return [Note(text="There are no rows.")]
    try:
        tokenizer = load_corpus_tokenizer(corpus, manifest)
    except TutelageError as error:  # corpora of earlier versions hold none
        return [Note(text=f"Rows cannot be shown: {error}")]
    rows = []
    for stream in manifest.stream_names():
        sets = manifest.shard_sets(stream)
        first = sum(each.num_samples for each in sets[:-1])
        for number, sample in enumerate(itertools.islice(read_rows(corpus, sets[-1]), _SHOWN_ROWS), first):
            row, at, segments = find_row(corpus, manifest, stream, number), 0, []
            for segment in row.segments:
                length = segment.end - segment.start
                origin = ", ".join(dict.fromkeys(segment.text.document_ids[:_SHOWN_PASSAGES]))
                part = (
                    "" if length == segment.num_tokens else f" (tokens {segment.start:,} to {segment.end:,})"
                )
                words = tokenizer.decode(sample["tokens"][at : at + length])
                segments.append((f"{segment.text.template} of {origin}{part}", length, words))
                at += length
            padding = len(sample["tokens"]) - at
            rows.append(Row(name=f"{stream} row {number:,}", segments=segments, padding=padding))
    note = (
        "Each colour is a segment of the row: a text, or a part of one; the width is its share of the tokens."
    )
    return [Note(text=note), Rows(rows=rows)]


def _kind(pair: StoredPair) -> str:
    if pair.options:
        return "choice with reasoning" if pair.rationale else "choice"
    if pair.rationale:
        return "question with reasoning"
    return "question" if pair.instruction.rstrip().endswith(("?", "？", "؟")) else "task"


def _text(text: AugmentedText, stream: str, increment: int) -> Text:
    passages = []
    for each in text.passages[:_SHOWN_PASSAGES]:
        pairs = [
            pair for pair in text.pairs if (pair.document_id, pair.part) == (each.document_id, each.part)
        ]
        share = text.text[each.start : each.end]
        start, end = next((pair.passage_span for pair in pairs if pair.passage_span), (0, len(share)))
        is_exact = any(pair.passage_span for pair in pairs)
        spans = [_support(pair) if is_exact else () for pair in pairs]
        origin = (
            f"{each.document_id}{f' part {each.part}' if each.part else ''} from {public_uri(each.source)}"
        )
        if each.failure:
            origin += f"; no answer: {each.failure}"
        if len(pairs) > _SHOWN_PAIRS:
            origin += f"; {_SHOWN_PAIRS} of {len(pairs):,} pairs are shown"
        passages.append(
            (
                origin,
                tuple(_marked(share[start:end], spans)),
                [_pair(pair, bool(span)) for pair, span in zip(pairs, spans, strict=True)][:_SHOWN_PAIRS],
            )
        )
    more = len(text.passages) - len(passages)
    name = f"{text.text_id[:8]}: {', '.join(text.document_ids[:3])}{' …' if len(text.passages) > 3 else ''}"
    return Text(
        name=name + (f" ({more:,} more passages)" if more > 0 else ""),
        stream=stream,
        increment=increment,
        template=text.template,
        num_pairs=text.num_pairs,
        passages=passages,
    )


def _support(pair: StoredPair) -> tuple[int, ...]:
    return next((verdict.span for verdict in pair.verdicts if verdict.span), pair.span)


def _pair(pair: StoredPair, is_supported: bool) -> Pair:
    verdicts = [
        f"{each.rule} {each.score:.2f}" + (f": {each.reason}" if each.reason else "")
        for each in pair.verdicts
    ]
    return Pair(
        question=pair.instruction,
        options=pair.options,
        rationale=pair.rationale,
        answer=pair.response,
        verdicts=verdicts or ["not verified"],
        is_supported=is_supported,
    )


def _marked(text: str, spans: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, bool]]:
    """The pieces of a text, inside and outside of spans, which may overlap."""
    at = 0
    for start, end in sorted((span[0], span[1]) for span in spans if span):
        start = max(start, at)
        if end <= start:
            continue
        if at < start:
            yield text[at:start], False
        yield text[start:end], True
        at = end
    if at < len(text):
        yield text[at:], False
