"""A directory of mixed files, at any depth: each is read by the reader of its kind.

    file ─► kind_of ─┬─► the reader of the kind ─► rows, cut into parts as that reader cuts
                     ├─► zip, tar ─► each member, in a scratch folder: guidelines.zip!/2024/asthma.html
                     └─► a reject `no_reader` that names the kind

`file_kinds.py` has the kinds, `archives.py` the limits of archives.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plugins.readers import jsonl
from plugins.readers.archives import Budget, members, names_in_zip
from plugins.readers.base import NOT_FOR_ALL, WHOLE, BadRow, Part, Reader, Row, rescued
from plugins.readers.decompression import DAMAGED, chunks, peek
from plugins.readers.file_kinds import HEAD_BYTES, KINDS, kind_of, kind_of_zip
from plugins.readers.listing import Listing, list_folder, list_uri
from schemas import limits, storage
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, unknown_name

_ARCHIVES = ("zip", "tar")
_BY_DOCLING = ("image", "pptx", "xlsx")


class FolderReader(Reader):
    """Reads mixed files. A file without a reader, and one that cannot be read, costs only itself.

    Positions of members begin with `!/` and their name in the archive. Fields of rows are those of their
    readers, which get the fields of this source; `options` are those of readers by their names.

    Raises:
        ConfigError: A name in `options` is that of no reader of a kind, or that reader refuses its options.
    """

    own_fields = frozenset({"encoding", "delimiter"})
    has_mixed_files = True

    def __init__(self, source: SourceConfig):
        super().__init__(source.model_copy(update={"options": {}}))
        self.source = source
        from plugins.readers import READERS

        known = {kind.reader for kind in KINDS.values()} & set(READERS.names())
        for name in source.options:
            if name not in known:
                named = unknown_name("reader", name, known)
                raise ConfigError(f"source {source.uri!r}: options of a folder: {named}")
            self._made(name)

    def listing(self) -> Listing:
        uri = self.source.uri
        fs, path = storage.filesystem(uri)
        if not fs.isdir(path):
            return super().listing()
        if storage.is_local(uri):
            return list_folder(uri.removeprefix("file://"))  # not `path`, which is absolute
        return list_uri(f"{uri.rstrip('/')}/**")

    def parts(self, uri: str) -> list[Part]:
        fs, path = storage.filesystem(uri)
        if int(fs.size(path) or 0) <= jsonl.RANGE_BYTES:  # no reader cuts smaller files, so they stay closed
            return [WHOLE]
        kind = self.kind(uri)
        if isinstance(kind, BadRow) or kind in _ARCHIVES:
            return [WHOLE]
        reader = self._reader(kind)
        return [WHOLE] if isinstance(reader, BadRow) else reader.parts(uri)

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        return self.rows_of(uri, WHOLE)

    def rows_of(
        self, uri: str, part: Part, budget: Budget | None = None, depth: int = 0
    ) -> Iterator[Row | BadRow]:
        kind = self.kind(uri)
        if isinstance(kind, BadRow):
            yield kind
        elif kind in _ARCHIVES:
            yield from self._members(uri, kind, budget or Budget(uri), depth)
        else:
            reader = self._reader(kind)
            yield from [reader] if isinstance(reader, BadRow) else reader.rows_of(uri, part)

    def _members(self, uri: str, kind: str, budget: Budget, depth: int) -> Iterator[Row | BadRow]:
        if depth >= limits.ARCHIVE_DEPTH:
            detail = f"more than {limits.ARCHIVE_DEPTH} archives are inside one another"
            yield BadRow("", "archive_limit", detail)
            return
        with tempfile.TemporaryDirectory(prefix="tutelage-archive-") as scratch:
            for member in members(uri, kind, Path(scratch), budget):
                if isinstance(member, BadRow):
                    yield member
                    continue
                for row in rescued(self.rows_of(member.path, WHOLE, budget, depth + 1), at_hand=True):
                    at = row.position if row.position[:2] in ("", "!/") else f":{row.position}"
                    at = f"!/{member.name}{at}"
                    yield dataclasses.replace(row, position=at)

    def kind(self, uri: str) -> str | BadRow:
        """Return the kind of a file, or the reject of one that is damaged or empty."""
        try:
            head, again = peek(chunks(uri), HEAD_BYTES)
            if not head:
                list(again)  # raises the damage of a file without a good byte
        except DAMAGED as error:
            return BadRow.damaged("", error)
        if not head:
            return BadRow("", "empty", "the file has no bytes")
        kind = kind_of(uri, head)
        return kind_of_zip(uri, names_in_zip(uri)) if kind == "zip" else kind

    def _reader(self, kind: str) -> Reader | BadRow:
        """Return the reader of a kind."""
        from plugins.readers import READERS

        name = KINDS[kind].reader if kind in KINDS else ""
        if name not in READERS.names():
            by = "text" if kind.startswith("text") else "docling" if kind in _BY_DOCLING else ""
            cure = f"Name such files in a source with reader {by}" if by else "Convert it"
            detail = f"no reader for kind {kind}. {cure}, or leave it out of the uri"
            if kind in ("gzip", "bzip2", "zstd", "xz"):
                detail = f"the file is compressed by {kind}, and its name does not say so"
            return BadRow("", "no_reader", detail)
        return self._made(name)

    def _made(self, name: str) -> Reader:
        """Return a reader with its options, and the fields of this source that it uses."""
        from plugins.readers import READERS

        kind = READERS.load(name)
        unused: dict[str, Any] = {field: None for field in NOT_FOR_ALL if field not in kind.own_fields}
        if name != "text":
            unused["delimiter"] = None  # a text's, often of several characters
        options = self.source.options.get(name, {})
        reader: Reader = kind(self.source.model_copy(update={"reader": name, **unused, "options": options}))
        return reader
