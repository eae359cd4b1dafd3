"""All that a corpus knows about one document.

    name, or the beginning of its content's hash
      ├─► ledgers: which increments took it in, and which of its contents is current
      ├─► texts that hold it ─► the rows that hold tokens of them
      │      └─► the key of the answer that its pairs were read from ─► journal, if it is still there
      └─► rejects with its name, of all increments up to the manifest's

A text longer than a row lies in several, and the document's own share may be in only some of them.

Cost: all texts and rejects are read once, a line at a time; only lines with the name in them are parsed.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Literal

from pipelines.inspect.lineage import Place, rows_of, text_lines
from pipelines.store.journal import find_generations
from pipelines.store.ledger import WITHDRAWN, Ledger
from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import Manifest, increment_uri, published_names
from schemas.records import Generation, Passage, Reject
from schemas.validation import record

_COMPARED_NAMES = 100_000
_HASH_BEGINNING = re.compile("[0-9a-f]{8,32}")
_LEDGER = re.compile(r"([0-9]{6,18}(?:-[0-9a-f]{1,32})?)\.([\w-]+)\.ledger", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a ledger: what became of the document in one increment.

    Attributes:
        stream: The stream.
        increment: Number of the increment.
        content_hash: Its content there; "" where it was withdrawn.
        file: The file that this version came from; "" where the ledger does not say.
        state: `current`, `superseded` by a newer increment, or `withdrawn`.
    """

    stream: str
    increment: int
    content_hash: str
    file: str
    state: Literal["current", "superseded", "withdrawn"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A share of a training text that is the document's.

    Attributes:
        stream: The stream.
        place: Where the text lies.
        text_id: The text.
        template: How it was rendered.
        passage: The document's share of it.
        text: The same in words.
        is_current: Whether it is of the document's current content.
        rows: Rows of the stream that hold tokens of the whole text.
        generation: What the model answered, or None where none was asked or the journal holds it no more.
    """

    stream: str
    place: Place
    text_id: str
    template: str
    passage: Passage
    text: str
    is_current: bool
    rows: tuple[int, ...] = ()
    generation: Generation | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reject of the document.

    Attributes:
        increment: Number of the increment that was built.
        reject: The record.
    """

    increment: int
    reject: Reject


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DocumentTrace:
    """All about one document, oldest first."""

    document_id: str
    entries: tuple[Entry, ...]
    holdings: tuple[Holding, ...]
    refusals: tuple[Refusal, ...]


def trace_document(corpus: str, manifest: Manifest, name: str) -> DocumentTrace:
    """Look up a document.

    Args:
        corpus: The corpus.
        manifest: The state of it that is looked at.
        name: Its document_id, or at least 8 digits that the hash of a content of it begins with.

    Raises:
        CorpusError: Nothing is known of it, or several documents have such a content; or a file of the corpus
            is missing or damaged.
    """
    streams = _stream_names(corpus, manifest)
    found = _look_up(corpus, manifest, streams, name)
    if found is None and _HASH_BEGINNING.fullmatch(name.lower()):
        names = sorted(_names_by_content(corpus, manifest, streams, name.lower()))
        if len(names) > 1:
            raise CorpusError(
                f"{corpus}: {name} begins the hashes of {len(names)} documents: {', '.join(names[:3])}"
                f"{', …' if len(names) > 3 else ''}. Give one of their names, or more digits."
            )
        found = _look_up(corpus, manifest, streams, names[0]) if names else None
    if found is not None:
        return found
    seen = itertools.islice(_names_in(corpus, manifest, streams), _COMPARED_NAMES)
    near = difflib.get_close_matches(name, dict.fromkeys(seen), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise CorpusError(f"{corpus}: nothing is known of a document {name!r}.{hint}")


def _look_up(corpus: str, manifest: Manifest, streams: list[str], name: str) -> DocumentTrace | None:
    entries: list[Entry] = []
    holdings: list[Holding] = []
    for stream in streams:
        of_stream = _entries(corpus, manifest, stream, name)
        entries += of_stream
        current = {(entry.increment, entry.content_hash) for entry in of_stream if entry.state == "current"}
        holdings += _holdings(corpus, manifest, stream, name, current)
    keys = {holding.passage.generation for holding in holdings} - {""}
    answers = find_generations(storage.join(corpus, "journal"), keys) if keys else {}
    trace = DocumentTrace(
        document_id=name,
        entries=tuple(sorted(entries, key=lambda entry: (entry.increment, entry.stream))),
        holdings=tuple(
            dataclasses.replace(holding, generation=answers.get(holding.passage.generation))
            for holding in sorted(holdings, key=lambda each: (each.place.increment, each.stream, each.place))
        ),
        refusals=tuple(_refusals(corpus, manifest, name)),
    )
    return trace if trace.entries or trace.holdings or trace.refusals else None


def _stream_names(corpus: str, manifest: Manifest) -> list[str]:
    """All streams, those included whose documents were all withdrawn, so that only ledgers know them."""
    fs, path = storage.filesystem(storage.join(corpus, "ledger"))
    files = fs.ls(path, detail=False) if fs.exists(path) else []
    found = filter(None, (_LEDGER.fullmatch(file.rsplit("/", 1)[-1]) for file in files))
    known = {each[2] for each in found if each[1] in manifest.names()}
    return sorted(known | {*manifest.stream_names()})


def _entries(corpus: str, manifest: Manifest, stream: str, name: str) -> list[Entry]:
    found = []
    for increment in manifest.increments:
        ledger = Ledger.open(corpus, stream, [increment.name])
        if (content := ledger.content_of(name)) is not None:
            origin = ledger.origin_of(name)
            found.append((increment.number, content, origin.uri if origin else ""))
    entries = []
    for at, (number, content, file) in enumerate(found):
        is_newest = at == len(found) - 1
        state: Literal["current", "superseded", "withdrawn"] = "current" if is_newest else "superseded"
        if content == WITHDRAWN:
            state, content = "withdrawn", ""
        entries.append(Entry(stream=stream, increment=number, content_hash=content, file=file, state=state))
    return entries


def _holdings(
    corpus: str, manifest: Manifest, stream: str, name: str, current: set[tuple[int, str]]
) -> list[Holding]:
    quoted = json.dumps(name, ensure_ascii=False)
    found = []
    for each in text_lines(corpus, manifest, stream):
        if quoted not in each.line:
            continue
        place, text = each.place, each.text()
        found += [
            Holding(
                stream=stream,
                place=place,
                text_id=text.text_id,
                template=text.template,
                passage=passage,
                text=text.text[passage.start : passage.end],
                is_current=(place.increment, passage.content_hash) in current,
            )
            for passage in text.passages
            if passage.document_id == name
        ]
    rows = rows_of(corpus, manifest, stream, {holding.place for holding in found}) if found else {}
    return [dataclasses.replace(holding, rows=tuple(rows[holding.place])) for holding in found]


def _refusals(corpus: str, manifest: Manifest, name: str) -> Iterator[Refusal]:
    quoted = json.dumps(name, ensure_ascii=False)
    for number, at, uri, line in _reject_lines(corpus, manifest):
        if quoted in line:
            reject = record(Reject, line, uri, at)
            if reject.document_id == name:
                yield Refusal(increment=number, reject=reject)


def _reject_lines(corpus: str, manifest: Manifest) -> Iterator[tuple[int, int, str, str]]:
    """Rejects of all increments that were published until then, also of those since replaced.

    Yields:
        Number of the increment, number of the line, the file, and the line.
    """
    for number, increment in published_names(corpus, manifest.number).items():
        folder = storage.join(increment_uri(corpus, increment), "rejects")
        fs, path = storage.filesystem(folder)
        for file in sorted(fs.ls(path, detail=False)) if fs.exists(path) else ():
            uri = storage.join(folder, file.rsplit("/", 1)[-1])
            for at, line in enumerate(storage.read_lines_zst(uri)):
                yield number, at, uri, line


def _names_by_content(corpus: str, manifest: Manifest, streams: list[str], digits: str) -> set[str]:
    names = set()
    for stream in streams:
        for each in text_lines(corpus, manifest, stream):
            if f'"{digits}' in each.line:
                for passage in each.text().passages:
                    if passage.content_hash.startswith(digits):
                        names.add(passage.document_id)
    return names


def _names_in(corpus: str, manifest: Manifest, streams: list[str]) -> Iterator[str]:
    for stream in streams:
        for each in text_lines(corpus, manifest, stream):
            yield from each.text().document_ids
    for _, at, uri, line in _reject_lines(corpus, manifest):
        yield from filter(None, (record(Reject, line, uri, at).document_id,))
