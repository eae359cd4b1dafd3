"""New and changed files of the sources, found without reading them.

    list the files of every source ─► state as noted: the file was read before, skip it
       │                          └─► another state, or none: read it
       └─► a file that cannot be listed fails the run, or is named and counted (allow_unreadable)

    sources.jsonl.zst      first line: its manifest; then one line a file: identity, state

The state of a file comes from its storage: an ETag or checksum, else size and modification time. A file
without them, or modified less than 2 s ago, is always read again. The identity of a file includes stream,
reader, fields and all settings that decide what becomes of its documents. So a change of a filter or of the
tokenizer has everything read once more.

The note is valid for the manifest that it names, and is written after it. Anyone may remove it; then the next
build reads all files once. The ledger alone decides which documents are in a corpus.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pipelines.increments.document_versions import natural
from plugins.readers import open_reader
from plugins.readers.base import Part
from plugins.readers.file_state import time_of_change
from plugins.readers.listing import Listing, shown_name
from plugins.readers.row_versions import time_stamp
from schemas import storage
from schemas.config import unset_additions
from schemas.content_hash import digest
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.corpus_layout import sources_note_uri
from schemas.errors import CorpusError, InputError
from schemas.json_records import parse_json
from schemas.manifest import Manifest

ResultT = TypeVar("ResultT")

_VERSION = 2
"""Version to increase when the same file and configuration begin to give other documents."""

_DECIDES = ("clean", "filters", "dedup", "decontaminate", "tokenizer")
"""Sections of a configuration that decide whether documents are taken in."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of a source."""

    source: int  # index of the source in its stream
    uri: str
    read_as: str  # hash of its name and of all settings that decide what becomes of its documents
    state: str | None  # as its storage reports it; None if it is not reliable


class FilePart(NamedTuple):
    """The unit that a worker reads: a file, or a byte range of a large one."""

    source: int  # index of the source in its stream
    uri: str
    part: Part
    number: int = 0  # among all files that a build reads, see document_versions.py
    stamp: str = ""  # version of all its documents by its time of change; "" if that does not count


SourceFiles = Mapping[str, Sequence[SourceFile]]
"""By stream, its files: in the order of the sources, then by name."""

_NOT_READ_AS = {"uri", "allow_unreadable"}
"""Fields of a source that decide which files are read, but not what becomes of their documents."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Listing of the sources."""

    files: SourceFiles
    left_out: tuple[str, ...]  # lines about skipped entries, one for each source and kind
    counts: Counter[str]  # their numbers: list/unreadable, list/hidden


def list_files(config: CorpusConfig, *, tasks: str = "", may_be_none: bool = False) -> Listed:
    """List the files of every source and their states, without reading them.

    `tasks` is a hash of the evaluation tasks; `may_be_none` accepts a source without files.

    Raises:
        InputError: A source has no file, or something in it cannot be listed.
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
            counts["list/links"] += len(listing.links)
            if listing.unreadable or listing.links:
                left_out.append(f"Left out of {source.uri!r}: {listing.described()}.")
            if listing.hidden:
                left_out.append(f"Left out of {source.uri!r}: {listing.hidden:,} hidden.")
            for uri in listing.files:
                fields = source.model_dump_json(exclude={*_NOT_READ_AS, *unset_additions(source)})
                read_as = digest(decides, name, fields, uri)
                state = _asked(uri, reader.state)
                files[name].append(SourceFile(source=index, uri=uri, read_as=read_as, state=state))
    return Listed(files=files, left_out=tuple(left_out), counts=+counts)


def _check(listing: Listing, source: SourceConfig, *, may_be_none: bool) -> None:
    """Refuse a source without files or with unreadable entries, unless that is allowed."""
    if listing.unreadable and not source.allow_unreadable:
        raise InputError(
            f"source uri {source.uri!r}: {listing.described()}. Fix that, name the files by a glob, or set "
            "allow_unreadable: true on the source to skip them."
        )
    if not listing.files and not may_be_none:
        fs, path = storage.filesystem(source.uri)
        if fs.isdir(path):
            others = f" ({listing.hidden:,} hidden entries and {len(listing.links):,} links are left out)"
            raise InputError(
                f"source uri {source.uri!r} is a folder without a file"
                f"{others if listing.hidden or listing.links else ''}."
            )
        cure = "Check the path; globs such as *.jsonl.zst work."
        raise InputError(f"source uri {source.uri!r} matches no file. {cure}")


def _asked(uri: str, what: Callable[[str], ResultT]) -> ResultT:
    """Ask the storage about a listed file."""
    try:
        return what(uri)
    except OSError as error:
        raise InputError(f"{shown_name(uri)}: cannot be read: {error}.") from error


def unread(files: SourceFiles, corpus: str, manifest: Manifest | None) -> SourceFiles:
    """Files that are not noted as read and unchanged as of a manifest."""
    noted = _read_note(corpus, manifest)
    return {
        name: tuple(file for file in group if file.state is None or noted.get(file.read_as) != file.state)
        for name, group in files.items()
    }


def with_later_files(config: CorpusConfig, files: SourceFiles, all_files: SourceFiles) -> SourceFiles:
    """Add to some files all later files of the same source, if its documents have ids.

    So a build reads the newest version of a document together with an older one, even if the newest was
    rejected or is a copy, which no ledger records. If new files come last by name, this adds no file.
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
    """Units that workers read: files, large ones in parts, numbered in the order of versions."""
    return {
        name: [
            FilePart(file.source, file.uri, part, number, _stamp(reader.source, file.uri))
            for number, file in enumerate(sorted(group, key=lambda each: (each.source, natural(each.uri))))
            for reader in [open_reader(config.streams[name].sources[file.source])]
            for part in _asked(file.uri, reader.parts)
        ]
        for name, group in files.items()
    }


def _stamp(source: SourceConfig, uri: str) -> str:
    """Version of a file's documents if its source says `newest: by_time`; else ""."""
    if source.newest != "by_time":
        return ""
    if (changed := _asked(uri, time_of_change)) is None:
        raise InputError(
            f"{shown_name(uri)}: its storage reports no time of change, which newest: by_time needs. Set "
            "newest: by_name, or version_field."
        )
    return time_stamp(changed)


def note_read(corpus: str, manifest: Manifest | None, files: Iterable[SourceFile]) -> None:
    """Note that all documents of these files, in these states, are taken in or rejected as of a manifest."""
    if manifest is None:
        return
    states = sorted({(file.read_as, file.state) for file in files if file.state is not None})
    _write_note(corpus, manifest, states)


def carry_over(corpus: str, before: Manifest, after: Manifest) -> None:
    """Make the note of one manifest valid for another with the same documents."""
    if states := _read_note(corpus, before):
        _write_note(corpus, after, sorted(states.items()))


def forget_read(corpus: str) -> None:
    """Remove the note, so that the next build reads all files."""
    storage.remove_file(sources_note_uri(corpus))


def _identity(manifest: Manifest) -> list[Any]:
    return [manifest.number, manifest.created, manifest.config_hash]


def _write_note(corpus: str, manifest: Manifest, states: Sequence[tuple[str, str]]) -> None:
    lines = (json.dumps(line) for line in [_identity(manifest), *states])
    storage.write_lines_zst(sources_note_uri(corpus), lines)


def _read_note(corpus: str, manifest: Manifest | None) -> dict[str, str]:
    """States by `read_as`; none if the note is missing, damaged, or of another manifest."""
    if manifest is None:
        return {}
    try:
        first, *states = map(parse_json, storage.read_lines_zst(sources_note_uri(corpus)))
        noted = {read_as: state for read_as, state in states}
        if any(type(each) is not str for pair in noted.items() for each in pair):
            raise ValueError
        return noted if first == _identity(manifest) else {}
    except (FileNotFoundError, CorpusError, ValueError, TypeError):
        return {}
