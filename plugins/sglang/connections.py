"""Requests over HTTP/1.1 connections that stay open, at most so many at once.

    post ─► waiting ─► an idle connection to its endpoint, or a new one ─► answer
               ▲                                                             │
               └─── whoever waits next is sent in the turn that reads it ◄───┘

A place in flight is taken again in the turn of the event loop that leaves it: whoever waited for a semaphore,
or for a task, would be sent in a later one, after all that the loop has to do by then, and the server would
see seven of 256 places empty.

httptools reads the answers. A request costs 0.08 ms of a core here and 0.31 through aiohttp, which is what
limits a worker with hundreds of requests in flight.
"""

from __future__ import annotations

import asyncio
import collections
import os
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import httptools

_CONNECT_SEC = 10.0
_NEXT_ADDRESS_SEC = 0.25
"""How long one address of a name is tried before another is tried beside it (RFC 8305)."""


class Answer(NamedTuple):
    """What a server answered. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotConnected(ConnectionError):
    """No connection was made, so that nothing was sent."""


class Disconnected(ConnectionError):
    """The connection ended before the whole answer was there, or what came is no HTTP."""


class Connections:
    """Belongs to one event loop.

    Args:
        endpoints: Base URLs.
        limit: Requests under way at once, those of `get` not counted.
        timeout_sec: From when a request has a place to the end of its answer.
        headers: Sent with each request.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        limit: int,
        timeout_sec: float,
        headers: Mapping[str, str] | None = None,
    ):
        certificates = ssl.create_default_context()
        self._origins = {endpoint: _Origin(endpoint, headers or {}, certificates) for endpoint in endpoints}
        self._limit = limit
        self._timeout_sec = timeout_sec
        self._waiting: collections.deque[_Request] = collections.deque()
        self._num_under_way = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._open: set[_Connection] = set()

    def in_flight(self, endpoint: str) -> int:
        """How many requests the endpoint has under way."""
        return self._origins[endpoint].in_flight

    async def post(self, endpoint: str, path: str, body: bytes) -> Answer:
        """Send JSON once there is a place; who is cancelled meanwhile ends the request.

        Raises:
            NotConnected: No connection could be made.
            Disconnected: The connection was lost, or what came is no HTTP.
            TimeoutError: No whole answer came in time.
        """
        origin = self._origins[endpoint]
        request = _Request(origin, origin.head("POST", path, len(body)) + body, self._timeout_sec)
        self._waiting.append(request)
        self._send_waiting()
        return await request.done()

    async def get(self, endpoint: str, path: str, *, timeout_sec: float) -> Answer:
        """Ask at once, over a connection of its own, whatever number of requests is under way.

        Raises:
            What `post` raises.
        """
        origin = self._origins[endpoint]
        request = _Request(origin, origin.head("GET", path), timeout_sec)
        self._start(request, None)
        return await request.done()

    async def close(self) -> None:
        """Close all connections; requests that have no answer yet end with Disconnected."""
        for request in self._waiting:
            request.finish(Disconnected("closed"))
        self._waiting.clear()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()
        while self._open:
            await asyncio.sleep(0)

    def _send_waiting(self) -> None:
        while self._waiting and self._num_under_way < self._limit:
            request = self._waiting.popleft()
            if not request.answer.done():  # else it was cancelled while it waited
                self._num_under_way += 1
                request.origin.in_flight += 1
                request.has_place = True
                self._start(request, request.origin.idle.pop() if request.origin.idle else None)

    def _start(self, request: _Request, connection: _Connection | None) -> None:
        request.start_clock()
        if connection is not None:
            connection.send(request)
            return
        request.connecting = task = asyncio.create_task(self._connect(request))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, request: _Request) -> None:
        origin = request.origin
        try:
            connecting = asyncio.get_running_loop().create_connection(
                lambda: _Connection(self, origin),
                origin.host,
                origin.port,
                ssl=origin.ssl,
                happy_eyeballs_delay=_NEXT_ADDRESS_SEC,
            )
            _, connection = await asyncio.wait_for(connecting, _CONNECT_SEC)
        except (asyncio.TimeoutError, TimeoutError):
            self.end(request, NotConnected(f"no connection to {origin.name} within {_CONNECT_SEC:g} s"))
        except Exception as error:  # also of names that cannot be looked up and of certificates
            self.end(request, NotConnected(f"cannot connect to {origin.name}: {_reason(error)}"))
        except asyncio.CancelledError:  # the request was given up, or everything is closed
            self.end(request, Disconnected("closed"))
            raise
        else:
            request.connecting = None
            connection.send(request)

    def opened(self, connection: _Connection) -> None:
        """A connection is there."""
        self._open.add(connection)

    def answered(self, connection: _Connection, request: _Request, answer: Answer, keep: bool) -> None:
        """A connection has read an answer; it goes to whoever waits next."""
        if keep and request.has_place:
            connection.origin.idle.append(connection)
        else:
            connection.abort()
        self.end(request, answer)

    def lost(self, connection: _Connection, request: _Request | None, why: str) -> None:
        """A connection is gone, and with it the request that was under way on it."""
        self._open.discard(connection)
        if connection in connection.origin.idle:
            connection.origin.idle.remove(connection)
        if request is not None:
            self.end(request, Disconnected(why))

    def end(self, request: _Request, outcome: Answer | Exception) -> None:
        """Hand a request what became of it, and its place to the next."""
        request.finish(outcome)
        if request.has_place:
            request.has_place = False
            request.origin.in_flight -= 1
            self._num_under_way -= 1
            self._send_waiting()


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionError) and error.errno:  # asyncio's own words name the address again
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Origin:
    """Where an endpoint is, and its idle connections, the last used one last."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], certificates: ssl.SSLContext):
        url = urllib.parse.urlsplit(endpoint)
        self.host = url.hostname or ""
        self.ssl = certificates if url.scheme == "https" else None
        self.port = url.port or (443 if self.ssl else 80)
        self.name = url.netloc
        self.idle: list[_Connection] = []
        self.in_flight = 0
        self._path = url.path.rstrip("/")
        sent = {"Host": url.netloc, "User-Agent": "tutelage", "Accept": "application/json", **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in sent.items())

    def head(self, method: str, path: str, num_bytes: int | None = None) -> bytes:
        """What precedes a body of JSON, or a request without one."""
        body = (
            "" if num_bytes is None else f"Content-Type: application/json\r\nContent-Length: {num_bytes}\r\n"
        )
        return f"{method} {self._path}{path} HTTP/1.1\r\n{self._headers}{body}\r\n".encode()


class _Request:
    """One request, from when it waits for a place to its answer."""

    __slots__ = (
        "_clock",
        "_timeout_sec",
        "answer",
        "connecting",
        "connection",
        "data",
        "has_place",
        "origin",
    )

    def __init__(self, origin: _Origin, data: bytes, timeout_sec: float):
        self.origin = origin
        self.data = data
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.has_place = False
        self.connecting: asyncio.Task[None] | None = None
        self.connection: _Connection | None = None
        self._timeout_sec = timeout_sec
        self._clock: asyncio.TimerHandle | None = None

    def start_clock(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(self._timeout_sec, self._expire)

    async def done(self) -> Answer:
        try:
            return await self.answer
        except asyncio.CancelledError:
            self._give_up()
            raise

    def finish(self, outcome: Answer | Exception) -> None:
        self.connection = None
        if self._clock is not None:
            self._clock.cancel()
        if self.answer.done():  # nobody waits any more
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)

    def _expire(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(TimeoutError(f"no answer within {self._timeout_sec:g} s"))
        self._give_up()

    def _give_up(self) -> None:
        """End what goes on for it; its place is free once that has ended."""
        if self.connecting is not None:
            self.connecting.cancel()
        if self.connection is not None:
            self.connection.abort()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, owner: Connections, origin: _Origin):
        self.origin = origin
        self._owner = owner
        self._request: _Request | None = None
        self._is_lost = False

    def send(self, request: _Request) -> None:
        if self._is_lost:  # as soon as it was made
            self._owner.lost(self, request, self._why)
            return
        self._request = request
        request.connection = self
        self._begin_answer()
        if request.answer.done():  # it was given up while the connection was made
            self.abort()
        else:
            self._transport.write(request.data)

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)
        self._begin_answer()
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._why = f"{self.origin.name} does not answer in HTTP: {error or type(error).__name__}"
            self.abort()
            return
        if self._is_whole:
            self._finish(keep=self._may_stay_open)

    def connection_lost(self, error: Exception | None) -> None:
        # The end of the connection is that of an answer which does not say how long it is.
        if error is None and self._request is not None and self._has_headers and not self._has_length:
            self._finish(keep=False)
        self._is_lost = True
        request, self._request = self._request, None
        self._owner.lost(self, request, self._why if error is None else f"{self._why}: {error}")

    def _begin_answer(self) -> None:
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._has_headers = self._has_length = self._is_whole = False
        self._why = f"{self.origin.name} closed the connection before the whole answer was there"

    def _finish(self, *, keep: bool) -> None:
        request, self._request = self._request, None
        if request is None:  # nothing was asked
            self.abort()
            return
        answer = Answer(self._parser.get_status_code(), self._headers, b"".join(self._pieces))
        self._owner.answered(self, request, answer, keep)

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self._headers[key] = value.decode("latin-1")
        self._has_length = self._has_length or key in ("content-length", "transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_headers = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # such as 100 Continue: the answer follows
            self._begin_answer()
        else:
            self._is_whole = True
            self._may_stay_open = self._parser.should_keep_alive()  # it has forgotten afterwards
