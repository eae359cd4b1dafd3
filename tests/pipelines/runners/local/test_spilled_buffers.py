from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import apache_beam
import pytest
from apache_beam.coders.coder_impl import create_OutputStream
from apache_beam.coders.coders import (
    BytesCoder,
    GlobalWindowCoder,
    IterableCoder,
    StrUtf8Coder,
    TupleCoder,
    WindowedValueCoder,
)
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer, ListBuffer
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.window import FixedWindows, GlobalWindows, IntervalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.runners.local import spilled_buffers
from pipelines.runners.local.spilled_buffers import SpillingBuffer, SpillingListBuffer
from schemas.errors import MachineError

IN_MEMORY = 1 << 12
PIECE = 1 << 14
ROWS = [(f"key-{number % 37}", f"{number}-{'ä' * (number * 7 % 997)}".encode()) for number in range(400)]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spilled_buffers, "IN_MEMORY_BYTES", IN_MEMORY)
    monkeypatch.setattr(spilled_buffers, "PIECE_BYTES", PIECE)


def message(number: int) -> bytes:
    """Two values in the encoding of a collection."""
    stream = create_OutputStream()
    for part in (b"first", b"second" * (number * 7 % 97)):
        BytesCoder().get_impl().encode_to_stream(part + b"%d" % number, stream, True)
    return bytes(stream.get())


MESSAGES = [message(number) for number in range(60)]


def held(cls: type[ListBuffer], messages: Iterable[bytes]) -> Any:
    buffer = cls(BytesCoder().get_impl())
    for each in messages:
        buffer.append(each)
    return buffer


def read(shares: Iterable[Iterable[bytes]]) -> list[list[bytes]]:
    return [list(share) for share in shares]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_shares_are_those_of_beams_list(count: int, num_workers: int) -> None:
    expected = held(ListBuffer, MESSAGES[:count])
    buffer = held(SpillingListBuffer, MESSAGES[:count])
    for _ in range(2):  # Beam sends a failed bundle again
        assert read(buffer.partition(num_workers)) == expected.partition(num_workers)
    assert list(buffer) == MESSAGES[:count]


def test_all_but_the_first_messages_are_in_a_file_that_goes_with_the_buffer() -> None:
    buffer = held(SpillingListBuffer, MESSAGES)
    messages = buffer._inputs
    assert 0 < sum(map(len, messages._first)) <= IN_MEMORY
    file = messages._file._file
    file.flush()
    assert sum(map(len, messages._first)) + os.fstat(file.fileno()).st_size == sum(map(len, MESSAGES))
    shares = buffer.partition(2)
    buffer.clear()
    del messages
    assert sorted(each for share in shares for each in share) == sorted(MESSAGES)
    del shares
    assert file.closed
    buffer.reset()
    buffer.append(MESSAGES[0])
    assert list(buffer) == MESSAGES[:1]


def test_a_buffer_takes_in_another_and_copies_itself() -> None:
    buffer = held(SpillingListBuffer, MESSAGES[:20])
    copy = buffer.copy()
    buffer.extend(held(SpillingListBuffer, MESSAGES[20:]))
    assert list(buffer) == MESSAGES
    assert list(copy) == MESSAGES[:20]


def test_a_file_that_was_cut_is_named() -> None:
    buffer = held(SpillingListBuffer, MESSAGES)
    file = buffer._inputs._file._file
    file.flush()
    os.ftruncate(file.fileno(), 10)
    with pytest.raises(OSError, match=r"gave 10 bytes at offset 0, expected \d+"):
        list(buffer)


def shuffled(cls: type, rows: Iterable[tuple[str, bytes]], windowing: Any = GlobalWindows) -> Any:
    """Make a shuffle buffer and add rows to it in messages of 50."""
    windows = windowing() if windowing is GlobalWindows else windowing
    window_coder = windows.get_window_coder() if windows != GlobalWindows() else GlobalWindowCoder()
    before = WindowedValueCoder(TupleCoder([StrUtf8Coder(), BytesCoder()]), window_coder)
    after = WindowedValueCoder(TupleCoder([StrUtf8Coder(), IterableCoder(BytesCoder())]), window_coder)
    buffer = cls(before, after, Windowing(windows))
    rows = list(rows)
    for start in range(0, len(rows), 50):
        stream = create_OutputStream()
        for row in rows[start : start + 50]:
            value = (
                GlobalWindows.windowed_value(row)
                if windows == GlobalWindows()
                else WindowedValue(row, 5, (IntervalWindow(0, 10),))
            )
            before.get_impl().encode_to_stream(value, stream, True)
        buffer.append(stream.get())
    return buffer


def joined(shares: Iterable[Iterable[bytes]]) -> list[bytes]:
    return [b"".join(share) for share in shares]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 50])
@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS], ids=["none", "one", "400"])
def test_shares_have_the_bytes_of_beams(rows: list[tuple[str, bytes]], num_workers: int) -> None:
    expected = joined(shuffled(GroupingBuffer, rows).partition(num_workers))
    assert joined(shuffled(SpillingBuffer, rows).partition(num_workers)) == expected


def test_a_share_comes_in_pieces_of_whole_groups() -> None:
    pieces = [list(share) for share in shuffled(SpillingBuffer, ROWS).partition(2)]
    for share in pieces:
        assert len(share) > 5
        assert all(len(piece) >= PIECE for piece in share[:-1])
        assert max(map(len, share)) < 3 * PIECE  # the group that fills a piece is its last


def test_values_are_in_the_file_and_not_in_memory() -> None:
    buffer = shuffled(SpillingBuffer, ROWS)
    buffer._file._file.flush()
    values = sum(len(value) for _, value in ROWS)
    assert values < os.fstat(buffer._file._file.fileno()).st_size < values + 4 * len(ROWS)
    assert sum(len(offsets) for offsets in buffer._table.values()) == 2 * len(ROWS)


def test_shares_can_be_read_again_and_the_file_goes_with_them() -> None:
    buffer = shuffled(SpillingBuffer, ROWS)
    shares = buffer.partition(2)
    assert buffer.partition(2) is shares
    assert joined(shares) == joined(shares)
    file = buffer._file._file
    del buffer
    assert not file.closed
    del shares
    assert file.closed


def test_what_another_buffer_holds_is_taken_in() -> None:
    buffer, other = shuffled(SpillingBuffer, ROWS[:150]), shuffled(SpillingBuffer, ROWS[150:])
    buffer.extend(other)
    assert joined(buffer.partition(2)) == joined(shuffled(GroupingBuffer, ROWS).partition(2))


def test_nothing_is_added_to_a_shuffle_that_was_read() -> None:
    buffer = shuffled(SpillingBuffer, [])
    buffer.partition(2)
    for add in (lambda: buffer.append(b""), lambda: buffer.extend(shuffled(SpillingBuffer, ROWS))):
        with pytest.raises(RuntimeError, match="were added to a shuffle after it was read"):
            add()


def test_other_windows_are_left_to_beam() -> None:
    windows = FixedWindows(10)
    expected = shuffled(GroupingBuffer, ROWS, windows).partition(2)
    assert shuffled(SpillingBuffer, ROWS, windows).partition(2) == expected
    assert len(expected[0][0]) > 10_000


class OtherCoder:
    """Coder of a possible later version of Beam."""

    __module__ = "apache_beam.coders"

    def get_impl(self) -> OtherCoder:
        return self

    def encode_nested(self, value: Any) -> bytes:
        return b"group of 0"


def test_a_coder_that_ends_an_empty_group_in_another_way_is_refused() -> None:
    buffer = shuffled(SpillingBuffer, ROWS)
    buffer._post_grouped_coder = OtherCoder()
    with pytest.raises(MachineError) as raised:
        joined(buffer.partition(1))
    assert str(raised.value) == (
        f"apache_beam {apache_beam.__version__}: apache_beam.coders.OtherCoder.encode_nested ends an empty "
        r"group with b'of 0', expected b'\x00\x00\x00\x00'. Tutelage depends on this internal: install a "
        "version of apache_beam that docs/internals.md names."
    )
