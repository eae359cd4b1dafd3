"""`corpus trace`: everything that a corpus knows about one document.

    name, its end behind a `/`, or the first digits of its content hash
      ├─► ledgers: increments that took it in or held it out, and its current content
      ├─► texts that hold it ─► rows with tokens of these texts
      │      └─► key of the answer with its pairs ─► journal, if the answer is still there
      └─► rejects with its name, of all increments up to the manifest's

A text longer than a row is in several rows, and the document's own share may be in only some of them.

Cost: one pass over all texts and rejects, a line at a time; only lines with the name are parsed.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal

from rich.panel import Panel
from rich.text import Text

from pipelines.increments.document_versions import natural
from pipelines.inspect.lineage import Place, rows_of, text_lines
from pipelines.inspect.show import beginning_of, named_pages, passage_line
from pipelines.store.held_out import read_held_out
from pipelines.store.journal import find_generations
from pipelines.store.ledger import DELETED, WITHDRAWN, Ledger
from plugins.console import Console
from plugins.readers.row_versions import MISSING, shown
from schemas import storage
from schemas.corpus_layout import (
    held_out_ledger,
    increment_uri,
    journal_uri,
    rejects_uris,
    streams_with_ledgers,
    versions_ledger,
)
from schemas.errors import CorpusError
from schemas.manifest import Manifest, published_names, read_manifest
from schemas.records import Generation, Passage, Reject
from schemas.validation import record

_COMPARED_NAMES = 100_000
_HASH_BEGINNING = re.compile("[0-9a-f]{8,32}")
_SHOWN_ROWS = 20
_SHOWN_NAMES = 10


State = Literal["current", "superseded", "withdrawn", "deleted", "seen"]
"""`deleted` by its source; `seen`: the increment noted a newer version, but took no text of it in."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a ledger: the state of the document in one increment."""

    stream: str
    increment: int  # its number
    content_hash: str  # "" if the increment took no text of it in
    file: str  # that this version came from; "" if the ledger has none
    state: State
    version: str = ""  # newest version that the increment has seen; "" if its row and file state none
    is_held_out: bool = False  # True if this version is kept for evaluation


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The document's share of a training text."""

    stream: str
    place: Place
    text_id: str
    template: str
    passage: Passage
    text: str  # characters of the share
    is_current: bool  # True if the share is of the document's current content
    rows: tuple[int, ...] = ()  # rows of the stream with tokens of the whole text
    generation: Generation | None = None  # None if no model was asked or the journal has no answer any more


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reject of the document."""

    increment: int  # number of the increment that was built
    reject: Reject


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DocumentTrace:
    """Everything about one document, oldest first."""

    document_id: str
    entries: tuple[Entry, ...]
    holdings: tuple[Holding, ...]
    refusals: tuple[Refusal, ...]


def trace_command(arguments: argparse.Namespace) -> int:
    """Run `corpus trace`; return the exit status."""
    manifest = read_manifest(arguments.uri, arguments.manifest)
    trace = trace_document(arguments.uri, manifest, arguments.document_id)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(trace), indent=2, ensure_ascii=False))
    else:
        _print(Console(highlight=False), trace, whole=arguments.whole)
    return 0


def trace_document(corpus: str, manifest: Manifest, name: str) -> DocumentTrace:
    """Look up a document by its id, by the last part of a path, or by a content hash.

    The last part stands for all names that end with it, or go on with a position: `guideline.pdf` for
    `scans/guideline.pdf:page 12`. A hash stands for its first digits, at least 8.

    Raises:
        CorpusError: The corpus knows no such document, or several with such an end or hash; or a file of the
            corpus is missing or damaged.
    """
    # Ledgers also name streams whose documents were all withdrawn.
    streams = sorted(streams_with_ledgers(corpus, manifest.names()) | {*manifest.stream_names()})
    if found := _look_up(corpus, manifest, streams, name):
        return found
    is_end = re.compile(rf"/{re.escape(name)}(?:[:!]|$)")
    ends = _names_in(corpus, manifest, streams, holding=f"/{name}")
    names, what = {*filter(is_end.search, ends)}, "is the end of the names"
    if not names and _HASH_BEGINNING.fullmatch(name.lower()):
        names, what = _names_by_content(corpus, manifest, streams, name.lower()), "begins the hashes"
    if len(names) > 1:
        shown = ", ".join(sorted(names, key=natural)[:_SHOWN_NAMES])
        raise CorpusError(
            f"{corpus}: {name} {what} of {len(names)} documents: {shown}"
            f"{', …' if len(names) > _SHOWN_NAMES else ''}. Give one of their names, or more of it."
        )
    if found := next((_look_up(corpus, manifest, streams, each) for each in names), None):
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
    keys = {key for holding in holdings for key in holding.passage.generation.split()}
    answers = find_generations(journal_uri(corpus), keys) if keys else {}
    trace = DocumentTrace(
        document_id=name,
        entries=tuple(sorted(entries, key=lambda entry: (entry.increment, entry.stream))),
        holdings=tuple(
            dataclasses.replace(holding, generation=_together(holding, answers))
            for holding in sorted(holdings, key=_order)
        ),
        refusals=tuple(_refusals(corpus, manifest, name)),
    )
    return trace if trace.entries or trace.holdings or trace.refusals else None


def _order(holding: Holding) -> tuple[int, str, tuple[list[int | str], str], Place]:
    return holding.place.increment, holding.stream, natural(holding.passage.part), holding.place


def _entries(corpus: str, manifest: Manifest, stream: str, name: str) -> list[Entry]:
    held_out = Ledger.open(corpus, held_out_ledger(stream), manifest.names())
    gone: dict[str, State] = {WITHDRAWN: "withdrawn", DELETED: "deleted"}
    entries: list[Entry] = []
    state: State = "current"
    for increment in reversed(manifest.increments):
        ledger = Ledger.open(corpus, stream, [increment.name])
        versions = Ledger.open(corpus, versions_ledger(stream), [increment.name])
        content, version = ledger.content_of(name), versions.content_of(name)
        if content is None and version is None:
            continue
        origin = ledger.origin_of(name) or versions.origin_of(name)
        entry = Entry(
            stream=stream,
            increment=increment.number,
            content_hash="" if content is None or content in gone else content,
            file=origin.uri if origin else "",
            state="seen" if content is None else gone.get(content, state),
            version=shown(version) if version and version != MISSING else "",
            is_held_out=content is not None and held_out.content_of(content) is not None,
        )
        entries.append(entry)
        state = state if content is None else "superseded"
    return entries[::-1]


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
    """Yield the increment, line number, file and line of each reject up to a manifest, replaced ones too."""
    for number, increment in published_names(corpus, manifest.number).items():
        for uri in rejects_uris(increment_uri(corpus, increment)):
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
        held_out = read_held_out(corpus, manifest, stream)
        names |= {each.document_id for each in held_out if each.content_hash.startswith(digits)}
    return names


def _names_in(corpus: str, manifest: Manifest, streams: list[str], holding: str = "") -> Iterator[str]:
    """Yield the names of documents, at least those that hold a string."""
    quoted = json.dumps(holding, ensure_ascii=False)[1:-1]
    for stream in streams:
        for each in text_lines(corpus, manifest, stream):
            yield from each.text().document_ids if quoted in each.line else ()
        yield from (document.document_id for document in read_held_out(corpus, manifest, stream))
    for _, at, uri, line in _reject_lines(corpus, manifest):
        if quoted in line and (name := record(Reject, line, uri, at).document_id):
            yield name


def _together(holding: Holding, answers: Mapping[str, Generation]) -> Generation | None:
    """The answer about a passage; of several samples their texts one after the other, and their sums."""
    found = [answers[key] for key in holding.passage.generation.split() if key in answers]
    if len(found) < 2:
        return found[0] if found else None
    return Generation(
        text="\n\n".join(each.text for each in found),
        finish_reason=", ".join(each.finish_reason for each in found),
        prompt_tokens=sum(each.prompt_tokens for each in found),
        completion_tokens=sum(each.completion_tokens for each in found),
        cached_tokens=sum(each.cached_tokens for each in found),
    )


def _print(console: Console, trace: DocumentTrace, *, whole: bool) -> None:
    pages = named_pages(each.passage.pages for each in trace.holdings if each.is_current)
    shown_pages = f", {pages}" if pages else ""
    console.print(Text(f"document {trace.document_id}{shown_pages}"), soft_wrap=True)
    if not trace.entries:
        console.print(Text("  not in the corpus"))
    for line in (*map(_entry, trace.entries), *map(_refusal, trace.refusals)):
        console.print(Text(f"  {line}"), soft_wrap=True)
    for holding in trace.holdings:
        about = "".join(f"{line}\n" for line in _about(holding))
        title = f"{holding.stream}, increment {holding.place.increment}, text {holding.text_id}"
        shown = Text(beginning_of(holding.text, whole=whole))
        console.print(Panel(Text(about, style="dim") + shown, title=Text(title)))
        if holding.generation is not None:
            answer = Text(beginning_of(holding.generation.text, whole=whole))
            console.print(Panel(answer, title="the model's answer"))


def _entry(entry: Entry) -> str:
    content = f", content {entry.content_hash}" if entry.content_hash else ""
    file = f", {'' if entry.version else 'version '}of {entry.file}" if entry.file else ""
    held_out = ", held out: no training text has it" if entry.is_held_out else ""
    version = f", version {entry.version}" if entry.version else ""
    return f"increment {entry.increment}, {entry.stream}: {entry.state}{held_out}{content}{version}{file}"


def _refusal(refusal: Refusal) -> str:
    reject = refusal.reject
    detail = f" ({reject.detail})" if reject.detail else ""
    return f"increment {refusal.increment}, {reject.stage}: {reject.reason}{detail}, {reject.source}"


def _about(holding: Holding) -> list[str]:
    passage, answer = holding.passage, holding.generation
    names = [f"{holding.stream}:{row}" for row in holding.rows[:_SHOWN_ROWS]]
    more = f" and {len(holding.rows) - _SHOWN_ROWS} more" if len(holding.rows) > _SHOWN_ROWS else ""
    lines = [
        passage_line(passage),
        f"characters {passage.start} to {passage.end}, {holding.template}; group {holding.place.group}, "
        f"text {holding.place.position}" + ("" if holding.is_current else "; superseded"),
        f"rows {', '.join(names)}{more}",
    ]
    if answer is not None:
        lines.append(
            f"{answer.prompt_tokens} prompt tokens, {answer.completion_tokens} completion tokens, "
            f"finished by {answer.finish_reason}"
        )
    elif passage.generation:
        lines.append("the journal no longer has its answer")
    return lines
