"""Contents of a journal: tables of sealed answers, and files that no table has yet.

    sealed-000003.json    the files that the tables cover, up to which byte; the tables; files to delete

The highest number holds. Nobody overwrites it: whoever seals creates the next number.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pydantic

from pipelines.store.journal_lines import ROW, Scan
from pipelines.store.ranged_files import RangedFolder
from pipelines.store.sorted_table import Table
from schemas.corpus_layout import JOURNAL_FLUSH, JOURNAL_LINES, JOURNAL_MERGED, sealed_number, sealed_uri
from schemas.errors import CorpusError
from schemas.validation import Count, Name, Strict, read_json

FETCHES = 32
"""Requests to a store at the same time."""

_TRIES = 8


class TableEntry(Strict):
    """A table in `sealed-000003.json`."""

    name: Name
    counts: tuple[Count, ...] = pydantic.Field(min_length=1)  # rows of each partition
    max_rank: Count

    def num_rows(self) -> int:
        """Rows of all partitions."""
        return sum(self.counts)


class Contents(Strict):
    """Content of a `sealed-000003.json`."""

    version: Literal[1] = 1
    files: tuple[tuple[Name, Count], ...] = ()  # their rows have the index; the tables cover so many bytes
    tables: tuple[TableEntry, ...] = ()  # oldest first
    replaced: tuple[Name, ...] = ()  # files whose lines are in another one, to be deleted
    damages: tuple[str, ...] = ()  # file and line of damaged lines without a readable key
    num_answers: Count = 0  # to synthesizers, in the covered lines
    completion_tokens: Count = 0  # of these answers


class Snapshot:
    """State of a journal when it was listed.

    Args:
        on_damage: Called with file and finding of each damaged table and listing. Without its listing,
            everything is unsealed; without a table, its answers are not found until they are sealed anew.
    """

    def __init__(self, uri: str, on_damage: Callable[[str], None]):
        self.folder = RangedFolder(uri)
        self.contents, is_known = self._newest(on_damage)
        self.files = [name for name, _ in self.contents.files]  # by number
        self._numbers = {name: number for number, name in enumerate(self.files)}
        tables = [
            Table(self.folder, each.name, each.counts, each.max_rank, ROW) for each in self.contents.tables
        ]
        damages = [finding for table in tables for finding in table.damage(self.sizes)]
        for finding in damages:
            on_damage(finding)
        self.is_damaged = bool(damages)
        self.tables = tables
        self.unsealed = self._unsealed(is_known)

    def without_tables(self) -> None:
        """Forget the tables, so that all files count as unsealed."""
        replaced = tuple(name for name in self.contents.replaced if name in self.sizes)
        self.contents = Contents(replaced=replaced)
        self.files, self.tables, self._numbers = [], [], {}
        self.unsealed = self._unsealed(False)

    def number_of(self, name: str) -> int:
        """Number of a file in the rows of this snapshot."""
        if name not in self._numbers:
            self._numbers[name] = len(self.files)
            self.files.append(name)
        return self._numbers[name]

    def _newest(self, on_damage: Callable[[str], None]) -> tuple[Contents, bool]:
        """Read the newest listing; False without a readable one."""
        for _ in range(_TRIES):
            self.sizes = self.folder.sizes()
            self.number = max(map(sealed_number, self.sizes), default=0)
            if not self.number:
                return Contents(), False
            try:
                return read_json(sealed_uri(self.folder.uri, self.number), Contents), True
            except FileNotFoundError:  # a run sealed meanwhile
                continue
            except CorpusError as error:
                on_damage(str(error))
                return Contents(), False
        raise CorpusError(f"{sealed_uri(self.folder.uri, self.number)}: is listed, but cannot be read.")

    def _unsealed(self, is_known: bool) -> list[tuple[str, int]]:
        """Name and first unsealed byte of files with unsealed lines."""
        covered, replaced = dict(self.contents.files), {*self.contents.replaced}
        found = []
        for name, size in self.sizes.items():
            if not name.endswith((JOURNAL_LINES, JOURNAL_FLUSH)) or name in replaced:
                continue
            if is_known and name.startswith(JOURNAL_MERGED) and name not in covered:
                continue  # of a run that was killed while it sealed; the merged files are still there
            start = covered.get(name, 0)
            if size > start:
                found.append((name, start))
        return found


def opened(uri: str, on_damage: Callable[[str], None]) -> tuple[Snapshot, Scan]:
    """List a journal, and read what is unsealed; the rows have the file numbers of the snapshot."""
    for _ in range(_TRIES):
        snapshot, scan = Snapshot(uri, on_damage), Scan()
        try:
            plain = [(name, at) for name, at in snapshot.unsealed if name.endswith(JOURNAL_LINES)]
            for name, at in plain:
                scan_lines(snapshot, scan, name, at)
            flushes = [name for name, _ in snapshot.unsealed if not name.endswith(JOURNAL_LINES)]
            with ThreadPoolExecutor(FETCHES) as fetching:
                sizes = [snapshot.sizes[name] for name in flushes]
                read = fetching.map(snapshot.folder.read, flushes, [0] * len(flushes), sizes)
                for name, data in zip(flushes, read, strict=True):
                    scan.read_frames(data, snapshot.folder.uri_of(name), snapshot.number_of(name))
            return snapshot, scan
        except FileNotFoundError:  # a run sealed meanwhile
            continue
    raise CorpusError(f"{uri}: its files are listed, but cannot be read.")


def scan_lines(snapshot: Snapshot, scan: Scan, name: str, start: int) -> int:
    """Read the lines of a plain file from a byte; return the end of the last whole one."""
    with snapshot.folder.open(name) as file:
        return scan.read_lines(file, snapshot.folder.uri_of(name), snapshot.number_of(name), start)
