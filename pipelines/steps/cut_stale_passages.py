"""Texts as they stand after documents were changed or withdrawn.

A text is made of passages, one for each document of its chain. Those of documents whose newest row in the
ledger has another content are cut out, with what stands between them and the next passage.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from pipelines.steps.base import StepFn
from pipelines.store.ledger import Ledger
from pipelines.store.pair_files import read_texts
from schemas.corpus_layout import number_of
from schemas.manifest import ShardSet
from schemas.records import AugmentedText, Passage, digest


class Newest:
    """Which increment holds the newest text of each document.

    A document that was asked about again has one content in two increments; the newer one holds.

    Args:
        corpus: The corpus.
        stream: The stream.
        names: Its increments.
    """

    def __init__(self, corpus: str, stream: str, names: Iterable[str]):
        newest_first = sorted(names, key=number_of, reverse=True)
        self._ledgers = [(number_of(name), Ledger.open(corpus, stream, [name])) for name in newest_first]

    def is_current(self, number: int, passage: Passage) -> bool:
        """Whether a passage of an increment is of the newest text of its document."""
        for newest, ledger in self._ledgers:
            content = ledger.content_of(passage.document_id)
            if content is not None:
                return (newest, content) == (number, passage.content_hash)
        return False


class ReadTexts(StepFn):
    """Read files of texts; files and texts come with the number of their increment.

    A file comes with what the manifest says of its stream in that increment, too.
    """

    def __init__(self, progress_dir: str | None):
        super().__init__("read", progress_dir)

    def process(self, file: tuple[int, str, ShardSet]) -> Iterator[tuple[int, AugmentedText]]:
        number, uri, shards = file
        for text in read_texts(uri, shards):
            self.counters.add("texts")
            self.counters.add("pairs_not_stored", text.num_pairs - len(text.pairs))
            yield number, text
        self.counters.add("files")


class KeepCurrent(StepFn):
    """Cut out of texts what is not current; a text of which nothing is left goes.

    Documents and parts that stay are counted, those without pairs apart.

    Args:
        corpus: The corpus.
        stream: The stream of the texts.
        names: The increments so far.
        into: The one that is made of some of them, whose ledger says what is withdrawn.
        counts_pairs: Whether pairs are written about the documents of the stream.
        progress_dir: See Counters.
    """

    def __init__(
        self,
        corpus: str,
        stream: str,
        names: tuple[str, ...],
        into: str,
        progress_dir: str | None,
        *,
        counts_pairs: bool,
    ):
        super().__init__("current", progress_dir)
        self.corpus = corpus
        self.stream = stream
        self.names = names
        self.into = into
        self.counts_pairs = counts_pairs

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
        is_in = self._ledger.content_of(passage.document_id) == passage.content_hash
        return is_in and self._newest.is_current(number, passage)


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
        passages.append(passage.moved(length - passage.start))
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
