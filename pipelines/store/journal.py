"""Journal of generations: no generation is paid for twice.

    request ─► key ─► in the journal? ─► yes: the stored generation, no request
                                    └─► no: ask, write the answer to the journal, and only then use it

    journal_writer.py ─► lines of this run ─► journal_sealing.py, before and after a run ─► sorted tables
                              └─► read when the journal is opened       looked up one by one ◄─┘

A key is a hash of the model and backend, the sampling, and the prompt's token ids or messages. It does not
depend on documents, chains or files, so the next run finds all answers of a killed run, also over reordered
input. Many workers share a journal: each writes its own files. Locally a worker appends each line and syncs;
on object stores it writes a new object a second, or for each megabyte.

Opening a journal lists it and reads what is not sealed yet, 36 bytes of memory a generation. A look-up reads
one page of each table until it finds the key, and then the answer: benchmarks/journal.py has the cost.

A damaged line costs one request: its key counts as not answered, and the line of the new answer replaces it.
The journal reports the place when somebody asks for the key; at once if it cannot read the key either. A
truncated file loses its last line only. A damaged table is named, and its answers are not found until the
next run makes it anew from the lines.

A build that asks again (`--retry-empty`) skips stored generations without pairs, except those of its own
attempt. Its lines carry the number of the attempt; of several lines with one key, the newest attempt wins.
The next build continues a killed attempt: `retry.json` exists until a build ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pipelines.store.journal_contents import FETCHES, Snapshot, opened
from pipelines.store.journal_lines import answer_in, encoded, unpacked, where
from pipelines.store.journal_writer import Writer
from pipelines.store.ranged_files import RangedFolder
from pipelines.store.sorted_table import Rows, keys_of
from plugins.synthesizers.generator import (
    EndpointTally,
    GenerationFailure,
    GenerationRequest,
    Generator,
    choice_of,
)
from schemas import limits, storage
from schemas.content_hash import digest
from schemas.corpus_layout import JOURNAL_LINES, retry_marker_uri
from schemas.errors import CorpusError
from schemas.records import Generation
from schemas.validation import Count, read_json

_FIELDS = tuple(field.name for field in dataclasses.fields(Generation) if field.name != "key")
_GATHER_SEC = 0.02
_REMOTE_GATHER_SEC = 1.0  # each flush is an object; chains in flight exceed requests by half for such waits
_GATHER_BYTES = 1 << 20
_CACHED_FRAMES = 256  # 16 MB
_REOPENING = threading.Lock()


def request_key(identity: str, request: GenerationRequest) -> str:
    """Key that equal requests share: a hash of model, sampling, number of the sample, and prompt.

    The prompt is its messages, or without messages its token ids. The first sample has the key that it has
    alone.
    """
    how = (request.max_new_tokens, request.temperature, *request.stop, request.json_schema)
    how += tuple(map(tuple, request.choices))
    rest = (f"sample {request.sample}",) if request.sample else ()
    if request.messages:
        return digest(identity, repr(how), json.dumps(request.messages), *rest)
    return digest(identity, repr(how), np.asarray(request.prompt_ids, dtype="<i8").tobytes(), *rest)


def answer_totals(uri: str) -> tuple[int, int]:
    """Number of answers to synthesizers in the journal at a URI, and their completion tokens.

    Safe while another run writes: damaged and incomplete lines are skipped, and so are answers to rules of
    `verify`.
    """
    snapshot, scan = opened(uri, lambda finding: None)
    sealed = snapshot.contents
    return sealed.num_answers + scan.num_answers, sealed.completion_tokens + scan.completion_tokens


def find_generations(uri: str, keys: Iterable[str]) -> dict[str, Generation]:
    """Generations of those keys that are in the journal at a URI."""
    journal = Journal(uri)
    found = {key: journal.find(key) for key in keys}
    return {key: each[0] for key, each in found.items() if each is not None}


@contextlib.contextmanager
def attempt_at(uri: str) -> Iterator[int]:
    """Number of an attempt to ask again, greater than all before, or that of a killed build."""
    marker = retry_marker_uri(uri)
    try:
        attempt = read_json(marker, Count)
    except (FileNotFoundError, CorpusError):  # missing or damaged
        attempt = time.time_ns() // 1_000_000
        storage.write_bytes(marker, json.dumps(attempt).encode())
    stopped = True  # by hand or killed: the next build continues it
    try:
        yield attempt
        stopped = False
    except Exception:
        stopped = False
        raise
    finally:
        if not stopped:
            storage.remove_file(marker)


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    """What an open journal knows."""

    snapshot: Snapshot
    rows: Rows  # of lines that no table has
    keys: np.ndarray[Any, np.dtype[np.bytes_]]  # of these rows
    damaged: Mapping[bytes, str]  # file and line of damaged ones among them, by key


class Journal:
    """Generations at a URI, by key; for one worker and one event loop.

    `on_damage` is called once with file and line, byte or finding of each damage that costs a request.
    """

    def __init__(self, uri: str, on_damage: Callable[[str], None] = lambda place: None):
        self._uri = uri
        self._on_damage = on_damage
        self._reported: set[str] = set()
        self._lines = functools.lru_cache(_CACHED_FRAMES)(self._read_frame)
        self._writer = Writer(uri)
        self._gather_sec = _GATHER_SEC if storage.is_local(uri) else _REMOTE_GATHER_SEC
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._pending_bytes = 0
        self._is_full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fetching = None if storage.is_local(uri) else ThreadPoolExecutor(FETCHES)
        self._view = self._open()

    def find(self, key: str) -> tuple[Generation, int] | None:
        """The stored generation and its attempt, 0 for the first; None if there is none."""
        view = self._view
        try:
            return self._find(view, key)
        except FileNotFoundError:  # another run sealed what this one had listed
            with _REOPENING:
                if self._view is view:
                    self._view = self._open()
        try:
            return self._find(self._view, key)
        except FileNotFoundError as error:
            self._report(f"{self._uri}: a file is missing: {error}")
            return None

    async def look_up(self, key: str) -> tuple[Generation, int] | None:
        """As `find`; what takes a request to a store does not hold up the event loop."""
        if self._fetching is None:
            return self.find(key)
        return await asyncio.get_running_loop().run_in_executor(self._fetching, self.find, key)

    async def add(self, key: str, generation: Generation, attempt: int = 0, *, rule: str = "") -> None:
        """Write a generation, with the name of the rule that asked for it; return when it is safe on disk."""
        fields = {name: getattr(generation, name) for name in _FIELDS}
        if not generation.logprobs:
            del fields["logprobs"]
        record: dict[str, object] = {"generation": fields}
        record |= {"key": key, "attempt": attempt} if attempt else {"key": key}
        record |= {"rule": rule} if rule else {}
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = encoded(record)
        self._pending.append((line, written))
        self._pending_bytes += len(line)
        if self._task is None or self._task.done():
            self._is_full = asyncio.Event()  # of the loop that waits for it
            self._task = asyncio.create_task(self._write_pending())
        if self._pending_bytes >= _GATHER_BYTES:
            self._is_full.set()
        await written

    async def close(self) -> None:
        """Wait for pending writes, and close the files."""
        self._gather_sec = 0
        self._is_full.set()
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._writer.close)
        if self._fetching is not None:
            self._fetching.shutdown()

    async def _write_pending(self) -> None:
        while self._pending:
            with contextlib.suppress(
                asyncio.TimeoutError
            ):  # each write changes threads: gather several records
                await asyncio.wait_for(self._is_full.wait(), self._gather_sec)
            batch, self._pending, self._pending_bytes = self._pending, [], 0
            self._is_full.clear()
            failed: Exception | None = None
            try:
                await asyncio.to_thread(self._writer.write, [line for line, _ in batch])
            except Exception as error:  # the waiting callers get it, whatever the storage raised
                failed = error
            for _, written in batch:
                if written.done():  # the waiting caller was cancelled
                    continue
                if failed is None:
                    written.set_result(None)
                else:
                    written.set_exception(failed)

    def _open(self) -> _View:
        snapshot, scan = opened(self._uri, self._report)
        for place in (*snapshot.contents.damages, *scan.damages):
            self._report(place)
        rows = scan.take_rows()
        return _View(snapshot, rows, keys_of(rows), scan.damaged)

    def _find(self, view: _View, key: str) -> tuple[Generation, int] | None:
        row = self._row_of(view, bytes.fromhex(key))
        if row is None:
            return None
        rank, number, start, size = where(row)
        names = view.snapshot.files
        name = names[number] if number < len(names) else f"file {number}, which is not listed"
        if rank and name in view.snapshot.sizes and size <= limits.JOURNAL_LINE_BYTES:
            with contextlib.suppress(ValueError):
                return answer_in(self._read(view.snapshot.folder, name, start, size), key, rank), rank - 1
        place = view.damaged.get(bytes.fromhex(key)) if not rank else None
        self._report(place or f"{view.snapshot.folder.uri_of(name)}: byte {start}")
        return None

    def _row_of(self, view: _View, key: bytes) -> bytes | None:
        """Row of the highest rank, and of these the newest."""
        best, rank = None, -1
        at = int(view.keys.searchsorted(key))
        if at < len(view.keys) and view.rows[at].tobytes().startswith(key):
            best = view.rows[at].tobytes()
            rank = where(best)[0]
        for table in reversed(view.snapshot.tables):
            if table.max_rank <= rank:
                continue
            try:
                row = table.find(key)
            except CorpusError as error:
                self._report(str(error))
                continue
            if row is not None and where(row)[0] > rank:
                best, rank = row, where(row)[0]
        return best

    def _read(self, folder: RangedFolder, name: str, start: int, size: int) -> bytes:
        if name.endswith(JOURNAL_LINES):
            return folder.read(name, start, size)
        return self._lines(folder, name, start, size)

    @staticmethod
    def _read_frame(folder: RangedFolder, name: str, start: int, size: int) -> bytes:
        return unpacked(folder.read(name, start, size))

    def _report(self, damage: str) -> None:
        if damage not in self._reported:
            self._reported.add(damage)
            self._on_damage(damage)


@dataclasses.dataclass(eq=False)
class JournaledGenerator(Generator):
    """Generator that answers from the journal if it can, and stores the answers of an inner generator.

    Args:
        inner: Generator for requests without a stored answer.
        uri: Directory of the journal.
        identity: Identity of the model; another model has another identity.
        on_answer: Called with each generation, and True if it was paid for just now.
        attempt: Number of the attempt to ask again; 0 accepts every stored answer.
        is_useful: True for a generated text with pairs; stored answers without pairs are asked for again.
        on_damage: See Journal.
        rule: Rule of `verify` that asks; "" for a synthesizer.
    """

    inner: Generator
    _: dataclasses.KW_ONLY
    uri: str
    identity: str
    on_answer: Callable[[Generation, bool], None]
    attempt: int = 0
    is_useful: Callable[[str], bool] = lambda text: True
    on_damage: Callable[[str], None] = lambda place: None
    rule: str = ""

    def open(self) -> None:
        self.inner.open()
        self._journal = Journal(self.uri, self.on_damage)

    async def close(self) -> None:
        await self.inner.close()
        await self._journal.close()

    def tallies(self) -> Mapping[str, EndpointTally]:
        return self.inner.tallies()

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        key = request_key(self.identity, request)
        found = await self._journal.look_up(key)
        if found is not None:
            stored, attempt = found
            if (
                attempt >= self.attempt
                or self.is_useful(stored.text)
                or await self._is_repaired(request, stored.text)
            ):
                self.on_answer(stored, False)
                return dataclasses.replace(stored, key=key)
        answer = await self.inner.generate(request)
        if isinstance(answer, Generation):
            if _is_readable(request, answer):  # else the next build asks again
                await self._journal.add(key, answer, self.attempt, rule=self.rule)
            self.on_answer(answer, True)
            return dataclasses.replace(answer, key=key)
        return answer

    async def _is_repaired(self, request: GenerationRequest, text: str) -> bool:
        """True if a useful answer to the repair prompt is stored."""
        again = request.repair(text) if request.repair is not None else None
        if again is None:
            return False
        found = await self._journal.look_up(request_key(self.identity, again))
        return found is not None and self.is_useful(found[0].text)


def _is_readable(request: GenerationRequest, answer: Generation) -> bool:
    """False for an answer that is none of the choices of its request."""
    texts = [each.text for each in request.choices]
    return not texts or choice_of(answer.text, texts) is not None
