"""Texts as they stand after documents were changed or withdrawn.

A text is made of passages, one for each document of its chain. Those of documents whose newest row in the
ledger has another content are cut out, with what stands between them and the next passage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pipelines.ledger import Ledger
from pipelines.pairs import read_texts
from pipelines.transforms.base import StepFn
from schemas.manifest import ShardSet
from schemas.records import AugmentedText, Passage, digest


class ReadTexts(StepFn):
    """Read files of texts that an increment holds, each with what the manifest says of its stream there."""

    def __init__(self, progress_dir: str | None):
        super().__init__("read", progress_dir)

    def process(self, file: tuple[str, ShardSet]) -> Iterator[AugmentedText]:
        for text in read_texts(*file):
            self.counters.add("texts")
            self.counters.add("pairs_not_stored", text.num_pairs - len(text.pairs))
            yield text
        self.counters.add("files")


class KeepCurrent(StepFn):
    """Cut out of texts what is not current; a text of which nothing is left goes.

    Args:
        corpus: The corpus.
        stream: The stream of the texts.
        numbers: Increments whose ledgers say what is current.
        progress_dir: See Counters.
    """

    def __init__(self, corpus: str, stream: str, numbers: tuple[int, ...], progress_dir: str | None):
        super().__init__("current", progress_dir)
        self.corpus = corpus
        self.stream = stream
        self.numbers = numbers

    def setup(self) -> None:
        super().setup()
        self._ledger = Ledger.open(self.corpus, self.stream, self.numbers)

    def process(self, text: AugmentedText) -> Iterator[AugmentedText]:
        kept = [self._is_current(passage) for passage in text.passages]
        self.counters.add("passages_cut", kept.count(False))
        if all(kept):
            yield text
        elif any(kept):
            self.counters.add("texts_cut")
            yield cut(text, kept)
        else:
            self.counters.add("texts_gone")

    def _is_current(self, passage: Passage) -> bool:
        return self._ledger.content_of(passage.document_id) == passage.content_hash


def cut(text: AugmentedText, kept: Sequence[bool]) -> AugmentedText:
    """A text of some of its passages, under a name of its own.

    Args:
        text: Any text.
        kept: For each passage whether it stays; not for all.
    """
    pieces: list[str] = []
    passages: list[Passage] = []
    length = 0
    for number, (passage, is_kept) in enumerate(zip(text.passages, kept, strict=True)):
        if not is_kept:
            continue
        if passages:  # what stood before it in the whole text stands between it and the one kept before
            between = text.text[text.passages[number - 1].end : passage.start]
            pieces.append(between)
            length += len(between)
        pieces.append(text.text[passage.start : passage.end])
        size = passage.end - passage.start
        passages.append(dataclasses.replace(passage, start=length, end=length + size))
        length += size
    names = [name for each in passages for name in (each.document_id, each.content_hash, each.part)]
    text_id = digest(text.text_id, *names)
    of_kept = {(each.document_id, each.part) for each in passages}
    return dataclasses.replace(
        text,
        text_id=text_id,
        text="".join(pieces),
        passages=tuple(passages),
        num_pairs=sum(passage.num_pairs for passage in passages),
        pairs=tuple(
            dataclasses.replace(pair, text_id=text_id)
            for pair in text.pairs
            if (pair.document_id, pair.part) in of_kept
        ),
    )
