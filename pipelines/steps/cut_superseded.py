"""Removal of superseded and withdrawn passages from the texts of earlier increments.

A text consists of passages, one for each document of its chain. The step cuts out the passages of documents
whose newest ledger row has another content, with the separator before the next passage.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from pipelines.steps.base import StepFn
from pipelines.store.ledger import Ledger, Newest
from pipelines.store.pair_files import mean_score, read_texts
from schemas.content_hash import digest
from schemas.manifest import ShardSet
from schemas.records import AugmentedText, Passage


class ReadTexts(StepFn):
    """Read files of texts.

    Takes the number of an increment, a file, and the manifest's entry of the stream in that increment. Gives
    texts with the number of their increment.
    """

    step = "read"

    def process(self, file: tuple[int, str, ShardSet]) -> Iterator[tuple[int, AugmentedText]]:
        number, uri, shards = file
        for text in read_texts(uri, shards):
            self.counters.add("texts")
            self.counters.add("pairs_not_stored", text.num_pairs - len(text.pairs))
            yield number, text
        self.counters.add("files")


@dataclasses.dataclass(eq=False, kw_only=True)
class CutSuperseded(StepFn):
    """Cut superseded and withdrawn passages out of texts; drop texts without any other.

    The step counts the documents and parts that stay, and those of them without pairs.
    """

    step = "current"
    corpus: str
    stream: str
    names: tuple[str, ...]  # the increments so far
    into: str  # the new increment, whose ledger names withdrawn documents
    counts_pairs: bool  # the stream's documents have pairs

    def setup(self) -> None:
        super().setup()
        self._newest = Newest(self.corpus, self.stream, self.names)
        self._ledger = Ledger.open(self.corpus, self.stream, [*self.names, self.into])

    def process(self, numbered: tuple[int, AugmentedText]) -> Iterator[AugmentedText]:
        number, text = numbered
        kept = [self._is_current(number, passage) for passage in text.passages]
        for passage in itertools.compress(text.passages, kept) if self.counts_pairs else ():
            self.counters.add("documents")
            if not passage.num_pairs:
                self.counters.add("failed_documents" if passage.failure else "empty_documents")
        self.counters.add("passages_cut", kept.count(False))
        if all(kept):
            yield text
        elif any(kept):
            self.counters.add("texts_cut")
            yield cut(text, kept)
        else:
            self.counters.add("texts_gone")

    def _is_current(self, number: int, passage: Passage) -> bool:
        name, content = passage.document_id, passage.content_hash
        is_in = self._ledger.content_of(name) == content
        return is_in and self._newest.is_current(number, name, content)


def cut(text: AugmentedText, kept: Sequence[bool]) -> AugmentedText:
    """Make a text of some of a text's passages, not all, with a text_id of its own."""
    pieces: list[str] = []
    passages: list[Passage] = []
    length = 0
    for number, (passage, is_kept) in enumerate(zip(text.passages, kept, strict=True)):
        if not is_kept:
            continue
        if passages:  # the separator before this passage now follows the last kept one
            between = text.text[text.passages[number - 1].end : passage.start]
            pieces.append(between)
            length += len(between)
        pieces.append(text.text[passage.start : passage.end])
        passages.append(passage.moved(length - passage.start))
        length += passage.end - passage.start
    names = [name for each in passages for name in (each.document_id, each.content_hash, each.part)]
    text_id = digest(text.text_id, *names)
    of_kept = {(each.document_id, each.part) for each in passages}
    pairs = tuple(
        dataclasses.replace(pair, text_id=text_id)
        for pair in text.pairs
        if (pair.document_id, pair.part) in of_kept
    )
    return dataclasses.replace(
        text,
        text_id=text_id,
        text="".join(pieces),
        passages=tuple(passages),
        num_pairs=sum(passage.num_pairs for passage in passages),
        pairs=pairs,
        mean_score=mean_score(pairs),
    )
