"""Retries, waits and final failures of the SGLang client."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from tests.plugins.sglang.fake_server import (
    ANSWER,
    REQUEST,
    Answer,
    Server,
    ask,
    client_of,
    disconnect,
    free_port,
    good,
    hang,
    quick,
    status,
    url_of,
)

pytestmark = pytest.mark.usefixtures("api")


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 507, 520])
def test_what_may_pass_is_tried_again(code: int) -> None:
    (answer,), server = ask(status(code, "later"), status(code, "later"), good)
    assert answer == ANSWER
    assert len(server.bodies) == 3


def test_an_error_that_never_passes_ends_after_the_attempts() -> None:
    (answer,), server = ask(status(500, {"error": {"message": "unknown field"}}))
    assert answer == GenerationFailure(
        reason="http_500", detail=f"unknown field (3 attempts at {server.url})", ends_chain=False
    )
    assert len(server.bodies) == 3


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits requested by the client, in seconds; each sleep is cut to 0.01 s."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def remember(seconds: float) -> None:
        asked.append(seconds)
        await sleep(min(seconds, 0.01))

    monkeypatch.setattr("plugins.servers.client.asyncio.sleep", remember)
    return asked


@pytest.mark.parametrize(
    ("header", "longest", "expected"),
    [("7", 30.0, 7.0), ("0.25", 30.0, 0.25), ("900", 30.0, 30.0)],
)
def test_retry_after_is_honoured_up_to_the_longest_wait(
    pauses: list[float], header: str, longest: float, expected: float
) -> None:
    limited = status(429, {"error": "slow down"}, **{"Retry-After": header})
    (answer,), _ = ask(limited, good, options=quick(backoff_sec=4.0, max_backoff_sec=longest))
    assert answer == ANSWER
    assert pauses[:1] == [expected]


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "0", "-3"])
def test_a_retry_after_that_names_no_seconds_to_wait_leaves_the_backoff(
    pauses: list[float], header: str
) -> None:
    limited = status(429, "slow", **{"Retry-After": header})
    ask(limited, good, options=quick(backoff_sec=4.0, max_backoff_sec=30.0))
    assert 2.0 <= pauses[0] <= 4.0


def test_waits_double_up_to_the_longest(pauses: list[float]) -> None:
    ask(status(500, "x"), options=quick(max_attempts=6, backoff_sec=1.0, max_backoff_sec=5.0))
    ceilings = [1.0, 2.0, 4.0, 5.0, 5.0]
    waits = [pause for pause in pauses if pause >= 0.5]
    assert len(waits) == 5
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_a_hanging_request_is_given_up_and_tried_again() -> None:
    (answer,), server = ask(hang, good, options=quick(request_timeout_sec=0.2))
    assert answer == ANSWER
    assert len(server.bodies) == 2 and server.health_checks == 1


def test_a_server_that_always_hangs_fails_the_request() -> None:
    (answer,), _ = ask(hang, options=quick(request_timeout_sec=0.1, max_attempts=2))
    assert isinstance(answer, GenerationFailure)
    assert (answer.reason, answer.ends_chain) == ("timeout", False)
    assert answer.detail.startswith("no answer within 0.1 s (2 attempts at http://127.0.0.1:")


def test_a_connection_cut_in_the_middle_of_an_answer_is_tried_again() -> None:
    (answer,), server = ask(disconnect, good)
    assert answer == ANSWER
    assert len(server.bodies) == 2


def test_a_server_that_always_cuts_the_connection_fails_the_request() -> None:
    (answer,), server = ask(disconnect)
    assert isinstance(answer, GenerationFailure)
    assert answer.reason == "disconnected" and "3 attempts" in answer.detail
    assert len(server.bodies) == 3


def test_a_server_that_never_answers_ends_the_chain_once_patience_is_gone() -> None:
    url = url_of(free_port())

    async def run() -> Answer:
        client = client_of([url], quick(patience_sec=0.1))
        try:
            return await client.generate(REQUEST)
        finally:
            await client.close()

    answer = asyncio.run(run())
    assert isinstance(answer, GenerationFailure)
    assert (answer.reason, answer.ends_chain) == ("unreachable", True)
    assert answer.detail.startswith("cannot connect to 127.0.0.1:")
    assert ": Connection refused (nothing reached for " in answer.detail
    assert answer.detail.endswith(f" s at {url}); is the server running?")


def test_a_server_that_stays_lost_costs_the_patience_once_and_not_once_a_request() -> None:
    async def run() -> tuple[list[Answer], float]:
        client = client_of([url_of(free_port())], quick(patience_sec=0.5))
        first = await client.generate(REQUEST)
        started = asyncio.get_running_loop().time()
        others = [await client.generate(REQUEST) for _ in range(20)]
        await client.close()
        return [first, *others], asyncio.get_running_loop().time() - started

    answers, seconds = asyncio.run(run())
    assert [answer.reason for answer in answers if isinstance(answer, GenerationFailure)] == [
        "unreachable"
    ] * 21
    assert seconds < 20 * 0.5


def test_a_server_that_is_still_starting_is_waited_for() -> None:
    async def run() -> tuple[Answer, Server]:
        server = Server()
        server.port = free_port()
        client = client_of([server.url], quick(patience_sec=60, max_attempts=1))
        waiting = asyncio.create_task(client.generate(REQUEST))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        async with server:
            answer = await waiting
        await client.close()
        return answer, server

    answer, server = asyncio.run(run())
    assert answer == ANSWER
    assert len(server.bodies) == 1


def test_a_server_that_starts_between_a_refused_request_and_its_health_check_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def healthy(endpoint: str) -> bool:
        return True

    async def run() -> Answer:
        client = client_of([url_of(free_port())], quick(patience_sec=0.1, max_attempts=1))
        monkeypatch.setattr(client, "_is_healthy", healthy)
        answer = await client.generate(REQUEST)
        await client.close()
        return answer

    answer = asyncio.run(run())
    assert isinstance(answer, GenerationFailure)
    assert answer.reason == "unreachable"


def test_a_draining_server_is_waited_for_and_uses_up_no_attempts() -> None:
    async def recovered(server: Server, request: web.Request) -> web.StreamResponse:
        server.health = 200
        return good()

    drains = [status(503, "draining")] * 5
    (answer,), server = ask(*drains, recovered, health=503, options=quick(patience_sec=60, max_attempts=1))
    assert answer == ANSWER
    assert (len(server.bodies), server.health_checks) == (6, 5)


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_server_that_is_healthy_uses_up_no_attempts(code: int) -> None:
    full = [status(code, "The request queue is full.")] * 20
    (answer,), server = ask(*full, good, options=quick(patience_sec=60, max_attempts=1))
    assert answer == ANSWER
    assert len(server.bodies) == 21


def test_a_server_that_is_busy_for_ever_ends_the_chain_once_patience_is_gone() -> None:
    (answer,), server = ask(status(429, "queue full"), options=quick(max_attempts=1))
    assert isinstance(answer, GenerationFailure)
    assert (answer.reason, answer.ends_chain) == ("busy", True)
    assert answer.detail.startswith("queue full (busy for 0 s without an answer at http://127.0.0.1:")
    assert len(server.bodies) > 3


def test_a_server_that_answers_others_meanwhile_may_be_busy_for_longer_than_the_patience() -> None:
    """A request at a full queue waits as long as the queue moves."""

    async def run() -> tuple[Answer, list[Answer]]:
        async with Server() as server:
            client = client_of([server.url], quick(patience_sec=0.3))
            server.script = [lambda: good() if server.bodies[-1]["input_ids"] == [1] else full()]
            full = status(503, "queue full")
            waiting = asyncio.create_task(client.generate(REQUEST))
            others = []
            for _ in range(20):
                await asyncio.sleep(0.05)
                others.append(await client.generate(GenerationRequest(prompt_ids=(1,), max_new_tokens=1)))
            assert not waiting.done()
            server.script = [good]
            found = await waiting
            await client.close()
            return found, others

    answer, others = asyncio.run(run())
    assert answer == ANSWER
    assert others == [ANSWER] * 20


def test_an_aborted_answer_with_partial_text_is_tried_again() -> None:
    def aborted() -> web.Response:
        return good("half a p", finish_reason={"type": "abort", "message": "server is going down"})

    (answer,), server = ask(aborted, good)
    assert answer == ANSWER
    (answer,), server = ask(aborted)
    assert answer == GenerationFailure(
        reason="aborted", detail=f"the server aborted after 2 tokens (3 attempts at {server.url})"
    )
