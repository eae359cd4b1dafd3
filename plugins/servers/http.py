"""HTTP requests through aiohttp, with limits on requests in flight and on bytes of an answer.

    post ─► slot ─► aiohttp: kept-alive connections, TLS, proxy, redirects ─► Answer
                       │ no connection: NotConnected       nothing was sent
                       │ lost, or not HTTP: Disconnected
                       └ too long: TooLarge                the connection is closed

`schemas/limits.py` has the limits on bytes.
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

from plugins.servers.urls import proxy_of, shown_url
from schemas.limits import ANSWER_BYTES, ERROR_BYTES

_CONNECT_SEC = 10.0
_SHOWN_CHARACTERS = 300


class NotConnected(ConnectionError):
    """The connection failed before anything was sent."""


class Disconnected(ConnectionError):
    """The connection ended before the whole answer arrived, or the answer is not HTTP."""


class TooLarge(ValueError):
    """The answer is longer than the limit."""


class Answer(NamedTuple):
    """A server's answer."""

    status: int  # HTTP status
    headers: Mapping[str, str]  # headers; names ignore case
    body: bytes  # the body; that of an error may be cut
    redirected_to: str  # final URL after redirects; "" without a redirect
    connection: Any  # the connection, which may already carry another request


class Http:
    """A pool of connections to base URLs. Belongs to the event loop that creates it.

    At most `limit` requests of `post` are in flight, each for at most `timeout_sec` seconds, from its slot to
    the end of its answer.
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
            auto_decompress=False,  # a compressed answer may expand to any size
        )
        # aiohttp's `trust_env` would read the environment and ~/.netrc for each request.
        self._proxies = {endpoint: proxy_of(endpoint) for endpoint in endpoints}
        self._slots = asyncio.Semaphore(limit)
        self._timeout_sec = timeout_sec
        self._in_flight: Counter[str] = Counter()

    def in_flight(self, endpoint: str) -> int:
        """Number of `post` requests in flight at an endpoint."""
        return self._in_flight[endpoint]

    async def post(self, endpoint: str, path: str, body: bytes) -> Answer:
        """Send JSON as soon as there is a slot. Cancelling the caller closes the connection.

        Raises:
            NotConnected: The connection failed.
            Disconnected: The connection was lost, or the answer is not HTTP.
            TimeoutError: The answer was not complete in time.
            TooLarge: The answer is longer than `ANSWER_BYTES`.
        """
        async with self._slots:
            self._in_flight[endpoint] += 1
            try:
                return await self._ask("POST", endpoint, path, self._timeout_sec, body)
            finally:
                self._in_flight[endpoint] -= 1

    async def get(self, endpoint: str, path: str, *, timeout_sec: float) -> Answer:
        """Send a request without waiting for a slot. Raises the errors of `post`."""
        return await self._ask("GET", endpoint, path, timeout_sec, None)

    async def close(self) -> None:
        """Close all connections; requests in flight raise Disconnected."""
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
            UnicodeError,  # an invalid host name
        ) as error:
            raise NotConnected(f"cannot connect to {server}: {_reason(error)}") from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError):
            raise Disconnected(f"{server} closed the connection before the whole answer was there") from None
        except aiohttp.ClientResponseError as error:
            raise Disconnected(f"{server} does not answer in HTTP: {_reason(error)}") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Disconnected(f"{server} lost the connection: {_reason(error)}") from None


class _Response(aiohttp.ClientResponse):
    """A response that keeps a reference to its connection; aiohttp drops its own after the last byte."""

    connection_used: Any = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        self.connection_used = connection.protocol
        return await super().start(connection)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body up to the limit for its status; beyond it, status 200 raises TooLarge."""
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
    """Cause of an error, without URLs: a proxy's URL may hold a password."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message[:_SHOWN_CHARACTERS] or type(error).__name__
    if isinstance(error, OSError) and error.errno:  # asyncio's message repeats the address
        return os.strerror(error.errno)
    if isinstance(error, aiohttp.InvalidURL):
        return "not a valid URL"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
