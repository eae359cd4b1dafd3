"""Lines of a journal, alone or in zstd frames, and the rows that say where the answer to a key is.

    {"generation": {"text": …, "finish_reason": …, …}, "key": …, "attempt": …, "rule": …}

A file `.jsonl` is plain lines. A file `.jsonl.zst` is zstd frames one after another, each of whole lines of
about 64 KB and with a checksum, so that a look-up decompresses one frame and a damaged one costs no other.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import numpy as np
import orjson
import zstandard

from pipelines.store.sorted_table import KEY_BYTES, Rows, newest
from schemas import limits
from schemas.json_records import made, parse_json
from schemas.records import Generation

ROW = np.dtype(
    [
        ("key", ">u8"),
        ("rest", ">u8"),
        ("rank", "<u8"),  # attempt + 1, or 0 for a damaged line
        ("place", "<u8"),  # number of the file, 24 bits; offset, 40 bits
        ("size", "<u4"),  # bytes of the line or frame
    ]
)
"""Where the line of a key is."""

_ROW = struct.Struct("<16sQQI")
_OFFSET_BITS = 40
_FRAME_BYTES = 1 << 16
_STEP_BYTES = 1 << 12  # zstd expands at most 32,768-fold, to 128 MiB a step
_ZSTD_LEVEL = 3
_KEY = re.compile(rb'"key": ?"([0-9a-f]{32})"')
_RULE = re.compile(rb'"rule": ?"')


def encoded(record: Mapping[str, object]) -> bytes:
    """Encode a record as a line."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a text holds half an emoji
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def parsed(line: bytes) -> tuple[str, Generation, int]:
    """Parse a line into key, generation and attempt, or raise a ValueError if it is damaged."""
    try:
        record = parse_json(line)
        key, generation = record["key"], made(Generation, record["generation"])
        attempt = record.get("attempt", 0)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    counts = (generation.prompt_tokens, generation.completion_tokens, generation.cached_tokens, attempt)
    if any(type(count) is not int or not 0 <= count < 1 << 63 for count in counts):
        raise ValueError("a count is no number of tokens")
    if not isinstance(key, str) or len(bytes.fromhex(key)) != KEY_BYTES:
        raise ValueError("key is no hash")
    return key, generation, attempt


def answer_in(lines: bytes, key: str, rank: int) -> Generation:
    """The generation of a key and rank among lines; of several the last. A ValueError if there is none."""
    found = None
    for line in lines.split(b"\n"):
        if key.encode() in line and (each := parsed(line))[0] == key and each[2] == rank - 1:
            found = each[1]
    if found is None:
        raise ValueError("the answer is not there")
    return found


def packed(lines: Iterable[bytes]) -> bytes:
    """Compress lines to frames."""
    frames, held, num_held = [], [], 0
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    for line in lines:
        held.append(line)
        num_held += len(line)
        if num_held >= _FRAME_BYTES:
            frames.append(compressor.compress(b"".join(held)))
            held, num_held = [], 0
    return b"".join([*frames, *([compressor.compress(b"".join(held))] if held else [])])


def unpacked(frame: bytes) -> bytes:
    """Decompress one frame, or raise a ValueError if it is damaged or too large."""
    try:
        if not 0 <= zstandard.frame_content_size(frame) <= limits.JOURNAL_LINE_BYTES + _FRAME_BYTES:
            raise ValueError("the frame has no size within the limit")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def frames_of(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield offset, size and lines of each frame; None as lines of a damaged one."""
    at = 0
    while 0 <= at < len(data):
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts: list[bytes] = []
        end, size = at, 0
        try:
            while not frame.eof and end < len(data) and size <= limits.JOURNAL_LINE_BYTES + _FRAME_BYTES:
                parts.append(frame.decompress(data[end : end + _STEP_BYTES]))
                size += len(parts[-1])
                end += _STEP_BYTES
        except zstandard.ZstdError:
            pass
        if frame.eof:
            end = min(end, len(data)) - len(frame.unused_data)
            yield at, end - at, b"".join(parts)
            at = end
        else:
            yield at, 0, None
            at = data.find(zstandard.FRAME_HEADER, at + 1)


class Scan:
    """Rows of the lines in files that no table has yet."""

    def __init__(self) -> None:
        self.damages: list[str] = []  # file and line of damaged lines without a readable key
        self.damaged: dict[bytes, str] = {}  # file and line of other damaged ones, by key
        self.num_answers = 0  # to synthesizers
        self.completion_tokens = 0  # of these answers
        self.num_rows = 0
        self._rows = bytearray()

    def take_rows(self) -> Rows:
        """Rows since the last call, sorted, one a key."""
        rows = np.frombuffer(bytes(self._rows), ROW)
        self._rows, self.num_rows = bytearray(), 0
        return newest(rows)

    def read_lines(self, file: IO[bytes], uri: str, number: int, start: int) -> int:
        """Read the whole lines of a plain file from an offset; return their end."""
        at = start
        file.seek(start)
        for count, line in enumerate(_lines(file), 1):
            if not line.endswith(b"\n"):  # truncated, or not yet written
                break
            place = f"{uri}: line {count}" if not start else f"{uri}: byte {at}"
            self._add(line, number, at, len(line), place)
            at = file.tell()
        return at

    def read_frames(self, data: bytes, uri: str, number: int) -> None:
        """Read the lines of the frames of a file."""
        for at, size, lines in frames_of(data):
            if lines is None:
                self.damages.append(f"{uri}: byte {at}")
                continue
            for line in filter(None, lines.split(b"\n")):
                self._add(line, number, at, size, f"{uri}: byte {at}")

    def _add(self, line: bytes, number: int, at: int, size: int, place: str) -> None:
        try:
            found, generation, attempt = parsed(line)
        except ValueError:
            named = _KEY.search(line)
            if named is None:
                self.damages.append(place)
                return
            key, rank = bytes.fromhex(named[1].decode()), 0
            self.damaged[key] = place
        else:
            key, rank = bytes.fromhex(found), attempt + 1
            if _RULE.search(line) is None:
                self.num_answers += 1
                self.completion_tokens += generation.completion_tokens
        self.num_rows += 1
        self._rows += _ROW.pack(key, rank, number << _OFFSET_BITS | at, size)


def where(row: bytes) -> tuple[int, int, int, int]:
    """Rank, number of the file, offset and size that a row holds."""
    _, rank, place, size = _ROW.unpack(row)
    return rank, place >> _OFFSET_BITS, place & (1 << _OFFSET_BITS) - 1, size


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; an empty line for each that is longer than the limit."""
    while line := file.readline(limits.JOURNAL_LINE_BYTES + 1):
        rest = line
        while len(rest) > limits.JOURNAL_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(limits.JOURNAL_LINE_BYTES + 1)
        yield line if rest is line else b"\n"
