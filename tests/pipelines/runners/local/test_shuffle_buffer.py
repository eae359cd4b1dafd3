from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

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
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.window import FixedWindows, GlobalWindows, IntervalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.runners.local import shuffle_buffer as shuffle
from pipelines.runners.local.shuffle_buffer import SpillingBuffer

PIECE = 1 << 14
ROWS = [(f"key-{number % 37}", f"{number}-{'ä' * (number * 7 % 997)}".encode()) for number in range(400)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "PIECE_BYTES", PIECE)


def shuffled(cls: type, rows: Iterable[tuple[str, bytes]], windowing: Any = GlobalWindows) -> Any:
    """A shuffle's buffer that holds rows, which came in messages of 50."""
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
        assert max(map(len, share)) < 3 * PIECE  # a piece ends with the group that fills it


def test_values_are_in_the_file_and_not_in_memory() -> None:
    buffer = shuffled(SpillingBuffer, ROWS)
    buffer._file._file.flush()
    values = sum(len(value) for _, value in ROWS)
    assert values < os.fstat(buffer._file._file.fileno()).st_size < values + 4 * len(ROWS)
    assert sum(len(places) for places in buffer._table.values()) == 2 * len(ROWS)


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
        with pytest.raises(RuntimeError, match="was added to after it was read"):
            add()


def test_other_windows_are_left_to_beam() -> None:
    windows = FixedWindows(10)
    expected = shuffled(GroupingBuffer, ROWS, windows).partition(2)
    assert shuffled(SpillingBuffer, ROWS, windows).partition(2) == expected
    assert len(expected[0][0]) > 10_000
