"""Buffers of the local runner on disk: collections between stages, and shuffles.

FnApiRunner keeps both in memory: a collection as the list of messages in which it arrived, a shuffle as
decoded values. It then encodes a worker's share of a shuffle into one string of bytes. Here both are
temporary files.

    SpillingListBuffer   the first MiB of messages in memory, the rest in a file
    SpillingBuffer       worker ─► append: encoded values ─► file   memory: key ─► offsets, 16 bytes a value
                         partition: keys dealt out to n shares ─► pieces of whole groups, 4 MiB or one group

The bytes and their order are Beam's. The files have no name, so that the system deletes them when the process
ends in any way. They are in the folder that Python's tempfile uses (TMPDIR).
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from apache_beam.coders.coder_impl import create_InputStream
from apache_beam.coders.coders import IterableCoder
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

from schemas import storage
from schemas.replaced_internals import internal_changed

IN_MEMORY_BYTES = 1 << 20
PIECE_BYTES = 4 << 20
_WRITE_BUFFER_BYTES = 1 << 20
_NO_VALUES = (0).to_bytes(4, "big")

Offsets = array.array
"""Offset, size, offset, size … of values in a file, in bytes, as unsigned 64-bit integers."""


class SpillFile:
    """Values, strings of bytes, one after the other. The last reference to it closes the file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile("w+b", _WRITE_BUFFER_BYTES, prefix="tutelage-spill-")  # noqa: SIM115
        self._end = 0

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # no one reads it any more
            self._file.close()

    def add(self, value: bytes) -> tuple[int, int]:
        """Append a value; return its offset and size, in bytes."""
        start = self._end
        try:
            self._file.write(value)
        except OSError:
            with storage.naming(tempfile.gettempdir()):
                raise
        self._end += len(value)
        return start, len(value)

    def at(self, offsets: Offsets[int]) -> Iterator[bytes]:
        """Yield the values at these offsets. Several threads may read.

        Raises:
            OSError: The file is shorter than what was written.
        """
        with storage.naming(tempfile.gettempdir()):
            self._file.flush()
        for start, size in zip(offsets[::2], offsets[1::2], strict=True):
            value = os.pread(self._file.fileno(), size, start)
            if len(value) != size:
                raise OSError(
                    f"a temporary file of the runner gave {len(value)} bytes at offset {start}, "
                    f"expected {size}."
                )
            yield value


class SpillingListBuffer(ListBuffer):
    """Beam's ListBuffer with its messages in a file."""

    def __init__(self, coder_impl: Any):
        super().__init__(coder_impl)
        self._inputs: Any = _Messages()

    def copy(self) -> SpillingListBuffer:
        """Return another buffer with the same messages."""
        new = SpillingListBuffer(self._coder_impl)
        new._inputs.extend(self._inputs)
        return new

    def clear(self) -> None:
        """Drop the messages."""
        super().clear()
        self._inputs = _Messages()


class _Messages:
    """The part of a list that ListBuffer uses (append, extend, length, slices), with a file behind it."""

    def __init__(self) -> None:
        self._first: list[bytes] = []
        self._num_bytes = 0
        self._file: SpillFile | None = None
        self._offsets: Offsets[int] = array.array("Q")

    def append(self, message: bytes) -> None:
        if self._file is None:
            self._num_bytes += len(message)
            if self._num_bytes <= IN_MEMORY_BYTES:
                self._first.append(message)
                return
            self._file = SpillFile()
        self._offsets.extend(self._file.add(message))

    def extend(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            self.append(message)

    def __len__(self) -> int:
        return len(self._first) + len(self._offsets) // 2

    def __iter__(self) -> Iterator[bytes]:
        return iter(self[:])

    def __getitem__(self, part: slice) -> Iterable[bytes]:
        return _Part(self._first, self._file, self._offsets, range(len(self))[part])


@dataclasses.dataclass(eq=False)
class _Part:
    """A slice of the messages. Each iteration reads them anew."""

    first: Sequence[bytes]
    file: SpillFile | None
    offsets: Offsets[int]
    numbers: Sequence[int]

    def __iter__(self) -> Iterator[bytes]:
        for number in self.numbers:
            if number < len(self.first):
                yield self.first[number]
            else:
                assert self.file is not None
                at = 2 * (number - len(self.first))
                yield from self.file.at(self.offsets[at : at + 2])


class SpillingBuffer(GroupingBuffer):
    """Beam's GroupingBuffer with its values in a file.

    Beam's own code groups by windows other than the global one, and into groups that are not iterables of the
    values.
    """

    def __init__(self, pre_grouped_coder: Any, post_grouped_coder: Any, windowing: Any):
        super().__init__(pre_grouped_coder, post_grouped_coder, windowing)
        self._grouped_output: list[Any] | None = None
        value_coder = pre_grouped_coder.value_coder()
        self._spills = windowing.is_default() and post_grouped_coder.value_coder() == IterableCoder(
            value_coder
        )
        if self._spills:
            self._value_coder = value_coder.get_impl()
            self._table: defaultdict[bytes, Offsets[int]] = defaultdict(lambda: array.array("Q"))
            self._file = SpillFile()

    def append(self, elements_data: bytes) -> None:
        """Add encoded keys and values.

        Raises:
            RuntimeError: The buffer is already partitioned.
        """
        if not self._spills:
            super().append(elements_data)
            return
        self._refuse_after_read()
        stream = create_InputStream(elements_data)
        coder, key_coder = self._pre_grouped_coder.get_impl(), self._key_coder.get_impl()
        while stream.size() > 0:
            key, value = coder.decode_from_stream(stream, True).value
            self._table[key_coder.encode(key)].extend(self._file.add(self._value_coder.encode_nested(value)))

    def extend(self, input_buffer: Any) -> None:
        """Add the values of another buffer."""
        if not self._spills or isinstance(input_buffer, ListBuffer):
            super().extend(input_buffer)
            return
        self._refuse_after_read()
        for key, offsets in input_buffer._table.items():
            for value in input_buffer._file.at(offsets):
                self._table[key].extend(self._file.add(value))

    def partition(self, n: int) -> list[Any]:
        """Deal out the keys to n workers: for each an iterable of encoded pieces, the same in later calls."""
        if not self._spills:
            shares: list[list[bytes]] = super().partition(n)
            return shares
        if self._grouped_output is None:
            groups = list(self._table.items())
            self._table.clear()
            coders = self._key_coder.get_impl(), self._post_grouped_coder.get_impl()
            self._grouped_output = [_Share(*coders, self._file, groups[first::n]) for first in range(n)]
        return self._grouped_output

    def _refuse_after_read(self) -> None:
        if self._grouped_output is not None:
            raise RuntimeError("values were added to a shuffle after it was read.")


@dataclasses.dataclass(eq=False)
class _Share:
    """The groups of one worker, encoded while they are read."""

    key_coder: Any
    group_coder: Any
    file: SpillFile
    groups: list[tuple[bytes, Offsets[int]]]

    def __iter__(self) -> Iterator[bytes]:
        piece = bytearray()
        for key, offsets in self.groups:
            piece += self._prefix(key)
            piece += (len(offsets) // 2).to_bytes(4, "big")
            for value in self.file.at(offsets):
                piece += value
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def _prefix(self, encoded_key: bytes) -> bytes:
        """Return the encoded group of a key, up to its number of values."""
        group = _windowed((self.key_coder.decode(encoded_key), []))
        encoded: bytes = self.group_coder.encode_nested(group)
        if not encoded.endswith(_NO_VALUES):
            found = f"ends an empty group with {encoded[-4:]!r}, expected {_NO_VALUES!r}"
            raise internal_changed(type(self.group_coder), "encode_nested", found)
        return encoded[: -len(_NO_VALUES)]


_windowed = GlobalWindows.windowed_value(
    None,
    timestamp=GlobalWindow().max_timestamp(),
    pane_info=PaneInfo(
        is_first=True, is_last=True, timing=PaneInfoTiming.ON_TIME, index=0, nonspeculative_index=0
    ),
).with_value
