"""HTTP requests through aiohttp, at most so many at once, each answer at most so long.

    post ─► slot ─► aiohttp: kept-alive connections, TLS, proxy, redirects ─► Answer
                       │ no connection: NotConnected     nothing was sent
                       │ lost, or no HTTP: Disconnected
                       └ too long: TooLarge              the connection is closed

The limits are those of `schemas/limits.py`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp

from plugins.sglang.urls import proxy_of, shown_url
from schemas.limits import ANSWER_BYTES, ERROR_BYTES

_CONNECT_SEC = 10.0
_SHOWN_CHARACTERS = 300


class NotConnected(ConnectionError):
    """No connection was made, so that nothing was sent."""


class Disconnected(ConnectionError):
    """The connection ended before the whole answer was there, or what came is no HTTP."""


class TooLarge(ValueError):
    """An answer is longer than the limit."""


class Answer(NamedTuple):
    """What a server answered.

    Attributes:
        status: HTTP status.
        headers: Names in any case.
        body: The body; that of an error may be cut.
        redirected_to: Where the answer came from after redirects; "" without any.
        connection: The connection that it came over, which may carry another request by now.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    redirected_to: str
    connection: Any


class Http:
    """A pool of connections. Belongs to the event loop that it is made in.

    Args:
        endpoints: Base URLs.
        limit: Requests of `post` in flight at once.
        timeout_sec: Longest time of a `post`, from its slot to the end of its answer.
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
        needs_tls = any(endpoint.startswith("https:") for endpoint in endpoints)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context() if needs_tls else True),
            headers={
                "User-Agent": "tutelage",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            auto_decompress=False,  # a compressed answer may be any size
        )
        # aiohttp's own `trust_env` would read the environment and ~/.netrc again for each request.
        self._proxies = {endpoint: proxy_of(endpoint) for endpoint in endpoints}
        self._slots = asyncio.Semaphore(limit)
        self._timeout_sec = timeout_sec
        self._in_flight: Counter[str] = Counter()

    def in_flight(self, endpoint: str) -> int:
        """Requests of `post` that the endpoint has in flight."""
        return self._in_flight[endpoint]

    async def post(self, endpoint: str, path: str, body: bytes) -> Answer:
        """Send JSON once there is a slot. Cancelling the caller closes the connection.

        Raises:
            NotConnected: No connection could be made.
            Disconnected: The connection was lost, or what came is no HTTP.
            TimeoutError: No whole answer came in time.
            TooLarge: The answer is longer than `ANSWER_BYTES`.
        """
        async with self._slots:
            self._in_flight[endpoint] += 1
            try:
                return await self._ask("POST", endpoint, path, self._timeout_sec, body)
            finally:
                self._in_flight[endpoint] -= 1

    async def get(self, endpoint: str, path: str, *, timeout_sec: float) -> Answer:
        """Ask at once, whatever number of requests is in flight. Raises what `post` raises."""
        return await self._ask("GET", endpoint, path, timeout_sec, None)

    async def close(self) -> None:
        """Close all connections; requests without an answer end with Disconnected."""
        await self._session.close()

    async def _ask(
        self, method: str, endpoint: str, path: str, timeout_sec: float, body: bytes | None
    ) -> Answer:
        if self._session.closed:
            raise Disconnected("closed")
        server = urllib.parse.urlsplit(endpoint).netloc
        try:
            async with self._session.request(
                method,
                endpoint + path,
                data=body,
                headers={"Content-Type": "application/json"} if body is not None else None,
                proxy=self._proxies[endpoint],
                timeout=aiohttp.ClientTimeout(total=timeout_sec, sock_connect=_CONNECT_SEC),
            ) as response:
                return Answer(
                    status=response.status,
                    headers=response.headers,
                    body=await _read(response),
                    redirected_to=shown_url(str(response.url)) if response.history else "",
                    connection=response.connection_used,  # type: ignore[attr-defined]
                )
        except aiohttp.ConnectionTimeoutError:
            raise NotConnected(f"no connection to {server} within {_CONNECT_SEC:g} s") from None
        except (asyncio.TimeoutError, TimeoutError):
            raise TimeoutError(f"no answer within {timeout_sec:g} s") from None
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.InvalidURL,
            UnicodeError,  # a host name that cannot be one
        ) as error:
            raise NotConnected(f"cannot connect to {server}: {_reason(error)}") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError):
            raise Disconnected(f"{server} closed the connection before the whole answer was there") from None
        except aiohttp.ClientResponseError as error:
            raise Disconnected(f"{server} does not answer in HTTP: {_reason(error)}") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Disconnected(f"{server} lost the connection: {_reason(error)}") from None


class _Response(aiohttp.ClientResponse):
    """A response that remembers its connection, which aiohttp takes back with the last byte."""

    connection_used: Any = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        self.connection_used = connection.protocol
        return await super().start(connection)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body up to the limit for its status.

    Raises:
        TooLarge: It is longer, and no error.
    """
    limit = ANSWER_BYTES if response.status == 200 else ERROR_BYTES
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            response.close()
            if response.status == 200:
                raise TooLarge(f"the answer is longer than {limit:,} bytes, the limit; its rest was not read")
            break
    return b"".join(pieces)[:limit]


def _reason(error: Exception) -> str:
    """What went wrong, without URLs: those of proxies may hold passwords."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message[:_SHOWN_CHARACTERS] or type(error).__name__
    if isinstance(error, OSError) and error.errno:  # asyncio's own words name the address again
        return os.strerror(error.errno)
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
