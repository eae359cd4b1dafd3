"""Several servers: routing of requests, before and after a server fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from plugins.servers.endpoints import Endpoints
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest
from tests.plugins.sglang.fake_server import (
    ANSWER,
    QUICK,
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

URLS = ["http://a:1", "http://b:1", "http://c:1"]

pytestmark = pytest.mark.usefixtures("api")


def endpoints(urls: Sequence[str], *, rest_sec: float = 0) -> Endpoints:
    return Endpoints(urls, lambda times: rest_sec * times)


def chosen(servers: Endpoints) -> dict[str, str]:
    """The chosen server of each of fifty chains."""
    return {f"chain-{n}": servers.choose(f"chain-{n}").url for n in range(50)}


def requests_of(num_chains: int) -> list[GenerationRequest]:
    """One request of each chain."""
    return [
        GenerationRequest(prompt_ids=(chain,), max_new_tokens=1, affinity=f"chain-{chain}")
        for chain in range(num_chains)
    ]


class TestSeveralServers:
    def test_requests_of_one_chain_meet_one_server_and_chains_spread(self) -> None:
        async def run() -> list[list[tuple[int, ...]]]:
            async with Server() as one, Server() as two, Server() as three:
                client = client_of([one.url, two.url, three.url], QUICK)
                for chain in range(30):
                    for _ in range(2):
                        request = GenerationRequest(
                            prompt_ids=(chain,), max_new_tokens=1, affinity=f"chain-{chain}"
                        )
                        assert await client.generate(request) == ANSWER
                await client.close()
                return [[body["input_ids"][0] for body in each.bodies] for each in (one, two, three)]

        seen = asyncio.run(run())
        assert sorted(chain for chains in seen for chain in set(chains)) == list(range(30))
        assert all(chains.count(chain) == 2 for chains in seen for chain in chains)
        assert all(len(chains) > 0 for chains in seen)

    def test_another_order_of_servers_keeps_chains_where_they_are(self) -> None:
        one, other = chosen(endpoints(URLS)), chosen(endpoints(URLS[::-1]))
        assert one == other
        assert set(one.values()) == set(URLS)

    def test_the_chains_of_a_lost_server_move_and_the_others_stay(self) -> None:
        servers = endpoints(URLS)
        before = chosen(servers)
        next(each for each in servers if each.url == "http://b:1").rest(1e6)
        after = chosen(servers)
        assert "http://b:1" not in after.values()
        assert all(after[name] == url for name, url in before.items() if url != "http://b:1")

    def test_a_server_that_dies_hands_its_requests_to_the_other(self) -> None:
        async def run() -> tuple[list[Answer], int]:
            async with Server() as alive:
                dead = url_of(free_port())
                client = client_of([alive.url, dead], quick(patience_sec=60))
                requests = requests_of(20)
                assert len({client._endpoints.choose(each.affinity) for each in requests}) == 2
                found = await asyncio.gather(*map(client.generate, requests))
                await client.close()
                return list(found), len(alive.bodies)

        assert asyncio.run(run()) == ([ANSWER] * 20, 20)

    def test_a_busy_server_hands_its_requests_to_the_other(self) -> None:
        async def run() -> tuple[list[Answer], int]:
            async with Server() as free, Server(status(503, "queue full")) as busy:
                client = client_of([free.url, busy.url], quick(patience_sec=60))
                requests = [
                    GenerationRequest(prompt_ids=(1,), max_new_tokens=1, affinity=str(n)) for n in range(20)
                ]
                found = await asyncio.gather(*map(client.generate, requests))
                await client.close()
                return list(found), len(free.bodies)

        assert asyncio.run(run()) == ([ANSWER] * 20, 20)

    def test_a_draining_server_hands_its_requests_to_the_other(self) -> None:
        async def run() -> tuple[list[Answer], int]:
            async with Server() as alive, Server(status(503, "draining"), health=503) as leaving:
                client = client_of([leaving.url, alive.url], quick(patience_sec=60))
                found = await asyncio.gather(
                    *(
                        client.generate(
                            GenerationRequest(prompt_ids=(chain,), max_new_tokens=1, affinity=f"{chain}")
                        )
                        for chain in range(20)
                    )
                )
                await client.close()
                return list(found), len(alive.bodies)

        assert asyncio.run(run()) == ([ANSWER] * 20, 20)


def test_each_endpoint_is_tallied() -> None:
    async def run() -> tuple[Any, Any]:
        async with Server(status(500, "x"), good) as one:
            client = client_of([one.url], QUICK)
            await client.generate(REQUEST)
            one.script = [status(400, "no")]
            await client.generate(REQUEST)
            await client.close()
            return client.tallies(), one.url

    tallies, url = asyncio.run(run())
    assert tallies == {
        url: EndpointTally(
            requests=1, failed=1, retried=1, prompt_tokens=3, completion_tokens=2, cached_tokens=1
        )
    }


class TestBrokenServer:
    """A server that answers `/health` and fails every other request."""

    @pytest.mark.parametrize(
        "broken",
        [
            status(500, "CUDA error"),
            status(200, "not json"),
            status(404, "no such path"),
            status(401, "no such key"),
            status(302, "log in", Location="/login"),
            lambda: good("half", finish_reason={"type": "abort", "message": "no memory"}),
            disconnect,
            hang,
        ],
        ids=["500", "no JSON", "404", "401", "302", "abort", "cut off", "hangs"],
    )
    def test_one_of_two_costs_no_request(self, broken: Any, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> tuple[list[Answer], Server, EndpointTally]:
            async with Server() as good_one, Server(broken) as bad_one:
                options = quick(request_timeout_sec=0.5, backoff_sec=60, max_backoff_sec=60, max_in_flight=8)
                client = client_of([good_one.url, bad_one.url], options)
                client._retries._jitter = Still()  # type: ignore[assignment]
                requests = requests_of(60)
                found: list[Answer] = []
                for start in range(0, 60, 20):
                    found += await asyncio.gather(*map(client.generate, requests[start : start + 20]))
                await client.close()
                return found, bad_one, client.tallies()[bad_one.url]

        found, bad_one, tally = asyncio.run(run())
        assert found == [ANSWER] * 60
        assert (tally.requests, tally.failed, tally.taken_out) == (0, 0, 1)
        assert 5 <= len(bad_one.bodies) <= 20, "it was asked for a while, and then no more"
        assert tally.retried >= len(bad_one.bodies)
        (record,) = [each for each in caplog.records if each.name == "plugins.servers.endpoints"]
        assert record.getMessage().startswith(f"{bad_one.url} is taken out: 5 of its last 5 requests failed")

    def test_it_is_tried_again_one_request_at_a_time_and_gets_its_chains_back(self) -> None:
        async def run() -> tuple[int, int, EndpointTally]:
            async with Server() as good_one, Server(status(500, "starting")) as bad_one:
                options = quick(backoff_sec=0.2, max_backoff_sec=0.2)
                client = client_of([good_one.url, bad_one.url], options)
                before = chosen(client._endpoints)
                await asyncio.gather(*map(client.generate, requests_of(40)))
                num_failed = len(bad_one.bodies)
                await asyncio.sleep(0.25)
                await asyncio.gather(*map(client.generate, requests_of(40)))
                num_tried = len(bad_one.bodies) - num_failed
                await asyncio.sleep(0.25)
                bad_one.script = [good]
                while any(each.is_out for each in client._endpoints):
                    await asyncio.gather(*map(client.generate, requests_of(40)))
                    await asyncio.sleep(0.05)
                assert chosen(client._endpoints) == before
                await client.close()
                return num_failed, num_tried, client.tallies()[bad_one.url]

        num_failed, num_tried, tally = asyncio.run(run())
        assert num_failed >= 5
        assert 1 <= num_tried <= 3, "one a rest, not one a chain"
        assert tally.taken_out == 1 and tally.requests > 0

    def test_some_failures_take_no_server_out(self) -> None:
        one, other = endpoints(URLS[:2])
        for _ in range(30):
            for _ in range(3):
                one.succeeded()
            one.failed("http_500")
        assert not one.is_out and one.tally.taken_out == 0
        for _ in range(15):
            one.failed("http_500")
        assert one.is_out and not other.is_out

    def test_a_rest_doubles_while_trials_fail(self) -> None:
        servers = Endpoints(URLS[:2], lambda times: 1000.0 * 2**times)
        one = next(iter(servers))
        rests = []
        for _ in range(3):
            for _ in range(5):
                one.failed("timeout")
            rests.append(round(one._rests_until - time.monotonic(), -3))
            one._rests_until = 0.0
        assert rests == [2000, 4000, 8000]
        one.succeeded()
        assert one.is_ready() and not one.is_out

    def test_when_all_are_broken_requests_fail_with_what_was_seen_at_each(self) -> None:
        async def run() -> tuple[Answer, list[str]]:
            async with Server(status(500, "x")) as one, Server(status(500, "x")) as other:
                client = client_of([one.url, other.url], quick(max_attempts=3))
                answer = await client.generate(REQUEST)
                await client.close()
                assert len(one.bodies) + len(other.bodies) == 3
                assert one.bodies and other.bodies
                return answer, [one.url, other.url]

        answer, urls = asyncio.run(run())
        assert isinstance(answer, GenerationFailure) and answer.reason == "http_500"
        assert answer.detail.startswith("x (3 attempts at http://") and all(
            url in answer.detail for url in urls
        )

    def test_a_prompt_that_is_refused_is_asked_once_and_is_no_fault_of_the_server(self) -> None:
        async def run() -> tuple[list[Answer], int, list[EndpointTally]]:
            async with Server(status(400, "too long")) as one, Server(status(400, "too long")) as other:
                client = client_of([one.url, other.url], QUICK)
                found = [await client.generate(each) for each in requests_of(12)]
                await client.close()
                return found, len(one.bodies) + len(other.bodies), list(client.tallies().values())

        found, num_asked, tallies = asyncio.run(run())
        assert {each.reason for each in found if isinstance(each, GenerationFailure)} == {"refused"}
        assert num_asked == 12
        assert [each.taken_out for each in tallies] == [0, 0]

    def test_a_server_without_another_is_never_taken_out(self) -> None:
        answers, server = ask(*[status(500, "x")] * 30, good, options=quick(max_attempts=50))
        assert answers == [ANSWER]
        assert len(server.bodies) == 31


class Still:
    """A random generator without jitter."""

    def uniform(self, low: float, high: float) -> float:
        return high
