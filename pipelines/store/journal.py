"""Journal of generations: append-only files, so that no generation is paid for twice.

    request ─► key ─► in the journal? ─► yes: the stored generation, no request
                                    └─► no: ask, write the answer to the journal, and only then use it

    journal/<process>-<random>-0001.jsonl      one line a generation: {"key": …, "generation": {…}}

A key is a hash of the model and backend, the sampling, and the prompt's token ids or messages. It does not
depend on documents, chains or files, so the next run finds all answers of a killed run, also over reordered
input. Many workers share a journal: each writes its own files, and reads all files when it opens the journal.
Locally a worker appends each line and syncs. Object stores cannot append, so there it writes the open file
whole again. Records that arrive during a write go into the next write together. A truncated file loses its
last line only.

A damaged line costs one request: its key counts as not answered, and the line of the new answer replaces it.
The journal reports file and line when somebody asks for the key; at once if it cannot read the key either.

A build that asks again (`--retry-empty`) skips stored generations without pairs, except those of its own
attempt. Its lines carry the number of the attempt; of several lines with one key, the newest attempt wins.
The next build continues a killed attempt: `retry.json` exists until a build ends.

An open journal takes about 150 bytes of memory a generation (key and offset); texts stay on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import orjson

from plugins.synthesizers.generator import (
    EndpointTally,
    GenerationFailure,
    GenerationRequest,
    Generator,
    choice_of,
)
from schemas import limits, storage
from schemas.content_hash import digest
from schemas.corpus_layout import journal_file_uri, journal_files, retry_marker_uri
from schemas.errors import CorpusError
from schemas.json_records import made, parse_json
from schemas.records import Generation
from schemas.scratch_folder import scratch
from schemas.validation import Count, read_json

_FIELDS = tuple(field.name for field in dataclasses.fields(Generation) if field.name != "key")
_FILE_BYTES = 16 << 20
_GATHER_SEC = 0.02
_KEY_BYTES = 16
_KEY = re.compile(rb'"key": ?"([0-9a-f]{32})"')
_RULE = re.compile(rb'"rule": ?"')


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


def stored_generations(uri: str) -> Iterator[Generation]:
    """Yield every answer to a synthesizer in the journal at a URI, file by file; nothing without a journal.

    Safe while another run writes: damaged and incomplete lines are skipped. Answers to rules of `verify` are
    skipped, too.
    """
    return (generation for _, generation, _ in _stored(uri, skip=_RULE))


def find_generations(uri: str, keys: Container[str]) -> dict[str, Generation]:
    """Generations of those keys that are in the journal at a URI; reads all of it once."""
    found: dict[str, tuple[int, Generation]] = {}
    for key, generation, attempt in _stored(uri):
        if key in keys and attempt >= found.get(key, (0,))[0]:
            found[key] = attempt, generation
    return {key: generation for key, (_, generation) in found.items()}


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


def _parsed(line: bytes) -> tuple[str, Generation, int]:
    """Parse a line into key, generation and attempt, or raise a ValueError if it is damaged."""
    try:
        record = parse_json(line)
        key, generation = record["key"], made(Generation, record["generation"])
        attempt = record.get("attempt", 0)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    counts = (generation.prompt_tokens, generation.completion_tokens, generation.cached_tokens, attempt)
    if not (isinstance(generation.text, str) and isinstance(generation.finish_reason, str)):
        raise ValueError("text or finish_reason is no string")
    if any(type(count) is not int or not 0 <= count < 1 << 63 for count in counts):
        raise ValueError("a count is no number of tokens")
    if not isinstance(key, str) or len(bytes.fromhex(key)) != _KEY_BYTES:
        raise ValueError("key is no hash")
    return key, generation, attempt


def _lines(file: Any) -> Iterator[bytes]:
    """Yield the lines of a file; an empty line for each that is longer than the limit."""
    while line := file.readline(limits.JOURNAL_LINE_BYTES + 1):
        rest = line
        while len(rest) > limits.JOURNAL_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(limits.JOURNAL_LINE_BYTES + 1)
        yield line if rest is line else b"\n"


def _stored(uri: str, *, skip: re.Pattern[bytes] | None = None) -> Iterator[tuple[str, Generation, int]]:
    for found in journal_files(uri):
        fs, path = storage.filesystem(found)
        with fs.open(path, "rb") as file:
            for line in _lines(file):
                if skip is None or skip.search(line) is None:
                    with contextlib.suppress(ValueError):
                        yield _parsed(line)


class Journal:
    """Generations at a URI, by key; for one worker and one event loop.

    `on_damage` is called with file and line number of each damaged line that costs a request.
    """

    def __init__(self, uri: str, on_damage: Callable[[str], None] = lambda place: None):
        self._uri = uri
        self._on_damage = on_damage
        self._damaged: dict[bytes, str] = {}
        self._places: dict[bytes, tuple[str, int, int, int]] = {}
        self._local_copies = contextlib.ExitStack()
        self._writer = _Writer(uri)
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._read_all()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, key: str) -> tuple[Generation, int] | None:
        """The stored generation and its attempt, 0 for the first; None if there is none."""
        name = bytes.fromhex(key)
        if name in self._places:
            path, start, size, _ = self._places[name]
            with open(path, "rb") as file:
                file.seek(start)
                line = file.read(size)
            try:
                _, generation, attempt = _parsed(line)
                return generation, attempt
            except ValueError:  # damaged since it was opened
                self._on_damage(f"{self._named(path)}: byte {start}")
        elif name in self._damaged:
            self._on_damage(self._damaged.pop(name))
        return None

    async def add(self, key: str, generation: Generation, attempt: int = 0, *, rule: str = "") -> None:
        """Write a generation, with the name of the rule that asked for it; return when it is safe on disk."""
        fields = {name: getattr(generation, name) for name in _FIELDS}
        if not generation.logprobs:
            del fields["logprobs"]
        record: dict[str, object] = {"generation": fields}
        record |= {"key": key, "attempt": attempt} if attempt else {"key": key}
        record |= {"rule": rule} if rule else {}
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((_line(record), written))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_pending())
        await written

    async def close(self) -> None:
        """Wait for pending writes, and close the files."""
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._writer.close)
        self._local_copies.close()

    async def _write_pending(self) -> None:
        await asyncio.sleep(_GATHER_SEC)  # each write changes threads, so gather several records
        while self._pending:
            batch, self._pending = self._pending, []
            failed: Exception | None = None
            try:
                await asyncio.to_thread(self._writer.write, b"".join(line for line, _ in batch))
            except Exception as error:  # the waiting callers get it, whatever the storage raised
                failed = error
            for _, written in batch:
                if written.done():  # the waiting caller was cancelled
                    continue
                if failed is None:
                    written.set_result(None)
                else:
                    written.set_exception(failed)

    def _read_all(self) -> None:
        files = journal_files(self._uri)
        is_local = storage.is_local(self._uri)
        copies = "" if is_local or not files else self._local_copies.enter_context(scratch("journal"))
        for found in files:
            fs, path = storage.filesystem(found)
            if not is_local:
                copy = os.path.join(copies, os.path.basename(path))
                fs.get_file(path, copy)
                path = copy
            self._read(path)

    def _read(self, path: str) -> None:
        at = 0
        with open(path, "rb") as file:
            for number, line in enumerate(_lines(file), 1):
                if line.endswith(b"\n"):  # else it is truncated
                    try:
                        found, _, attempt = _parsed(line)
                    except ValueError:
                        self._pass_over(line, f"{self._named(path)}: line {number}")
                    else:
                        key = bytes.fromhex(found)
                        if key not in self._places or attempt >= self._places[key][3]:
                            self._places[key] = (path, at, len(line), attempt)
                at = file.tell()

    def _pass_over(self, line: bytes, place: str) -> None:
        """Keep the place of a damaged line by its key, to report it once somebody asks for the key."""
        key = _KEY.search(line)
        if key is None:
            self._on_damage(place)
        else:
            self._damaged[bytes.fromhex(key[1].decode())] = place

    def _named(self, path: str) -> str:
        return storage.join(self._uri, os.path.basename(path))


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
        found = self._journal.find(key)
        if found is not None:
            stored, attempt = found
            if (
                attempt >= self.attempt
                or self.is_useful(stored.text)
                or self._is_repaired(request, stored.text)
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

    def _is_repaired(self, request: GenerationRequest, text: str) -> bool:
        """True if a useful answer to the repair prompt is stored."""
        again = request.repair(text) if request.repair is not None else None
        if again is None:
            return False
        found = self._journal.find(request_key(self.identity, again))
        return found is not None and self.is_useful(found[0].text)


def _is_readable(request: GenerationRequest, answer: Generation) -> bool:
    """False for an answer that is none of the choices of its request."""
    texts = [each.text for each in request.choices]
    return not texts or choice_of(answer.text, texts) is not None


def _line(record: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a text holds half an emoji
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _append(file: BinaryIO, lines: bytes) -> None:
    """Append whole lines to an unbuffered file and sync it; an error leaves the file as it was."""
    before = os.fstat(file.fileno()).st_size
    rest = memoryview(lines)
    try:
        while rest:  # a write may be short
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


class _Writer:
    """Appends to files of this worker alone; begins a new file after 16 MB."""

    def __init__(self, uri: str):
        self._uri = uri
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._number = 0
        self._size = 0
        self._content = bytearray()  # content of the open file, for stores without append
        self._file: BinaryIO | None = None

    def write(self, lines: bytes) -> None:
        if not self._number or self._size >= _FILE_BYTES:
            self.close()
            self._number += 1
            self._size = 0
            self._content.clear()
        uri = journal_file_uri(self._uri, self._name, self._number)
        self._size += len(lines)
        if storage.is_local(uri):
            if self._file is None:
                _, path = storage.filesystem(uri)
                storage.make_folders(os.path.dirname(path))
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - stays open
                storage.sync(os.path.dirname(path))
            with storage.naming(uri):
                _append(self._file, lines)
        else:
            self._content += lines
            storage.write_bytes(uri, bytes(self._content))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
