"""Collections of the local runner that stand in a temporary file, and in memory only where they stand there.

FnApiRunner keeps every collection that goes from one stage to another as a list of strings of bytes, the
messages in which it came. `SpillingListBuffer` is that list with all but its first MiB in a file; shuffles
have a buffer of their own over such a file (`shuffle_buffer.py`).

A file has no name, so that it goes with the process however that ends; it stands where Python's tempfile puts
it (TMPDIR).
"""

from __future__ import annotations

import array
import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from apache_beam.runners.portability.fn_api_runner.execution import ListBuffer

from schemas import storage

IN_MEMORY_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20

Places = array.array
"""Start, size, start, size … of values in a file, in bytes, as unsigned 64-bit integers."""


class SpillFile:
    """Values, strings of bytes, one after the other. The file goes with the last who knows it."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile("w+b", _BUFFER_BYTES, prefix="tutelage-spill-")  # noqa: SIM115
        self._end = 0

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            self._file.close()

    def add(self, value: bytes) -> tuple[int, int]:
        """Append a value; gives its place: where it starts and its size, in bytes."""
        start = self._end
        try:
            self._file.write(value)
        except OSError:
            with storage.naming(tempfile.gettempdir()):
                raise
        self._end += len(value)
        return start, len(value)

    def at(self, places: Places[int]) -> Iterator[bytes]:
        """Yield the values of those places; several threads may read.

        Raises:
            OSError: The file is shorter than what was written.
        """
        with storage.naming(tempfile.gettempdir()):
            self._file.flush()
        for start, size in zip(places[::2], places[1::2], strict=True):
            value = os.pread(self._file.fileno(), size, start)
            if len(value) != size:
                raise OSError(
                    f"a temporary file of the runner gave {len(value)} bytes at {start}, expected {size}."
                )
            yield value


class SpillingListBuffer(ListBuffer):
    """Beam's ListBuffer with its messages in a file."""

    def __init__(self, coder_impl: Any):
        super().__init__(coder_impl)
        self._inputs: Any = _Messages()

    def copy(self) -> SpillingListBuffer:
        """Another buffer with the same messages."""
        new = SpillingListBuffer(self._coder_impl)
        new._inputs.extend(self._inputs)
        return new

    def clear(self) -> None:
        """Let go of the messages."""
        super().clear()
        self._inputs = _Messages()


class _Messages:
    """What ListBuffer does with a list: append, extend, length, every n-th; the rest is in a file."""

    def __init__(self) -> None:
        self._first: list[bytes] = []
        self._num_bytes = 0
        self._file: SpillFile | None = None
        self._places: Places[int] = array.array("Q")

    def append(self, message: bytes) -> None:
        if self._file is None:
            self._num_bytes += len(message)
            if self._num_bytes <= IN_MEMORY_BYTES:
                self._first.append(message)
                return
            self._file = SpillFile()
        self._places.extend(self._file.add(message))

    def extend(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            self.append(message)

    def __len__(self) -> int:
        return len(self._first) + len(self._places) // 2

    def __iter__(self) -> Iterator[bytes]:
        return iter(self[:])

    def __getitem__(self, part: slice) -> Iterable[bytes]:
        return _Part(self._first, self._file, self._places, range(len(self))[part])


class _Part:
    """Some of the messages, read as they are asked for; the same whenever they are."""

    def __init__(
        self, first: Sequence[bytes], file: SpillFile | None, places: Places[int], numbers: Sequence[int]
    ):
        self._first = first
        self._file = file
        self._places = places
        self._numbers = numbers

    def __iter__(self) -> Iterator[bytes]:
        for number in self._numbers:
            if number < len(self._first):
                yield self._first[number]
            else:
                assert self._file is not None, "what is not in memory is in the file"
                at = 2 * (number - len(self._first))
                yield from self._file.at(self._places[at : at + 2])
