"""Lineage: the texts, documents and files of a packed row, and the rows of a text.

    row 17 of a stream ─► increment ─► group ─► its line in lineage/ ─► texts, by their position in texts/
                                                                           └─► passages: document, source,
                                                                               generation

Rows of a stream are numbered as the trainer reads them: oldest increment first, then group by group.

Cost: a row reads the index, the lineage and the texts of its group; the rows of a text read the lineage of
its group. In memory are one line, and one number for each text of a group.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from pipelines.steps.pack import Piece
from schemas import storage
from schemas.corpus_layout import group_of, increment_uri, lineage_uri, text_uri, text_uris
from schemas.errors import ConfigError, CorpusError, unknown_name
from schemas.manifest import Increment, Manifest, ShardSet
from schemas.records import AugmentedText
from schemas.shard_index import read_index
from schemas.validation import Count, parse, record

_Pieces = list[tuple[Count, Count, Count]]
"""Pieces of a row, as in its line: text, first token, number of tokens."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Place of a text."""

    increment: int  # its number
    group: str  # name of its group of shards, such as 00000
    position: int  # its line in the group's file of texts, counted from 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Part of a text in a row."""

    place: Place
    start: int  # first token of the part, counted from 0 in the text
    end: int  # its last token plus 1
    num_tokens: int  # of the whole text, BOS and EOS included
    text: AugmentedText


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A packed row."""

    stream: str
    index: int  # its number in the stream
    shards: str  # directory of its shards, relative to the corpus
    index_in_shards: int  # its number in these shards
    segments: tuple[Segment, ...]  # its parts of texts, in order; the rest is padding


def parse_row(value: str, manifest: Manifest) -> tuple[str, int]:
    """Read `STREAM:INDEX`, or `INDEX` of the first stream.

    Raises:
        ConfigError: The value is malformed, or there is no such stream.
    """
    name, _, index = value.rpartition(":")
    names = manifest.stream_names()
    if not index.isdecimal():
        raise ConfigError(f"--row is {value!r}; expected STREAM:INDEX, such as {names[0]}:17.")
    if name and name not in names:
        raise ConfigError(unknown_name("stream", name, names))
    return name or names[0], int(index)


def find_row(corpus: str, manifest: Manifest, stream: str, index: int) -> Row:
    """Find the segments of a row.

    Raises:
        ConfigError: The stream has no such row.
        CorpusError: A file of the corpus is missing or damaged.
    """
    num_rows = sum(shards.num_samples for shards in manifest.shard_sets(stream))
    if index >= num_rows:
        raise ConfigError(
            f"--row {stream}:{index} does not exist; stream {stream!r} has rows 0 to {num_rows - 1}."
        )
    for group in _groups(corpus, manifest, stream):
        if group.start <= index < group.start + group.num_rows:
            return Row(
                stream=stream,
                index=index,
                shards=group.shards.path,
                index_in_shards=index - group.start + group.start_in_shards,
                segments=_segments(corpus, stream, group, index - group.start),
            )
    raise CorpusError(
        f"{corpus}: the index of stream {stream!r} has fewer rows than the manifest. Restore it."
    )


def rows_of(
    corpus: str, manifest: Manifest, stream: str, places: Collection[Place]
) -> dict[Place, list[int]]:
    """Find the rows with tokens of each of some texts of a stream.

    Raises:
        CorpusError: A file of the corpus is missing or damaged.
    """
    rows: dict[Place, list[int]] = {place: [] for place in places}
    wanted = {(place.increment, place.group) for place in places}
    for group in _groups(corpus, manifest, stream):
        if (group.increment.number, group.name) not in wanted:
            continue
        for index, pieces in enumerate(_lineage(corpus, stream, group), group.start):
            for piece in pieces:
                place = Place(increment=group.increment.number, group=group.name, position=piece.text)
                if place in rows:
                    rows[place].append(index)
    return rows


def texts_of(corpus: str, manifest: Manifest, stream: str) -> Iterator[AugmentedText]:
    """Yield the training texts of a stream, newest increment first, in the order of their shards."""
    for each in text_lines(corpus, manifest, stream):
        yield each.text()


class TextLine(NamedTuple):
    """A stored training text: its place, the file, the line."""

    place: Place
    uri: str
    line: str

    def text(self) -> AugmentedText:
        """Parse the text, or raise a CorpusError if the line is damaged."""
        return record(AugmentedText, self.line, self.uri, self.place.position)


def text_lines(corpus: str, manifest: Manifest, stream: str) -> Iterator[TextLine]:
    """Yield the same texts as stored lines, each with its place."""
    for increment in reversed(manifest.increments):
        for uri in text_uris(corpus, stream, increment.name):
            for position, line in enumerate(storage.read_lines_zst(uri)):
                place = Place(increment=increment.number, group=group_of(uri), position=position)
                yield TextLine(place, uri, line)


class _Group(NamedTuple):
    """Rows packed together: their increment, and the number of the first in the stream and its shards."""

    increment: Increment
    name: str
    shards: ShardSet
    start: int
    start_in_shards: int
    num_rows: int


def _groups(corpus: str, manifest: Manifest, stream: str) -> Iterator[_Group]:
    start = 0
    for increment in manifest.increments:
        shards = increment.streams.get(stream)
        if shards is None:
            continue
        sizes: Counter[str] = Counter()  # keeps the order of the index
        for file in read_index(corpus, shards).shards:
            sizes[file.stored.basename.partition("/")[0]] += file.samples
        at = 0
        for name, num_rows in sizes.items():
            yield _Group(increment, name, shards, start + at, at, num_rows)
            at += num_rows
        start += shards.num_samples


def _lineage(corpus: str, stream: str, group: _Group) -> Iterator[list[Piece]]:
    uri = lineage_uri(increment_uri(corpus, group.increment.name), stream, group.name)
    try:
        for number, line in enumerate(storage.read_lines_zst(uri)):
            yield [Piece(*piece) for piece in parse(_Pieces, line, name=f"{uri}: line {number + 1}")]
    except FileNotFoundError:
        raise CorpusError(f"{uri}: is missing, so the texts of its rows are unknown. Restore it.") from None


def _segments(corpus: str, stream: str, group: _Group, row: int) -> tuple[Segment, ...]:
    wanted: list[Piece] = []
    sizes: dict[int, int] = {}
    for number, pieces in enumerate(_lineage(corpus, stream, group)):
        if number == row:
            wanted = pieces
        for piece in pieces:
            sizes[piece.text] = max(sizes.get(piece.text, 0), piece.start + piece.num_tokens)
    uri = text_uri(increment_uri(corpus, group.increment.name), stream, group.name)
    texts: dict[int, AugmentedText] = {}
    numbers = {piece.text for piece in wanted}
    for position, line in enumerate(storage.read_lines_zst(uri)):
        if position in numbers:
            texts[position] = record(AugmentedText, line, uri, position)
    if missing := numbers - texts.keys():
        raise CorpusError(f"{uri}: has no text {min(missing)}, which its lineage names. Restore it.")
    return tuple(
        Segment(
            place=Place(increment=group.increment.number, group=group.name, position=piece.text),
            start=piece.start,
            end=piece.start + piece.num_tokens,
            num_tokens=sizes[piece.text],
            text=texts[piece.text],
        )
        for piece in wanted
    )
