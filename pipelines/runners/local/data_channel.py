"""Backpressure between the local runner and its workers.

Beam's data channel queues the whole input of a bundle in memory, without bound, before the bundle starts.
Here the runner's queue holds iterators: gRPC pulls the next message out of an iterator when the worker has
taken the one before. Queues of a worker are short, because a message may be a whole group of shards or 10 MiB
of results.
"""

from __future__ import annotations

import collections
import queue
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager
from apache_beam.runners.worker import data_plane
from apache_beam.runners.worker.data_plane import _GrpcDataChannel

from schemas.replaced_internals import Internal, internal_changed

_WORKER_RECEIVES = 1
"""Messages of a bundle that a worker receives ahead; Beam's own limit is 5."""
_WORKER_SENDS = 2
"""Messages of results that wait in a worker; Beam's own limit is none, or from 2.72 on 10,000."""

_make_channel = _GrpcDataChannel.__init__


class PullQueue(queue.Queue[Any]):
    """A queue in which an iterator stands for its messages, up to the one with `is_last`."""

    def put(self, item: Any, *size_and_more: Any, **named: Any) -> None:
        """Append a message or an iterator; newer versions of Beam also pass its size. Never blocks."""
        super().put(item)

    def _get(self) -> Any:
        item = self.queue.popleft()
        if not isinstance(item, Iterator):
            return item
        message = next(item)
        if not message.is_last:
            self.queue.appendleft(item)
        return message


def messages(pieces: Iterable[bytes], *, bundle_id: str, transform_id: str) -> Iterator[Any]:
    """Yield the input of a bundle as messages of the data channel, one a piece, then the last message."""
    for piece in pieces:
        if piece:
            yield beam_fn_api_pb2.Elements.Data(
                instruction_id=bundle_id, transform_id=transform_id, data=piece
            )
    yield beam_fn_api_pb2.Elements.Data(instruction_id=bundle_id, transform_id=transform_id, is_last=True)


def runner_internals() -> list[Internal]:
    """Internals to replace in the runner's process."""
    return [
        Internal(_GrpcDataChannel, "__init__", _init_pulling),
        Internal(BundleManager, "_send_input_to_worker", _send_input_to_worker),
    ]


def worker_internals() -> list[Internal]:
    """Internals to replace in a worker process: limits of queues."""
    if not hasattr(data_plane, "_DEFAULT_RECEIVE_QUEUE_MAX_ELEMENTS"):  # Beam 2.71
        return [Internal(_GrpcDataChannel, "__init__", _init_short)]
    return [
        Internal(data_plane, "_DEFAULT_RECEIVE_QUEUE_MAX_ELEMENTS", _WORKER_RECEIVES),
        Internal(data_plane, "_DEFAULT_SEND_QUEUE_MAX_ELEMENTS", _WORKER_SENDS),
    ]


def _init_pulling(self: Any, data_buffer_time_limit_ms: int = 0) -> None:
    _make_channel(self, data_buffer_time_limit_ms)
    if not hasattr(self, "_to_send"):
        raise internal_changed(_GrpcDataChannel, "_to_send", "does not exist")
    self._to_send = PullQueue()


def _init_short(self: Any, data_buffer_time_limit_ms: int = 0) -> None:
    _make_channel(self, data_buffer_time_limit_ms)
    self._received = collections.defaultdict(lambda: queue.Queue(_WORKER_RECEIVES))
    self._to_send = queue.Queue(_WORKER_SENDS)


def _send_input_to_worker(
    self: Any, process_bundle_id: str, read_transform_id: str, byte_streams: Iterable[bytes] | None
) -> None:
    channel = self._worker_handler.data_conn
    if isinstance(channel, _GrpcDataChannel):
        channel._to_send.put(
            messages(byte_streams or [], bundle_id=process_bundle_id, transform_id=read_transform_id)
        )
        return
    data_out = channel.output_stream(process_bundle_id, read_transform_id)
    for byte_stream in byte_streams or []:
        data_out.write(byte_stream)
    data_out.close()
