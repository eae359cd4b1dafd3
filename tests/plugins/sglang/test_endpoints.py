"""Several servers: where requests go, and where they go once one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from plugins.sglang.client import SGLangClient
from plugins.sglang.endpoints import Endpoints
from plugins.synthesizers.generator import EndpointTally, GenerationRequest
from tests.plugins.sglang.fake_server import (
    ANSWER,
    QUICK,
    REQUEST,
    Answer,
    Server,
    free_port,
    good,
    quick,
    status,
)

URLS = ["http://a:1", "http://b:1", "http://c:1"]


def endpoints(urls: Sequence[str], *, rest_sec: float = 0) -> Endpoints:
    return Endpoints(urls, lambda times: rest_sec * times)


def chosen(servers: Endpoints) -> dict[str, str]:
    """Where each of fifty chains goes."""
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
                client = SGLangClient([one.url, two.url, three.url], QUICK)
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
                dead = f"http://127.0.0.1:{free_port()}"
                client = SGLangClient([alive.url, dead], quick(patience_sec=60))
                requests = requests_of(20)
                assert len({client._endpoints.choose(each.affinity) for each in requests}) == 2
                found = await asyncio.gather(*map(client.generate, requests))
                await client.close()
                return list(found), len(alive.bodies)

        assert asyncio.run(run()) == ([ANSWER] * 20, 20)

    def test_a_busy_server_hands_its_requests_to_the_other(self) -> None:
        async def run() -> tuple[list[Answer], int]:
            async with Server() as free, Server(status(503, "queue full")) as busy:
                client = SGLangClient([free.url, busy.url], quick(patience_sec=60))
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
                client = SGLangClient([leaving.url, alive.url], quick(patience_sec=60))
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
            client = SGLangClient([one.url], QUICK)
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
