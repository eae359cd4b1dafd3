"""A stand-in for an SGLang server that answers `/generate` after a set time and costs next to no CPU.

It reads no JSON and answers with ready-made pairs, so that a benchmark measures the client.

    python -m benchmarks.stub_server --latency fixed --mean-sec 0.2     prints its URL

At the end of its input it prints a line of JSON about the period of the middle eight tenths of its answers:
answers a second (`per_sec`), and the mean number of waiting requests (`in_flight`). This leaves out the start
and the end, when a client has little work.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import sys
import time
from typing import Any

NUM_ANSWERS = 997


def answer(number: int) -> str:
    """The answer to every NUM_ANSWERS-th request."""
    return (
        f"<QUE> What does cell {number} bind? <ANS> A protein. </END>\n\n"
        f"<QUE> When does cell {number} bind it? <ANS> After the dose. </END>"
    )


_NO_ID = b"0" * 32
_META = {
    "id": _NO_ID.decode(),
    "finish_reason": {"type": "stop", "matched": 2},
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "cached_tokens": 0,
}


def _response(number: int) -> bytes:
    body = json.dumps({"text": answer(number), "meta_info": _META}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_RESPONSES = itertools.cycle([_response(number) for number in range(NUM_ANSWERS)])
_HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Minimal HTTP/1.1: one request at a time on a persistent connection."""

    def __init__(self, latency: Any, spans: list[tuple[float, float]]):
        self._latency = latency
        self._spans = spans
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            _, _, length = head.partition(b"content-length:")
            size = end + 4 + (int(length.split(b"\r\n")[0]) if length else 0)
            if len(self._received) < size:
                return
            rid = bytes(self._received[size - 34 : size - 2])  # our client's bodies end with the id
            del self._received[:size]
            if head.startswith(b"post /generate"):
                asyncio.get_running_loop().call_later(self._latency(), self._answer, time.monotonic(), rid)
            else:
                self._transport.write(_HEALTHY)

    def _answer(self, asked: float, rid: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(next(_RESPONSES).replace(_NO_ID, rid if rid.isalnum() else _NO_ID))
            self._spans.append((asked, time.monotonic()))


def seen(spans: list[tuple[float, float]]) -> dict[str, float]:
    """Answers a second, and waiting requests, during the middle eight tenths of all answers.

    Args:
        spans: Arrival and answer times of each request, in seconds of one clock, sorted by answer time.
    """
    num_left_out = len(spans) // 10
    start, end = spans[num_left_out][1], spans[-num_left_out - 1][1]
    waited = sum(max(0.0, min(answered, end) - max(asked, start)) for asked, answered in spans)
    return {
        "per_sec": (len(spans) - 2 * num_left_out - 1) / (end - start),
        "in_flight": waited / (end - start),
    }


def latency_of(kind: str, mean_sec: float, seed: int = 7) -> Any:
    """Function that draws latencies in seconds: constant, or lognormal with σ = 1 and this mean."""
    if kind == "fixed":
        return lambda: mean_sec
    draws = random.Random(seed)
    location = math.log(mean_sec) - 0.5
    return lambda: draws.lognormvariate(location, 1.0)


async def _serve(kind: str, mean_sec: float) -> None:
    latency = latency_of(kind, mean_sec)
    spans: list[tuple[float, float]] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(latency, spans), "127.0.0.1", 0, backlog=1024
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent process closes it
    server.close()
    print(json.dumps(seen(spans) if len(spans) > 1 else {}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", choices=["fixed", "lognormal"], default="fixed")
    parser.add_argument("--mean-sec", type=float, default=0.2)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.latency, arguments.mean_sec))
