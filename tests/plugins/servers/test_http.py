"""HTTP requests to a server whose bytes are scripted."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import ipaddress
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plugins.servers.http import Answer, Disconnected, Http, NotConnected
from plugins.servers.urls import proxy_of

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of its own; no task may outlive it."""

    async def bounded() -> None:
        await asyncio.wait_for(test, 20)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


class Server:
    """Answers each request with the next entry of `answers` and repeats the last one.

    An entry is bytes; None for no answer; or an event to wait for before `OK`. Bytes that end in `CLOSE`
    close the connection.

    Attributes:
        requests: Head and body of each request, in order.
        num_connections: Number of accepted connections.
        num_lost: Number of connections closed by the client.
    """

    CLOSE = b"<close>"

    def __init__(
        self,
        *answers: bytes | asyncio.Event | None,
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ):
        self.answers = list(answers) or [OK]
        self.requests: list[tuple[str, bytes]] = []
        self.num_connections = self.num_lost = 0
        self._ssl = ssl_context
        self._host = host

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._ssl)
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._ssl else 'http'}://{host}:{port}"
        self._tasks: set[Any] = set()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.num_connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                _, _, length = head.lower().partition("content-length: ")
                body = await reader.readexactly(int(length.split("\r\n")[0]) if length else 0)
                self.requests.append((head, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if isinstance(answer, asyncio.Event):
                    await answer.wait()
                    answer = OK
                if answer is None:
                    await reader.read()
                    break
                writer.write(answer.removesuffix(self.CLOSE))
                if answer.endswith(self.CLOSE):
                    await writer.drain()
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.num_lost += 1
            writer.close()


def connections_to(*urls: str, limit: int = 4, timeout_sec: float = 10, **options: Any) -> Http:
    return Http(urls, limit=limit, timeout_sec=timeout_sec, **options)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def ask(*answers: bytes | None, times: int = 1, **options: Any) -> tuple[list[Answer], Server]:
    """Post several times, one after another."""
    found: list[Answer] = []
    server = Server(*answers)

    async def test() -> None:
        async with server:
            connections = connections_to(server.url, **options)
            try:
                for _ in range(times):
                    found.append(await connections.post(server.url, "/generate", b"{}"))
            finally:
                await connections.close()

    run(test())
    return found, server


def test_an_answer_has_status_headers_and_body() -> None:
    (answer,), _ = ask(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater")
    assert (answer.status, answer.headers["retry-after"], answer.body) == (429, "7", b"later")


def test_what_is_sent_is_json_with_the_headers_given() -> None:
    _, server = ask(headers={"Authorization": "Bearer k"})
    head, body = server.requests[0]
    assert body == b"{}"
    first, *headers = head.strip().split("\r\n")
    assert first == "POST /generate HTTP/1.1"
    assert sorted(headers) == [
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Authorization: Bearer k",
        "Content-Length: 2",
        "Content-Type: application/json",
        f"Host: {server.url.removeprefix('http://')}",
        "User-Agent: tutelage",
    ]


def test_an_endpoint_may_be_below_a_path() -> None:
    async def test() -> None:
        async with Server() as server:
            below = f"{server.url}/models/one"
            connections = connections_to(below)
            assert (await connections.post(below, "/generate", b"{}")).status == 200
            await connections.close()
            assert server.requests[0][0].startswith("POST /models/one/generate HTTP/1.1\r\n")

    run(test())


def test_requests_one_after_another_take_one_connection() -> None:
    found, server = ask(times=20)
    assert [answer.body for answer in found] == [b"{}"] * 20
    assert server.num_connections == 1


@pytest.mark.parametrize(
    ("answer", "num_connections"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nabcde", 3),
        (b"HTTP/1.0 200 OK\r\n\r\nabcde" + Server.CLOSE, 3),
        (b"HTTP/1.1 200 OK\r\n\r\nabcde" + Server.CLOSE, 3),
    ],
    ids=["chunked", "after a 100", "close", "1.0", "1.0 without a length", "without a length"],
)
def test_answers_of_all_kinds_are_read(answer: bytes, num_connections: int) -> None:
    found, server = ask(answer, times=3)
    assert [(one.status, one.body) for one in found] == [(200, b"abcde")] * 3
    assert server.num_connections == num_connections


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"220 smtp ready\r\n", r"^127\.0\.0\.1:\d+ does not answer in HTTP: "),
        (b"" + Server.CLOSE, r"^127\.0\.0\.1:\d+ closed the connection before the whole answer was there$"),
        (b"HTTP/1.1 200 OK\r\nContent-Le" + Server.CLOSE, "before the whole answer was there$"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc" + Server.CLOSE, "before the whole answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + Server.CLOSE,
            "the whole answer",
        ),
    ],
    ids=["no HTTP", "nothing", "half a head", "half a body", "half of the chunks"],
)
def test_an_answer_that_is_none_is_told_as_what_it_is(answer: bytes, said: str) -> None:
    with pytest.raises(Disconnected, match=said):
        ask(answer)


def test_after_an_answer_that_was_none_the_next_request_is_served() -> None:
    async def test() -> None:
        async with Server(b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK" + Server.CLOSE, OK) as server:
            connections = connections_to(server.url, limit=1)
            for _ in range(2):
                with pytest.raises(Disconnected):
                    await connections.post(server.url, "/generate", b"{}")
            assert (await connections.post(server.url, "/generate", b"{}")).status == 200
            assert connections.in_flight(server.url) == 0
            await connections.close()

    run(test())


def test_an_idle_connection_that_the_server_ends_is_replaced() -> None:
    async def test() -> None:
        async with Server(OK + Server.CLOSE, OK) as server:
            connections = connections_to(server.url)
            assert (await connections.post(server.url, "/generate", b"{}")).status == 200
            await asyncio.sleep(0.05)
            assert (await connections.post(server.url, "/generate", b"{}")).status == 200
            assert server.num_connections == 2
            await connections.close()

    run(test())


def test_nobody_at_the_address_is_not_connected() -> None:
    async def test() -> None:
        async with Server() as server:
            pass
        connections = connections_to(server.url)
        with pytest.raises(NotConnected, match=r"^cannot connect to 127\.0\.0\.1:\d+: Connection refused$"):
            await connections.post(server.url, "/generate", b"{}")
        assert connections.in_flight(server.url) == 0
        await connections.close()

    run(test())


def test_a_name_that_is_none_is_not_connected() -> None:
    async def test() -> None:
        url = f"http://{'a' * 70}:1"
        connections = connections_to(url)
        with pytest.raises(NotConnected, match=r"^cannot connect to a+:1: .+"):
            await connections.post(url, "/generate", b"{}")
        await connections.close()

    run(test())


def test_a_connection_that_is_lost_as_soon_as_it_is_made_is_told() -> None:
    async def test() -> None:
        closed = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{closed.sockets[0].getsockname()[1]}"
        connections = connections_to(url)
        with pytest.raises(Disconnected):
            await connections.post(url, "/generate", b"{}")
        assert connections.in_flight(url) == 0
        await connections.close()
        closed.close()

    run(test())


def test_no_more_than_the_limit_are_under_way_and_all_go_in_order() -> None:
    async def test() -> None:
        gates = [asyncio.Event() for _ in range(4)]
        async with Server(*gates) as server:
            connections = connections_to(server.url, limit=2)
            waiting = [
                asyncio.create_task(connections.post(server.url, "/generate", f"{number}".encode()))
                for number in range(4)
            ]
            await until(lambda: len(server.requests) == 2)
            await asyncio.sleep(0.02)
            assert {body for _, body in server.requests} == {b"0", b"1"}
            assert connections.in_flight(server.url) == 2
            gates[0].set()
            await until(lambda: len(server.requests) == 3)
            await asyncio.sleep(0.02)
            assert [body for _, body in server.requests[2:]] == [b"2"]
            for gate in gates:
                gate.set()
            await asyncio.gather(*waiting)
            assert [body for _, body in server.requests[2:]] == [b"2", b"3"]
            assert connections.in_flight(server.url) == 0 and server.num_connections == 2
            await connections.close()

    run(test())


def test_the_limit_is_that_of_all_endpoints_together() -> None:
    async def test() -> None:
        gate = asyncio.Event()
        async with Server(gate) as one, Server(gate) as other:
            connections = connections_to(one.url, other.url, limit=3)
            waiting = [
                asyncio.create_task(connections.post(url, "/generate", b"{}"))
                for url in [one.url, other.url] * 3
            ]
            await until(lambda: len(one.requests) + len(other.requests) == 3)
            await asyncio.sleep(0.02)
            assert (connections.in_flight(one.url), connections.in_flight(other.url)) == (2, 1)
            assert (len(one.requests), len(other.requests)) == (2, 1)
            gate.set()
            await asyncio.gather(*waiting)
            assert (len(one.requests), len(other.requests)) == (3, 3)
            await connections.close()

    run(test())


def test_get_goes_beside_the_limit_and_is_not_counted() -> None:
    async def test() -> None:
        gate = asyncio.Event()
        async with Server(gate, OK) as server:
            connections = connections_to(server.url, limit=1)
            under_way = asyncio.create_task(connections.post(server.url, "/generate", b"{}"))
            await until(lambda: len(server.requests) == 1)
            answer = await connections.get(server.url, "/health", timeout_sec=5)
            assert answer.status == 200 and connections.in_flight(server.url) == 1
            assert server.requests[1][0].startswith("GET /health HTTP/1.1\r\n")
            assert "Content-Length" not in server.requests[1][0]
            gate.set()
            await under_way
            await connections.close()

    run(test())


def test_who_is_cancelled_ends_the_request_and_leaves_the_place_to_the_next() -> None:
    async def test() -> None:
        async with Server(None, OK) as server:
            connections = connections_to(server.url, limit=1)
            given_up = asyncio.create_task(connections.post(server.url, "/generate", b"1"))
            after = asyncio.create_task(connections.post(server.url, "/generate", b"2"))
            await until(lambda: len(server.requests) == 1)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert (await after).status == 200
            assert server.num_lost == 1  # a closed connection stops the generation
            await connections.close()

    run(test())


def test_who_is_cancelled_while_waiting_is_never_sent() -> None:
    async def test() -> None:
        gate = asyncio.Event()
        async with Server(gate, OK) as server:
            connections = connections_to(server.url, limit=1)
            first, given_up, last = (
                asyncio.create_task(connections.post(server.url, "/generate", body))
                for body in (b"1", b"2", b"3")
            )
            await until(lambda: len(server.requests) == 1)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            gate.set()
            await asyncio.gather(first, last)
            assert [body for _, body in server.requests] == [b"1", b"3"]
            assert server.num_connections == 1
            await connections.close()

    run(test())


@contextlib.contextmanager
def nothing_connects() -> Iterator[None]:
    """Let connections begun within the block never complete."""

    async def never(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "sock_connect", never)
        yield


def test_who_is_cancelled_while_connecting_leaves_the_place_to_the_next() -> None:
    async def test() -> None:
        async with Server() as server:
            connections = connections_to(server.url, limit=1)
            with nothing_connects():
                given_up = asyncio.create_task(connections.post(server.url, "/generate", b"1"))
                after = asyncio.create_task(connections.post(server.url, "/generate", b"2"))
                await asyncio.sleep(0.02)
            given_up.cancel()
            assert (await asyncio.wait_for(after, 5)).status == 200
            assert [body for _, body in server.requests] == [b"2"]
            await connections.close()

    run(test())


def test_a_request_that_takes_too_long_is_ended_and_leaves_the_place_to_the_next() -> None:
    async def test() -> None:
        async with Server(None, OK) as server:
            connections = connections_to(server.url, limit=1, timeout_sec=0.2)
            late = asyncio.create_task(connections.post(server.url, "/generate", b"1"))
            after = asyncio.create_task(connections.post(server.url, "/generate", b"2"))
            with pytest.raises(TimeoutError, match=r"^no answer within 0\.2 s$"):
                await late
            assert (await after).status == 200
            assert server.num_lost == 1
            await connections.close()

    run(test())


def test_the_time_of_a_request_holds_while_it_connects() -> None:
    async def test() -> None:
        connections = connections_to("http://127.0.0.1:1", timeout_sec=0.02)
        with nothing_connects(), pytest.raises(TimeoutError, match=r"^no answer within 0\.02 s$"):
            await connections.post("http://127.0.0.1:1", "/generate", b"{}")
        await connections.close()

    run(test())


def test_a_connection_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.servers.http._CONNECT_SEC", 0.02)

    async def test() -> None:
        connections = connections_to("http://127.0.0.1:1")
        with (
            nothing_connects(),
            pytest.raises(NotConnected, match=r"^no connection to 127\.0\.0\.1:1 within"),
        ):
            await connections.post("http://127.0.0.1:1", "/generate", b"{}")
        await connections.close()

    run(test())


def test_the_time_of_a_request_begins_with_its_place() -> None:
    async def test() -> None:
        gates = [asyncio.Event() for _ in range(3)]
        async with Server(*gates) as server:
            connections = connections_to(server.url, limit=1, timeout_sec=1)
            waiting = [asyncio.create_task(connections.post(server.url, "/generate", b"{}")) for _ in gates]
            for gate in gates:
                await asyncio.sleep(0.4)
                gate.set()
            assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3
            await connections.close()

    run(test())


def test_closing_ends_what_is_under_way_and_what_waits() -> None:
    async def test() -> None:
        async with Server(None) as server:
            connections = connections_to(server.url, limit=2)
            asked = [asyncio.create_task(connections.post(server.url, "/generate", b"{}")) for _ in range(5)]
            await until(lambda: len(server.requests) == 2)
            await connections.close()
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in found] == [Disconnected] * 5
            assert connections.in_flight(server.url) == 0
            await until(lambda: server.num_lost == 2)

    run(test())


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-signed certificate for 127.0.0.1, and the file of that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, key_path = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key_path)
    return context, path


def test_https_asks_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, path = certificate(tmp_path)

    async def test() -> None:
        async with Server(ssl_context=context) as server:
            strangers = connections_to(server.url)
            with pytest.raises(NotConnected, match=r"^cannot connect to 127.*certificate verify failed"):
                await strangers.post(server.url, "/generate", b"{}")
            await strangers.close()
            monkeypatch.setenv("SSL_CERT_FILE", str(path))
            connections = connections_to(server.url)
            for _ in range(3):
                assert (await connections.post(server.url, "/generate", b"{}")).status == 200
            await connections.close()
            assert len(server.requests) == 3

    run(test())


def test_a_request_goes_by_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Server() as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
            monkeypatch.setenv("no_proxy", "b.test")
            connections = connections_to("http://a.test:1", "http://b.test:1")
            assert (await connections.post("http://a.test:1", "/generate", b"{}")).status == 200
            head, _ = proxy.requests[0]
            assert head.startswith("POST http://a.test:1/generate HTTP/1.1")
            assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in head
            with pytest.raises(NotConnected):
                await connections.post("http://b.test:1", "/generate", b"{}")
            await connections.close()

    run(test())


def test_a_proxy_that_is_lost_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")

    async def test() -> None:
        connections = connections_to("http://a.test:1")
        with pytest.raises(NotConnected, match=r"^cannot connect to a\.test:1: Connection refused$"):
            await connections.post("http://a.test:1", "/generate", b"{}")
        await connections.close()

    run(test())


def test_a_server_of_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    found, _ = ask()
    assert found[0].status == 200
    assert [proxy_of(url) for url in ("http://localhost:1", "http://[::1]:1", "http://127.3.2.1")] == [
        None
    ] * 3
    assert proxy_of("http://10.0.0.5:30000") == "http://127.0.0.1:1"


def test_a_server_at_an_ipv6_address_is_asked() -> None:
    async def test() -> None:
        async with Server(host="::1") as server:
            connections = connections_to(server.url)
            assert (await connections.post(server.url, "/generate", b"{}")).status == 200
            await connections.close()

    run(test())


def test_nothing_is_left_open(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> None:
    ask(times=3)
    gc.collect()
    assert not [str(each.message) for each in recwarn if "nclosed" in str(each.message)]
    assert "nclosed" not in caplog.text
