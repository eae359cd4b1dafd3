"""Sample of a corpus's sources: how records are read, cleaned and filtered. Sends and writes nothing.

    files by stream, source, extension; in an order of the seed ─► at most 64 open, a record of each in turn
    record ─► clean ─► filters: the steps of a build, without Beam ─► text to train on, or dropped by a rule

Each stream, source and extension gives equally many records while it has some, so shares are those of a kind,
not of the corpus. Of ten records in a row the seed draws one; the others come if the file ends. A file that
workers read in parts begins at a random place. Unchanged files count, too. Later steps are left out.

Cost: a listing of the sources, and the reading of at most ten records for each one of the sample.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import apache_beam as beam

from pipelines.increments.changed_source_files import SourceFile, list_files, parts_of
from pipelines.steps.base import StepFn
from pipelines.steps.clean import CleanDocuments
from pipelines.steps.filter import FilterDocuments
from plugins.readers import open_reader, text_encoding
from plugins.readers.base import BadRow, Part, Row
from plugins.readers.decompression import chunks, peek
from plugins.readers.file_kinds import extension, kind_of
from plugins.readers.folder import FolderReader
from plugins.readers.html_text import decode_page
from plugins.readers.listing import shown_name
from schemas import storage
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.errors import InputError
from schemas.records import Document, Reject

MOST = 1_000
"""Most records of a sample."""

_OPEN, _ONE_OF = 64, 10
_NUM_SHOWN, _SHOWN_CHARACTERS, _EXAMPLE_CHARACTERS = 5, 800, 200
_OF_FIELDS = frozenset({"csv", "json", "jsonl", "tsv", "parquet", "huggingface", "squad", "text"})
"""Kinds whose rows are the source's own fields, before `extract` and `format`."""

_CHANGES = re.compile(r"(?:dropped_lines|masked)_.*|(?:passed_over|shortened)_by_(.*)")
"""Counters of steps that a sample tells, with the name of the filter."""

T = TypeVar("T")


@dataclasses.dataclass(kw_only=True)
class Effect:
    """What one rule does to the sample, with an example: its name, and the beginning of what is lost."""

    step: str  # read, clean, or the name of a filter
    rule: str  # of a drop `too_short`, `gopher_quality.min_words`; of a change `masked_email`
    is_drop: bool  # True if the record goes no further
    count: int = 0  # records; lines or pieces for a change by cleaning
    name: str = ""  # of the example: file and position
    found: str = ""  # value and limit: "3 words, at least 5"; "" for a change
    text: str = ""  # first characters of the document, or for a change of the first changed line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A document beside its source."""

    name: str  # file and position
    kind: str
    source: str  # its beginning
    text: str  # beginning of the text as it would be trained on
    num_characters: int  # of the whole text
    dropped: str  # rule, value and limit that drop the document; "" if it is kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample of the sources."""

    corpus: str  # URI
    num_records: int
    num_documents: int
    num_kept: int  # documents that cleaning and filters keep
    num_files: int  # opened ones
    num_listed: int  # all files of the sources
    left_out: tuple[str, ...]  # lines about entries that are no readable files
    kinds: dict[str, dict[str, int]]  # by `stream: kind` files, documents, deletions, and rejects by reason
    effects: list[Effect]
    no_effect: list[str]  # cleaning and filters without an effect on the sample
    shown: list[Shown]

    def as_json(self) -> dict[str, Any]:
        """Return plain values under stable names."""
        return dataclasses.asdict(self)


class _Record(NamedTuple):
    """A document or reject, and what it was made of."""

    kind: str
    uri: str
    source: SourceConfig
    row: Row | BadRow
    made: Document | Reject


class _Drawing:
    """Files in the order of the seed, and what became of the records so far."""

    def __init__(self, config: CorpusConfig):
        self.config = config
        self.kinds: dict[str, Counter[str]] = collections.defaultdict(Counter)
        self.effects: dict[str, Effect] = {}
        self.steps: list[StepFn] = [CleanDocuments(config.clean)]
        self.steps += [FilterDocuments(config.filters)] if config.filters else []
        for step in self.steps:
            step.setup()

    def records(self, groups: dict[tuple[str, int, str], list[SourceFile]]) -> Iterator[_Record]:
        """Yield a record of each group in turn, and within a group of each file."""
        each_open = max(1, _OPEN // max(1, len(groups)))
        return _in_turn((self._of_group(key, files, each_open) for key, files in groups.items()), len(groups))

    def _of_group(
        self, key: tuple[str, int, str], files: list[SourceFile], num_open: int
    ) -> Iterator[_Record]:
        rng = random.Random(f"sample {self.config.seed} {key}")
        return _in_turn((self._of_file(key[0], file) for file in rng.sample(files, len(files))), num_open)

    def _of_file(self, stream: str, file: SourceFile) -> Iterator[_Record]:
        reader = open_reader(self.config.streams[stream].sources[file.source])
        rng = random.Random(f"sample {self.config.seed} {stream} {file.uri}")
        block: list[_Record] = []
        held: list[_Record] = []
        try:
            found = reader.kind(file.uri) if isinstance(reader, FolderReader) else reader.source.reader
            kind = found.reason if isinstance(found, BadRow) else found
            counts = self.kinds[f"{stream}: {kind}"]
            counts["files"] += 1
            first, *_ = parts = [each.part for each in parts_of(self.config, {stream: [file]})[stream]]
            rng.shuffle(parts)
            if parts[0].end is not None:
                parts[0] = Part(rng.randrange(parts[0].start, parts[0].end), parts[0].end)
            num_rows = 0
            for at, part in enumerate((*parts, first)):
                if at == len(parts) and num_rows:
                    break  # a file with rows; one such as JSON over several lines has them in its first part
                for version, row in reader.versions(file.uri, part):
                    num_rows += 1
                    of = f"{kind}: {member}" if (member := _kind_of_member(row.position)) else kind
                    for made in reader.records(file.uri, row, version):
                        block.append(_Record(f"{stream}: {of}", file.uri, reader.source, row, made))
                        if len(block) == _ONE_OF:
                            yield block.pop(rng.randrange(_ONE_OF))
                            held, block = held + block, []
        except OSError as error:
            raise InputError(f"{shown_name(file.uri)}: cannot be read: {error}.") from error
        yield from rng.sample(held + block, len(held + block))

    def judge(self, document: Document) -> tuple[Document, str]:
        """Clean and filter a document; return the last text of it, and the rule that drops it or ""."""
        for step in self.steps:
            before, counts = document.text, Counter(step.counters.counts)
            made = next(iter(step.process(document)))
            self._note_changes(step, counts, document, made)
            if isinstance(made, beam.pvalue.TaggedOutput):
                reject = made.value
                name = reject.reason.partition(".")[0]  # of a filter
                name = name if name in self.config.filters else step.step
                self.note(name, reject.reason, reject, found=reject.detail, text=before)
                return document, f"{step.step}: {reject.reason} ({reject.detail})"
            document = made
        return document, ""

    def note(self, step: str, rule: str, of: Document | Reject, *, found: str = "", text: str = "") -> Effect:
        """Count an effect; its first record is the example. Without `found` it is a change."""
        if (effect := self.effects.get(f"{step} {rule}")) is None:
            effect = Effect(step=step, rule=rule, is_drop=isinstance(of, Reject), name=of.source, found=found)
            effect.text = text[:_EXAMPLE_CHARACTERS]
            self.effects[f"{step} {rule}"] = effect
        effect.count += 1
        return effect

    def _note_changes(self, step: StepFn, counts: Counter[str], before: Document, after: Any) -> None:
        """Note lines that cleaning drops, data that it masks, and what filters shorten or pass over."""
        for key, count in (Counter(step.counters.counts) - counts).items():
            rule = key.partition("/")[2]
            if found := _CHANGES.fullmatch(rule):
                text = after.text.split("\n") if isinstance(after, Document) else before.text
                lost = next((line for line in before.text.split("\n") if line.strip() not in text), "")
                self.note(found[1] or step.step, rule, before, text=lost).count += count - 1


def _in_turn(waiting: Iterator[Iterator[T]], most: int) -> Iterator[T]:
    """Yield a value of each iterator in turn; at most `most` of them are begun and not at their end."""
    begun: collections.deque[Iterator[T]] = collections.deque()
    while True:
        begun.extend(itertools.islice(waiting, most - len(begun)))
        if not begun:
            return
        begun.append(begun.popleft())
        try:
            yield next(begun[-1])
        except StopIteration:
            begun.pop()


def _kind_of_member(position: str) -> str:
    """Return the kind of an archive's member by its name; "" for a position in no archive."""
    member = position.rpartition("!/")[2] if position.startswith("!/") else ""
    return kind_of(re.sub(r":[^/]*$", "", member), b"") if member else ""


def _rendering(record: _Record) -> str:
    """Return the beginning of a record's source: its fields, its file's text, or name, size and position."""
    row, kind, wanted = record.row, record.kind.rpartition(": ")[2], record.source.encoding
    if isinstance(row, Row) and row.position and kind in _OF_FIELDS:
        fields = (f"{name}: {value}" for name, value in row.values.items())
        return "\n".join(fields)[:_SHOWN_CHARACTERS]
    head = b"" if row.position else peek(chunks(record.uri), 1)[0]
    is_binary = b"\x00" in head and not text_encoding.is_marked(head)
    if not head or is_binary or head.startswith((b"%PDF-", b"PK\x03\x04", b"PAR1")):
        fs, path = storage.filesystem(record.uri)
        place = f" at {row.position}" if row.position else ""
        return f"[{shown_name(record.uri)}, {int(fs.size(path) or 0):,} bytes{place}]"
    try:
        if kind == "html":
            return decode_page(head, wanted)[0][:_SHOWN_CHARACTERS]
        name = text_encoding.encoding_of(head, wanted, is_whole=False).name
    except text_encoding.Undecodable:
        name = "latin-1"
    return head.decode(name, "replace")[:_SHOWN_CHARACTERS]


def sample_sources(config: CorpusConfig, number: int) -> Sample:
    """Read, clean and filter `number` records, or all if there are fewer; the same ones for the same seed.

    Raises:
        ConfigError: A name, value or option is refused.
        InputError: A source has no files, or a storage refuses to read one.
    """
    drawing = _Drawing(config)
    listed = list_files(config)
    groups: dict[tuple[str, int, str], list[SourceFile]] = collections.defaultdict(list)
    for stream, files in listed.files.items():
        for file in files:
            groups[stream, file.source, extension(file.uri)].append(file)
    shown: list[Shown] = []
    num_records = num_kept = 0
    for record in itertools.islice(drawing.records(groups), number):
        num_records += 1
        made, counts = record.made, drawing.kinds[record.kind]
        if isinstance(made, Reject):
            counts[f"rejected: {made.reason}"] += 1
            drawing.note("read", made.reason, made, found=made.detail)
            continue
        counts["deletions" if made.is_deleted else "documents"] += 1
        if made.is_deleted:
            continue
        document, dropped = drawing.judge(made)
        num_kept += not dropped
        if len(shown) < _NUM_SHOWN:
            shown.append(
                Shown(
                    name=document.source,
                    kind=record.kind,
                    source=_rendering(record),
                    text=document.text[:_SHOWN_CHARACTERS],
                    num_characters=len(document.text),
                    dropped=dropped,
                )
            )
    steps = ["read", "clean", *config.filters, "filter"]  # the last for unexpected errors
    effects = sorted(drawing.effects.values(), key=lambda each: (steps.index(each.step), each.rule))
    return Sample(
        corpus=config.corpus,
        num_records=num_records,
        num_documents=sum(counts["documents"] for counts in drawing.kinds.values()),
        num_kept=num_kept,
        num_files=sum(counts["files"] for counts in drawing.kinds.values()),
        num_listed=sum(map(len, listed.files.values())),
        left_out=listed.left_out,
        kinds={kind: dict(counts) for kind, counts in sorted(drawing.kinds.items())},
        effects=effects,
        no_effect=[name for name in steps[1:-1] if name not in {each.step for each in effects}],
        shown=shown,
    )
