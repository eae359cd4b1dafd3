"""Which files of the sources are new or changed, found out without reading them.

    list every source's files ─► is its state the noted one? ─► yes: read before, and left alone
       │                                                   └─► no, or not known: it is read
       └─► what cannot be listed fails the run, or is named and counted (allow_unreadable)

    sources.jsonl.zst      first line: the manifest it belongs to; then a line a file: what it is, its state

A file's state is what its storage tells of it: an ETag or checksum, else size and time of change. One that
tells neither, or a time so near to now that a later change might bear it too, is read each time. Files are
noted as what they are read as: stream, reader and fields, and all in the configuration that decides what
comes of their documents, so that a change of a filter or of the tokenizer reads everything once more.

The note holds for the one manifest that it names, and is written after it. It can be removed at any time, for
the price of one reading: what is in a corpus is decided by the ledger, never by this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pipelines.increments.document_versions import natural
from pipelines.steps.read import FilePart
from plugins.readers import open_reader
from plugins.readers.listing import Listing, shown_name
from schemas import storage
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.errors import CorpusError, InputError
from schemas.json_records import parse_json
from schemas.manifest import Manifest
from schemas.records import digest

ResultT = TypeVar("ResultT")

_VERSION = 2
"""Raised when the same file and configuration begin to give other documents."""

_DECIDES = ("clean", "filters", "dedup", "decontaminate", "tokenizer")
"""Sections of a configuration by which documents are taken in or refused."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of a source.

    Attributes:
        source: Index of the source in its stream.
        uri: The file.
        read_as: Hash of all that decides what comes of it, its name included.
        state: What storage says of its bytes; None where that cannot be relied on.
    """

    source: int
    uri: str
    read_as: str
    state: str | None


SourceFiles = Mapping[str, Sequence[SourceFile]]
"""By stream, its files: by the place of their source, then by name."""

_NOT_READ_AS = {"uri", "allow_unreadable"}
"""Fields of a source that decide which files are read, and not what comes of them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the sources hold.

    Attributes:
        files: The files.
        left_out: What of the sources is none of them, in words, a line a source.
        counts: The same as counters: `list/unreadable`, `list/hidden`.
    """

    files: SourceFiles
    left_out: tuple[str, ...]
    counts: Counter[str]


def list_files(config: CorpusConfig, *, tasks: str = "", may_be_none: bool = False) -> Listed:
    """List the files of every source and their states; reads none.

    Args:
        config: The corpus.
        tasks: Hash of the evaluation tasks that documents are compared with.
        may_be_none: Whether a source may name no file.

    Raises:
        InputError: A source names no file, and may not; or something in it cannot be listed.
    """
    decides = json.dumps([_VERSION, tasks, config.model_dump(mode="json", include=set(_DECIDES))])
    files: dict[str, list[SourceFile]] = {}
    left_out: list[str] = []
    counts: Counter[str] = Counter()
    for name, stream in config.streams.items():
        files[name] = []
        for index, source in enumerate(stream.sources):
            reader = open_reader(source)
            listing = reader.listing()
            _check(listing, reader.source, may_be_none=may_be_none)
            counts.update({"list/unreadable": len(listing.unreadable), "list/hidden": listing.hidden})
            if listing.unreadable:
                left_out.append(f"Left out of {source.uri!r}: {listing.described()}.")
            if listing.hidden:
                left_out.append(f"Left out of {source.uri!r}: {listing.hidden:,} hidden.")
            for uri in listing.files:
                read_as = digest(decides, name, source.model_dump_json(exclude=_NOT_READ_AS), uri)
                state = _asked(uri, reader.state)
                files[name].append(SourceFile(source=index, uri=uri, read_as=read_as, state=state))
    return Listed(files=files, left_out=tuple(left_out), counts=+counts)


def _check(listing: Listing, source: SourceConfig, *, may_be_none: bool) -> None:
    """Refuse a source without files, or with something that cannot be read, unless it may be so."""
    if listing.unreadable and not source.allow_unreadable:
        raise InputError(
            f"source uri {source.uri!r}: {listing.described()}. Mend that, name the files by a glob, or set "
            "allow_unreadable: true on the source to go on without."
        )
    if not listing.files and not may_be_none:
        raise InputError(
            f"source uri {source.uri!r} matches no file. Check the path; globs such as *.jsonl.zst work."
        )


def _asked(uri: str, what: Callable[[str], ResultT]) -> ResultT:
    """What storage says of a file that was listed."""
    try:
        return what(uri)
    except OSError as error:
        raise InputError(f"{shown_name(uri)}: cannot be read: {error}.") from error


def unread(files: SourceFiles, corpus: str, manifest: Manifest | None) -> SourceFiles:
    """Those of the files that are not known to be read, and unchanged since, as of a manifest."""
    noted = _read_note(corpus, manifest)
    return {
        name: tuple(file for file in group if file.state is None or noted.get(file.read_as) != file.state)
        for name, group in files.items()
    }


def with_later_files(config: CorpusConfig, files: SourceFiles, all_files: SourceFiles) -> SourceFiles:
    """Some files, and of sources whose documents have ids those that come after one of them, too.

    So the newest version of a document is read together with an older one, also if it was refused or repeats
    what is in, of which no ledger knows. Where new files come last by name, that is no file more.
    """
    both: dict[str, Sequence[SourceFile]] = {}
    for name, group in files.items():
        wanted = set(group)
        first: dict[int, Any] = {}
        for file in group:
            first[file.source] = min(first.get(file.source, natural(file.uri)), natural(file.uri))
        named = {
            at
            for at, source in enumerate(config.streams[name].sources)
            if open_reader(source).source.id_field
        }
        both[name] = [
            file
            for file in all_files[name]
            if file in wanted
            or (file.source in named & first.keys() and natural(file.uri) > first[file.source])
        ]
    return both


def parts_of(config: CorpusConfig, files: SourceFiles) -> dict[str, list[FilePart]]:
    """What workers read at a time: files, large ones in parts, numbered by the order of versions."""
    return {
        name: [
            FilePart(file.source, file.uri, part, number)
            for number, file in enumerate(sorted(group, key=lambda each: (each.source, natural(each.uri))))
            for part in _asked(file.uri, open_reader(config.streams[name].sources[file.source]).parts)
        ]
        for name, group in files.items()
    }


def note_read(corpus: str, manifest: Manifest | None, files: Iterable[SourceFile]) -> None:
    """Note that all documents of these files, in these states, are in or refused as of a manifest."""
    if manifest is None:
        return
    states = sorted({(file.read_as, file.state) for file in files if file.state is not None})
    lines = (json.dumps(line) for line in [_identity(manifest), *states])
    storage.write_lines_zst(_note_uri(corpus), lines)


def carry_over(corpus: str, before: Manifest, after: Manifest) -> None:
    """Let the note of one manifest hold for another of the same documents."""
    states = _read_note(corpus, before)
    if states:
        lines = [_identity(after), *sorted(states.items())]
        storage.write_lines_zst(_note_uri(corpus), (json.dumps(line) for line in lines))


def forget_read(corpus: str) -> None:
    """Have the next build read everything once more."""
    fs, path = storage.filesystem(_note_uri(corpus))
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def _note_uri(corpus: str) -> str:
    return storage.join(corpus, "sources.jsonl.zst")


def _identity(manifest: Manifest) -> list[Any]:
    return [manifest.number, manifest.created, manifest.config_hash]


def _read_note(corpus: str, manifest: Manifest | None) -> dict[str, str]:
    """States by `read_as`; none where there is no note, or it is another manifest's, or damaged."""
    if manifest is None:
        return {}
    try:
        first, *states = map(parse_json, storage.read_lines_zst(_note_uri(corpus)))
        noted = {read_as: state for read_as, state in states}
        if any(type(each) is not str for pair in noted.items() for each in pair):
            raise ValueError
        return noted if first == _identity(manifest) else {}
    except (FileNotFoundError, CorpusError, ValueError, TypeError):
        return {}
