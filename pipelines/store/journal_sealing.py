"""Sealing of a journal: the answers of ended runs go into sorted tables.

    unsealed files ─► rows of 36 bytes ─► a table ─► four tables of a size ─► one
          └─► `.jsonl.zst` of one flush each ─► one file of 64 MB, frame by frame as they are
    sealed-000004.json is created ─► replaced files, tables and listings are deleted

Tables hold keys and places; the answers stay where they were written, so sealing writes few bytes. Only the
small files of object stores are written once more, compressed. Plain files stay for good, since their process
may still append; the listing says up to which byte the tables cover them.

Only the holder of the corpus's lease seals, when a run starts and after it. Until the new listing exists, the
journal is as before. A run that is killed before leaves files that no listing names; killed afterwards, files
that the listing names as replaced. The next sealing deletes both.

A damaged table is made anew from the files.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pipelines.store.journal_contents import FETCHES, Contents, Snapshot, TableEntry, scan_lines
from pipelines.store.journal_lines import ROW, Scan
from pipelines.store.sorted_table import Rows, Table, merge_tables, write_table
from schemas import storage
from schemas.corpus_layout import JOURNAL_FLUSH, JOURNAL_MERGED, is_sealed_table, sealed_number, sealed_uri
from schemas.errors import CorpusError

_TABLE_ROWS = 1 << 21
_SMALLEST_TABLE_ROWS = 1 << 16
_TABLES_OF_A_SIZE = 4
_MERGED_BYTES = 1 << 26


def seal(
    uri: str, *, check: Callable[[], None] = lambda: None, say: Callable[[str], None] = lambda line: None
) -> None:
    """Seal what is unsealed of the journal at a URI, if there is one.

    Args:
        check: Raises an error if this run may no longer write; called before the new listing is created.
        say: Gets a line about each damage.

    Raises:
        CorpusError: Another run sealed meanwhile.
    """
    snapshot = Snapshot(uri, lambda finding: say(f"Journal: {finding}"))
    if snapshot.is_damaged:
        say(f"Journal: {uri}: its tables are made anew from its files.")
        snapshot.without_tables()
    if snapshot.unsealed and not snapshot.number:  # now merged files count only if a listing names them
        check()
        _publish(uri, 1, Contents())
        snapshot.number = 1
    try:
        contents = _Sealing(snapshot, say).seal()
    except CorpusError as error:
        say(f"Journal: {error} The tables of {uri} are made anew from its files.")
        snapshot.without_tables()
        contents = _Sealing(snapshot, say).seal()
    if contents is not None:
        check()
        _publish(uri, snapshot.number + 1, contents)
        _clean(snapshot, snapshot.number + 1, contents)


def _publish(uri: str, number: int, contents: Contents) -> None:
    if not storage.create_bytes(sealed_uri(uri, number), contents.model_dump_json().encode()):
        raise CorpusError(f"{sealed_uri(uri, number)}: another run sealed this journal meanwhile. Run again.")


class _Sealing:
    """Writes files and tables; the caller publishes them."""

    def __init__(self, snapshot: Snapshot, say: Callable[[str], None]):
        self._snapshot = snapshot
        self._folder = snapshot.folder
        self._say = say
        self._scan = Scan()
        self._covered = dict(snapshot.contents.files)
        self._tables = list(snapshot.contents.tables)

    def seal(self) -> Contents | None:
        """Return the new listing; None if nothing is unsealed."""
        if not self._snapshot.unsealed:
            return None
        flushes = []
        for name, start in self._snapshot.unsealed:
            if name.endswith(JOURNAL_FLUSH) and not name.startswith(JOURNAL_MERGED):
                flushes.append(name)
                continue
            if name.startswith(JOURNAL_MERGED):  # the listing that named it is lost
                data = self._folder.read(name, 0, self._snapshot.sizes[name])
                self._add_frames(name, data)
            else:
                self._covered[name] = scan_lines(self._snapshot, self._scan, name, start)
            self._write_full()
        for group in self._groups(flushes):
            self._merge_flushes(group)
            self._write_full()
        if self._scan.num_rows:
            self._write(self._scan.take_rows())
        before = self._snapshot.contents
        for place in self._scan.damages:
            self._say(f"Journal: {place}: is damaged, and its answer unknown. Its request is sent once more.")
        contents = Contents(
            files=tuple(self._covered.items()),
            tables=tuple(self._tables),
            replaced=(*(name for name in before.replaced if name in self._snapshot.sizes), *flushes),
            damages=(*before.damages, *self._scan.damages),
            num_answers=before.num_answers + self._scan.num_answers,
            completion_tokens=before.completion_tokens + self._scan.completion_tokens,
        )
        return None if contents == before else contents

    def _groups(self, names: list[str]) -> Iterator[list[str]]:
        """Group names of files of 64 MB together."""
        group: list[str] = []
        size = 0
        for name in names:
            group.append(name)
            size += self._snapshot.sizes[name]
            if size >= _MERGED_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _merge_flushes(self, names: list[str]) -> None:
        sizes = [self._snapshot.sizes[name] for name in names]
        with ThreadPoolExecutor(FETCHES) as fetching:
            data = b"".join(fetching.map(self._folder.read, names, [0] * len(names), sizes))
        merged = f"{JOURNAL_MERGED}{_token()}{JOURNAL_FLUSH}"
        storage.write_bytes(self._folder.uri_of(merged), data)
        self._add_frames(merged, data)

    def _add_frames(self, name: str, data: bytes) -> None:
        self._scan.read_frames(data, self._folder.uri_of(name), self._snapshot.number_of(name))
        self._covered[name] = len(data)

    def _write_full(self) -> None:
        if self._scan.num_rows >= _TABLE_ROWS:
            self._write(self._scan.take_rows())

    def _write(self, rows: Rows) -> None:
        name = f"table-{_token()}"
        counts = write_table(self._folder.uri, name, rows)
        self._tables.append(TableEntry(name=name, counts=tuple(counts), max_rank=int(rows["rank"].max())))
        while merged := self._newest_of_a_size():
            name = f"table-{_token()}"
            tables = [Table(self._folder, each.name, each.counts, each.max_rank, ROW) for each in merged]
            counts = merge_tables(self._folder.uri, name, tables)
            entry = TableEntry(
                name=name, counts=tuple(counts), max_rank=max(each.max_rank for each in merged)
            )
            self._tables[-len(merged) :] = [entry]

    def _newest_of_a_size(self) -> list[TableEntry]:
        """The newest tables that are not larger than the last one, by powers of four; [] if they are few."""
        size, first = _size(self._tables[-1]), len(self._tables)
        while first and _size(self._tables[first - 1]) <= size:
            first -= 1
        found = self._tables[first:]
        return found if len(found) >= _TABLES_OF_A_SIZE else []


def _size(table: TableEntry) -> int:
    return max(0, math.ceil(math.log(max(1, table.num_rows()) / _SMALLEST_TABLE_ROWS, _TABLES_OF_A_SIZE)))


def _clean(snapshot: Snapshot, number: int, contents: Contents) -> None:
    """Delete what the new listing does not need."""
    folder = snapshot.folder
    replaced, kept = {*contents.replaced}, {name for name, _ in contents.files}
    for entry in contents.tables:
        kept |= {*Table(folder, entry.name, entry.counts, entry.max_rank, ROW).files()}
    for name in folder.sizes():
        is_left = name.startswith(JOURNAL_MERGED) or is_sealed_table(name) or name.endswith(".tmp")
        if name in replaced or (is_left and name not in kept) or 0 < sealed_number(name) < number:
            storage.remove_file(folder.uri_of(name))


def _token() -> str:
    return uuid.uuid4().hex[:12]
