"""What the local runner sends to a worker: made when the worker has room for it.

Beam's data channel queues all that a bundle will read before the bundle starts, in memory and without bound.
Here the queue takes iterators too, and gets their messages out of them one at a time, when gRPC asks for the
next; gRPC asks when the worker has taken the ones before. Their order is that of a queue.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2


class PullQueue(queue.Queue[Any]):
    """A queue in which an iterator stands for its messages, up to one with `is_last`."""

    def put(self, item: Any, *size_and_more: Any, **named: Any) -> None:  # from 2.72 on Beam gives a size
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
    """Yield a bundle's input as the data channel's messages, one a piece, and the one that ends it."""
    for piece in pieces:
        if piece:
            yield beam_fn_api_pb2.Elements.Data(
                instruction_id=bundle_id, transform_id=transform_id, data=piece
            )
    yield beam_fn_api_pb2.Elements.Data(instruction_id=bundle_id, transform_id=transform_id, is_last=True)
