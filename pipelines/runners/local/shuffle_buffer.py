"""What a shuffle of the local runner holds: on disk, and in memory only where it stands there.

FnApiRunner keeps all that is shuffled decoded in memory, and encodes a worker's share of it into a single
string of bytes: of a corpus of 1 GB, half of it to each of two workers. Here a value is appended in its
encoded form to a temporary file as it arrives; a share is made when it is sent, in pieces.

    worker ─► append: values ─► file            memory: key ─► places (16 bytes a value)
    partition: keys dealt out to n shares ─► pieces of whole groups, 4 MiB or one group ─► worker

The bytes are those that Beam sends, in its order.
"""

from __future__ import annotations

import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from apache_beam.coders.coder_impl import create_InputStream
from apache_beam.coders.coders import IterableCoder
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

from pipelines.runners.local.spill_file import Places, SpillFile

PIECE_BYTES = 4 << 20
_NO_VALUES = (0).to_bytes(4, "big")


class SpillingBuffer(GroupingBuffer):
    """Beam's GroupingBuffer with its values in a file.

    Other windows than the global one, and groups that are no iterables of the values, are left to Beam's.
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
            self._table: defaultdict[bytes, Places[int]] = defaultdict(lambda: array.array("Q"))
            self._file = SpillFile()

    def append(self, elements_data: bytes) -> None:
        """Take in encoded keys and values.

        Raises:
            RuntimeError: The buffer was partitioned before.
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
        """Take in what another buffer holds."""
        if not self._spills or isinstance(input_buffer, ListBuffer):
            super().extend(input_buffer)
            return
        self._refuse_after_read()
        for key, places in input_buffer._table.items():
            for value in input_buffer._file.at(places):
                self._table[key].extend(self._file.add(value))

    def partition(self, n: int) -> list[Any]:
        """Deal out the keys to n workers.

        Returns:
            For each worker an iterable of encoded pieces; the same whenever it is asked for.
        """
        if not self._spills:
            shares: list[list[bytes]] = super().partition(n)
            return shares
        if self._grouped_output is None:
            groups = list(self._table.items())
            self._table.clear()
            coders = self._key_coder.get_impl(), self._post_grouped_coder.get_impl()
            self._grouped_output = [Share(*coders, self._file, groups[first::n]) for first in range(n)]
        return self._grouped_output

    def _refuse_after_read(self) -> None:
        if self._grouped_output is not None:
            raise RuntimeError("a shuffle was added to after it was read.")


class Share:
    """What one worker gets of a shuffle; made as it is read."""

    def __init__(
        self, key_coder: Any, group_coder: Any, file: SpillFile, groups: list[tuple[bytes, Places[int]]]
    ):
        self._key_coder = key_coder
        self._group_coder = group_coder
        self._file = file
        self._groups = groups

    def __iter__(self) -> Iterator[bytes]:
        piece = bytearray()
        for key, places in self._groups:
            piece += self._prefix(key)
            piece += (len(places) // 2).to_bytes(4, "big")
            for value in self._file.at(places):
                piece += value
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def _prefix(self, encoded_key: bytes) -> bytes:
        """The encoded group of a key, up to the number of its values."""
        group = _windowed((self._key_coder.decode(encoded_key), []))
        encoded: bytes = self._group_coder.encode_nested(group)
        if not encoded.endswith(_NO_VALUES):
            raise RuntimeError(
                f"{self._group_coder} ends an empty group with {encoded[-4:]!r}, expected its number of "
                "values in 4 bytes, as in Beam 2.71. Change "
                "pipelines/runners/local/shuffle_buffer.py for this version of Beam."
            )
        return encoded[: -len(_NO_VALUES)]


_windowed = GlobalWindows.windowed_value(
    None,
    timestamp=GlobalWindow().max_timestamp(),
    pane_info=PaneInfo(
        is_first=True, is_last=True, timing=PaneInfoTiming.ON_TIME, index=0, nonspeculative_index=0
    ),
).with_value
