from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker.data_plane import _GrpcDataChannel

from pipelines.runners.local.data_channel import PullQueue, messages, runner_internals, worker_internals
from schemas.replaced_internals import replaced

PIECE = 6 << 20


def made(pieces: list[bytes], log: list[int]) -> Iterator[bytes]:
    for number, piece in enumerate(pieces):
        log.append(number)
        yield piece


def test_messages_are_in_order_and_made_when_they_are_taken() -> None:
    pulled, log = PullQueue(), []
    before = beam_fn_api_pb2.Elements.Timers(timers=b"before")
    pulled.put(before)
    pulled.put(messages(made([b"a", b"", b"b"], log), bundle_id="bundle_1", transform_id="read"))
    pulled.put(messages([], bundle_id="bundle_2", transform_id="read"))
    assert pulled.get() is before
    assert log == []
    assert pulled.get().data == b"a"
    assert log == [0]
    rest = [pulled.get_nowait() for _ in range(3)]
    assert [(each.instruction_id, each.data, each.is_last) for each in rest] == [
        ("bundle_1", b"b", False),
        ("bundle_1", b"", True),
        ("bundle_2", b"", True),
    ]
    with pytest.raises(queue.Empty):
        pulled.get_nowait()


def test_beams_channel_makes_no_more_than_it_sends() -> None:
    log: list[int] = []
    with replaced(*runner_internals()):
        channel = _GrpcDataChannel()
    channel._to_send.put(messages(made([bytes(PIECE)] * 9, log), bundle_id="bundle", transform_id="read"))
    channel.close()
    sent, ahead = [], []
    for elements in channel._write_outputs():
        sent += [(len(each.data), each.is_last) for each in elements.data]
        ahead.append(len(log) - len(sent))
    assert sent == [(PIECE, False)] * 9 + [(0, True)]
    assert ahead[:4] == [0, 0, 0, 0]


def test_a_worker_that_is_behind_holds_the_runner_back() -> None:
    with replaced(*worker_internals()):
        channel = _GrpcDataChannel()
        queues = (channel._received["bundle"], 1), (channel._to_send, 2)
    for waiting, most in queues:
        size = () if isinstance(waiting, queue.Queue) else (0,)  # newer versions of Beam require a size
        for _ in range(most):
            waiting.put(None, *size, timeout=0)
        with pytest.raises(queue.Full):
            waiting.put(None, *size, timeout=0.01)
