from __future__ import annotations

import os
import queue
from collections.abc import Iterable
from typing import Any

import pytest
from apache_beam.coders.coder_impl import create_OutputStream
from apache_beam.coders.coders import BytesCoder
from apache_beam.runners.portability.fn_api_runner.execution import ListBuffer
from apache_beam.runners.worker.data_plane import _GrpcDataChannel

from pipelines.runners.local import spill_file as spill
from pipelines.runners.local import worker_process as worker
from pipelines.runners.local.spill_file import SpillingListBuffer

IN_MEMORY = 1 << 12


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "IN_MEMORY_BYTES", IN_MEMORY)


def message(number: int) -> bytes:
    """Two values, as the coder of a collection writes them."""
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
    for _ in range(2):  # a bundle that failed is sent again
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
    with pytest.raises(OSError, match=r"gave 10 bytes at 0, expected \d+"):
        list(buffer)


def test_a_worker_that_is_behind_holds_the_runner_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_GrpcDataChannel, "__init__", _GrpcDataChannel.__init__)
    worker._shorten_queues()
    channel = _GrpcDataChannel()
    for waiting, most in ((channel._received["bundle"], 1), (channel._to_send, 2)):
        for _ in range(most):
            waiting.put_nowait(None)
        with pytest.raises(queue.Full):
            waiting.put_nowait(None)
