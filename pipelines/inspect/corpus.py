"""`Corpus`: a published corpus as iterators and tables, read without Beam."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.inspect.export_pairs import current_pairs
from pipelines.inspect.lineage import text_lines
from pipelines.inspect.record_tables import Records
from pipelines.store.ledger import Newest
from pipelines.store.packed_rows import read_rows
from pipelines.store.pair_files import read_texts
from pipelines.store.statistics import stats_of
from schemas.corpus_layout import text_uris
from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest, read_manifest
from schemas.records import AugmentedText, PackedSample, StoredPair


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CurrentDocument:
    """A document, or a part of a long one, as the newest training text holds it.

    Attributes:
        document_id: Its id.
        text: Its text without pairs, cleaned. A text in a layout that changed it is as in the training text.
        source: Its origin, `uri` or `uri:position`.
        part: Part of the document, `k/n`, or "" for the whole document.
        stream: Its stream.
        increment: Number of the increment that holds it.
        num_pairs: Pairs about it.
    """

    document_id: str
    text: str
    source: str
    part: str
    stream: str
    increment: int
    num_pairs: int


class Corpus:
    """A published corpus, at one manifest.

    Args:
        uri: Directory of the corpus, at any fsspec URI.
        manifest: Number of a manifest; None takes the newest, and keeps it while the corpus grows.

    Raises:
        CorpusError: Nothing is published there, or the manifest is damaged.
    """

    def __init__(self, uri: str | os.PathLike[str], *, manifest: int | None = None):
        if manifest is not None and not isinstance(manifest, int):
            raise ConfigError(f"manifest is {manifest!r}; expected its number, or None for the newest.")
        self.uri = os.fspath(uri)
        self.manifest: Manifest = read_manifest(self.uri, manifest)

    def __repr__(self) -> str:
        return f"Corpus({self.uri!r}, manifest={self.manifest.number})"

    @property
    def streams(self) -> list[str]:
        """Names of its streams."""
        return self.manifest.stream_names()

    def stats(self, increment: int | None = None) -> dict[str, Any]:
        """Read what a build counted, as in its stats.json; by default that of the newest increment.

        Raises:
            ConfigError: The manifest has no such increment.
        """
        names = {each.number: each.name for each in self.manifest.increments}
        wanted = max(names) if increment is None else increment
        if wanted not in names:
            raise ConfigError(
                f"{self.uri}: no increment {wanted}; manifest has {', '.join(map(str, names))}."
            )
        return stats_of(self.uri, names[wanted])

    def texts(self, stream: str | None = None) -> Records[AugmentedText]:
        """The training texts with their pairs, superseded ones too, oldest increment first."""
        return Records(AugmentedText, functools.partial(self._texts, self._chosen(stream)))

    def pairs(self, stream: str | None = None) -> Records[StoredPair]:
        """The pairs of all documents that are neither superseded nor withdrawn."""
        return Records(StoredPair, functools.partial(self._pairs, self._chosen(stream)))

    def documents(self, stream: str | None = None) -> Records[CurrentDocument]:
        """The documents that are neither superseded nor withdrawn; of a long one each part."""
        return Records(CurrentDocument, functools.partial(self._documents, self._chosen(stream)))

    def rows(self, stream: str | None = None) -> Records[PackedSample]:
        """The packed rows as the trainer reads them: oldest increment first, unshuffled."""
        return Records(PackedSample, functools.partial(self._rows, self._chosen(stream)))

    def _chosen(self, stream: str | None) -> list[str]:
        if stream is not None and stream not in self.streams:
            raise ConfigError(unknown_name("stream", stream, self.streams))
        return self.streams if stream is None else [stream]

    def _texts(self, streams: Sequence[str]) -> Iterator[AugmentedText]:
        for name in streams:
            for increment in self.manifest.increments:
                if name in increment.streams:
                    for texts in text_uris(self.uri, name, increment.name):
                        yield from read_texts(texts, increment.streams[name])

    def _pairs(self, streams: Sequence[str]) -> Iterator[StoredPair]:
        for name in streams:
            for pair, _ in current_pairs(self.uri, self.manifest, name, Counter()):
                yield pair

    def _documents(self, streams: Sequence[str]) -> Iterator[CurrentDocument]:
        for name in streams:
            newest = Newest(self.uri, name, self.manifest.names())
            for line in text_lines(self.uri, self.manifest, name):
                text, number = line.text(), line.place.increment
                for each in text.passages:
                    if newest.is_current(number, each.document_id, each.content_hash):
                        own = (
                            slice(each.text_start, each.text_end)
                            if each.text_end
                            else slice(each.start, each.end)
                        )
                        yield CurrentDocument(
                            document_id=each.document_id,
                            text=text.text[own],
                            source=each.source,
                            part=each.part,
                            stream=name,
                            increment=number,
                            num_pairs=each.num_pairs,
                        )

    def _rows(self, streams: Sequence[str]) -> Iterator[PackedSample]:
        for name in streams:
            for shards in self.manifest.shard_sets(name):
                for row in read_rows(self.uri, shards):
                    yield PackedSample(**row)
