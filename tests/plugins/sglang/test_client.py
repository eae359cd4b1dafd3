"""The SGLang client against a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from plugins.sglang.answers import base_url_hint, error_message, generation
from plugins.sglang.client import ClientOptions, SGLangClient
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.generator import EndpointTally, GenerationFailure, GenerationRequest
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Generation

REQUEST = GenerationRequest(prompt_ids=(0, 5, 6), max_new_tokens=7, affinity="chain-1")
QUICK = ClientOptions(
    request_timeout_sec=5, max_attempts=3, patience_sec=0.3, backoff_sec=0.01, max_backoff_sec=0.02
)
Handler = Callable[["Server", web.Request], Awaitable[web.StreamResponse]]
Answer = Generation | GenerationFailure


def quick(**changes: Any) -> ClientOptions:
    return QUICK.model_copy(update=changes)


def good(text: str = "pairs", **meta: Any) -> web.Response:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1}
    finish = {"finish_reason": {"type": "stop", "matched": 2}}
    return web.json_response({"text": text, "meta_info": {"id": "x", **finish, **counts, **meta}})


ANSWER = Generation(text="pairs", finish_reason="stop", prompt_tokens=3, completion_tokens=2, cached_tokens=1)


class Server:
    """A stand-in on 127.0.0.1: answers in turn by a script, whose last entry goes on for ever."""

    def __init__(self, *script: Handler | web.Response | Callable[[], web.Response], health: int = 200):
        self.script = list(script) or [good]
        self.health = health
        self.bodies: list[Any] = []
        self.headers: list[Any] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.health_checks = 0
        self.port = 0

    async def __aenter__(self) -> Server:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _health(self, request: web.Request) -> web.Response:
        self.health_checks += 1
        return web.Response(status=self.health)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            step: Any = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if asyncio.iscoroutinefunction(step):
                return await step(self, request)
            return step() if callable(step) else step
        finally:
            self.in_flight -= 1


def status(code: int, body: Any = None, **headers: str) -> Callable[[], web.Response]:
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda: web.Response(status=code, text=text, headers=headers)


async def hang(server: Server, request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits that long")


async def disconnect(server: Server, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"text": "half of')
    assert request.transport is not None
    request.transport.abort()
    return response


def ask(
    *script: Any,
    options: ClientOptions = QUICK,
    request: GenerationRequest = REQUEST,
    times: int = 1,
    health: int = 200,
) -> tuple[list[Answer], Server]:
    """Send a request, or several at once, to one server."""

    async def run() -> tuple[list[Answer], Server]:
        async with Server(*script, health=health) as server:
            client = SGLangClient([server.url], options)
            try:
                found = await asyncio.gather(*(client.generate(request) for _ in range(times)))
            finally:
                await client.close()
            return list(found), server

    return asyncio.run(run())


def test_an_answer_becomes_a_generation() -> None:
    (answer,), server = ask()
    assert answer == ANSWER
    assert server.health_checks == 0


def test_token_ids_are_sent_as_given_so_that_no_bos_is_doubled() -> None:
    _, server = ask()
    assert server.bodies == [
        {"input_ids": [0, 5, 6], "sampling_params": {"max_new_tokens": 7, "temperature": 0.0}}
    ]


def test_a_key_in_the_environment_is_sent_as_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "k-1\n")  # as a key that was read from a file
    _, server = ask(options=quick(api_key_env="KEY_OF_A_TEST"))
    assert server.headers[0]["Authorization"] == "Bearer k-1"
    _, server = ask()
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (None, "is not set or empty"),
        ("", "is not set or empty"),
        (" \n", "is not set or empty"),
        ("k-1\r\nHost: elsewhere", "holds characters that no header may have"),
        ("clé", "holds characters that no header may have"),
    ],
)
def test_a_key_that_cannot_be_sent_is_told_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, key: str | None, wrong: str
) -> None:
    monkeypatch.delenv("KEY_OF_A_TEST", raising=False)
    if key is not None:
        monkeypatch.setenv("KEY_OF_A_TEST", key)
    with pytest.raises(ConfigError) as caught:
        ask(options=quick(api_key_env="KEY_OF_A_TEST"))
    assert str(caught.value) == (
        f"synthesis.options.api_key_env names 'KEY_OF_A_TEST', which {wrong} in the environment of this "
        "worker; set it there."
    )


def test_a_json_schema_is_sent() -> None:
    _, server = ask(
        request=GenerationRequest(prompt_ids=(1,), max_new_tokens=2, json_schema='{"type": "null"}')
    )
    assert server.bodies[0]["sampling_params"]["json_schema"] == '{"type": "null"}'


def test_temperature_and_stop_strings_are_sent() -> None:
    request = GenerationRequest(prompt_ids=(1,), max_new_tokens=2, temperature=0.7, stop=("</END>",))
    _, server = ask(request=request)
    assert server.bodies == [
        {
            "input_ids": [1],
            "sampling_params": {"max_new_tokens": 2, "temperature": 0.7, "stop": ["</END>"]},
        }
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "too long: 9000 > 4096", "code": 400}}, "too long: 9000 > 4096"),
        ({"error": "too long"}, "too long"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"detail": [{"msg": "bad"}]}, "{'detail': [{'msg': 'bad'}]}"),
        ("plain words\n", "plain words"),
        ("<html>bad</html>", "<html>bad</html>"),
        ("", "no message"),
        ("null", "None"),
        ({"error": {"message": "x" * 1_000}}, "x" * 300),
    ],
)
def test_a_refused_prompt_fails_at_once_and_keeps_the_message(body: Any, message: str) -> None:
    (answer,), server = ask(status(400, body))
    assert answer == GenerationFailure(
        reason="refused", detail=f"{server.url}/generate answered HTTP 400: {message}"
    )
    assert len(server.bodies) == 1
    assert error_message((body if isinstance(body, str) else json.dumps(body)).encode()) == message


@pytest.mark.parametrize("code", [401, 404, 413, 422])
def test_other_faults_of_the_request_fail_at_once(code: int) -> None:
    (answer,), server = ask(status(code, {"error": "no"}))
    assert answer == GenerationFailure(
        reason="refused", detail=f"{server.url}/generate answered HTTP {code}: no"
    )
    assert len(server.bodies) == 1


def test_a_redirect_is_told_with_where_to() -> None:
    (answer,), server = ask(status(308, "moved", Location="https://other/generate"))
    assert answer == GenerationFailure(
        reason="refused",
        detail=f"{server.url}/generate answered HTTP 308: moved (it redirects to https://other/generate: "
        "name that endpoint instead)",
    )
    assert len(server.bodies) == 1


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/generate", "/v1/chat/completions", "/v1/completions/"])
def test_a_url_with_the_path_of_an_api_is_told_with_the_one_to_give(path: str) -> None:
    async def run() -> tuple[Answer, str]:
        async with Server() as server:
            client = SGLangClient([f"{server.url}{path}"], QUICK)
            try:
                return await client.generate(REQUEST), server.url
            finally:
                await client.close()

    answer, url = asyncio.run(run())
    assert answer == GenerationFailure(
        reason="refused",
        detail=f"{url}{path.rstrip('/')}/generate answered HTTP 404: 404: Not Found (give the server's base "
        f"URL: {url})",
    )


@pytest.mark.parametrize("url", ["http://a:1", "http://a:1/", "https://a/behind/a/gateway"])
def test_a_base_url_needs_no_hint(url: str) -> None:
    assert base_url_hint(url) == ""


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
    """The waits that the client asks for; none is slept for longer than a moment."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def remember(seconds: float) -> None:
        asked.append(seconds)
        await sleep(min(seconds, 0.01))

    monkeypatch.setattr("plugins.sglang.client.asyncio.sleep", remember)
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


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_server_that_never_answers_ends_the_chain_once_patience_is_gone() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    async def run() -> Answer:
        client = SGLangClient([url], quick(patience_sec=0.1))
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
        client = SGLangClient([f"http://127.0.0.1:{free_port()}"], quick(patience_sec=0.5))
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
        client = SGLangClient([server.url], quick(patience_sec=60, max_attempts=1))
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
        client = SGLangClient([f"http://127.0.0.1:{free_port()}"], quick(patience_sec=0.1, max_attempts=1))
        monkeypatch.setattr(client, "_healthy", healthy)
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
    """A request that meets a full queue goes on waiting as long as the queue moves."""

    async def run() -> tuple[Answer, list[Answer]]:
        async with Server() as server:
            client = SGLangClient([server.url], quick(patience_sec=0.3))
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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("not json", "Expecting value"),
        ("", "Expecting value"),
        ("[]", "expected an object with a text, found []"),
        ({"error": "at 200"}, "expected an object with a text, found {'error': 'at 200'}"),
        ({"text": 3, "meta_info": {}}, "expected an object with a text"),
        ({"text": "x"}, "the answer has no meta_info"),
        ({"text": "x", "meta_info": {}}, "finish_reason is None, expected stop, length or abort"),
        ({"text": "x", "meta_info": {"finish_reason": {"type": ["stop"]}}}, "finish_reason is"),
        (
            {"text": "x", "meta_info": {"finish_reason": "stop", "prompt_tokens": [3]}},
            "prompt_tokens is [3], expected a number",
        ),
    ],
)
def test_an_answer_that_is_none_is_tried_again(body: Any, said: str) -> None:
    (answer,), _ = ask(status(200, body), good)
    assert answer == ANSWER
    (answer,), server = ask(status(200, body))
    assert isinstance(answer, GenerationFailure)
    assert answer.reason == "bad_answer" and answer.detail.startswith(said)
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (
            {"finish_reason": {"type": "length", "length": 7}, "prompt_tokens": 3, "completion_tokens": 7},
            ("length", 3, 7, 0),
        ),
        ({"finish_reason": {"type": "stop", "matched": None}, "cached_tokens": None}, ("stop", 0, 0, 0)),
        ({"finish_reason": "stop", "prompt_tokens": None, "completion_tokens": 1}, ("stop", 0, 1, 0)),
        ({"finish_reason": {"type": "abort", "message": "m"}, "cached_tokens": 2}, ("abort", 0, 0, 2)),
    ],
)
def test_answers_of_all_versions_are_read(meta: dict[str, Any], expected: tuple[Any, ...]) -> None:
    read = generation({"text": "x", "meta_info": meta})
    assert (read.finish_reason, read.prompt_tokens, read.completion_tokens, read.cached_tokens) == expected


def test_half_an_emoji_in_an_answer_becomes_a_replacement_character() -> None:
    (answer,), _ = ask(lambda: good("cut \ud83d"))
    assert isinstance(answer, Generation) and answer.text == "cut \ufffd"


def logprobs_of(*told: Any) -> tuple[list[float] | GenerationFailure, Any]:
    """Ask about the last two of four tokens; gives the answer and what was sent."""

    async def run() -> tuple[list[float] | GenerationFailure, Any]:
        async with Server(lambda: good("", input_token_logprobs=list(told))) as server:
            client = SGLangClient([server.url], QUICK)
            try:
                return await client.logprobs([5, 6, 7, 8], 2), server.bodies[0]
            finally:
                await client.close()

    return asyncio.run(run())


def test_log_probabilities_are_those_of_the_tokens_asked_about() -> None:
    found, body = logprobs_of([None, 6, None], [-1.5, 7, None], [-0.25, 8, None])
    assert found == [-1.5, -0.25]
    assert body == {
        "input_ids": [5, 6, 7, 8],
        "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
        "return_logprob": True,
        "logprob_start_len": 1,
    }


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([], "expected the log-probabilities of 2 tokens, found those of 0"),
        ([[-1.0, 7, None], [-1.0, 9, None]], "expected the log-probabilities of 2 tokens, found those of 2"),
        ([[None, 7, None], [-1.0, 8, None]], "a log-probability is missing"),
    ],
    ids=["none", "others", "missing"],
)
def test_log_probabilities_of_other_tokens_are_a_failure(told: list[Any], said: str) -> None:
    found, _ = logprobs_of(*told)
    assert isinstance(found, GenerationFailure)
    assert found.reason == "bad_answer" and found.detail.startswith(said)


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    async def slow(server: Server, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return good()

    found, server = ask(slow, options=quick(max_in_flight=3), times=12)
    assert found == [ANSWER] * 12
    assert server.most_in_flight == 3


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
        urls = ["http://a:1", "http://b:1/", "http://c:1"]
        one, other = SGLangClient(urls, QUICK), SGLangClient(urls[::-1], QUICK)
        names = [f"chain-{number}" for number in range(50)]
        assert [one._choose(name) for name in names] == [other._choose(name) for name in names]
        assert {one._choose(name) for name in names} == {"http://a:1", "http://b:1", "http://c:1"}

    def test_the_chains_of_a_lost_server_move_and_the_others_stay(self) -> None:
        urls = ["http://a:1", "http://b:1", "http://c:1"]
        client = SGLangClient(urls, quick(backoff_sec=1e6, max_backoff_sec=1e6))
        names = [f"chain-{number}" for number in range(50)]
        before = {name: client._choose(name) for name in names}
        client._resting_until["http://b:1"] = math.inf
        after = {name: client._choose(name) for name in names}
        assert "http://b:1" not in after.values()
        assert all(after[name] == url for name, url in before.items() if url != "http://b:1")

    def test_a_server_that_dies_hands_its_requests_to_the_other(self) -> None:
        async def run() -> tuple[list[Answer], int]:
            async with Server() as alive:
                dead = f"http://127.0.0.1:{free_port()}"
                client = SGLangClient([alive.url, dead], quick(patience_sec=60))
                requests = [
                    GenerationRequest(prompt_ids=(chain,), max_new_tokens=1, affinity=f"chain-{chain}")
                    for chain in range(20)
                ]
                assert len({client._choose(request.affinity) for request in requests}) == 2
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


class TestConfiguration:
    def test_no_endpoint_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"^synthesis\.endpoints is empty: backend 'sglang' needs"):
            SGLangClient([], QUICK)

    @pytest.mark.parametrize(
        "endpoint",
        ["127.0.0.1:30000", "localhost", "ftp://a", "http://", "http://a:port", "http://a:99999", ""],
    )
    def test_an_endpoint_that_is_no_url_is_refused(self, endpoint: str) -> None:
        with pytest.raises(ConfigError) as caught:
            SGLangClient(["http://a:1", endpoint], QUICK)
        assert str(caught.value) == (
            f"synthesis.endpoints holds {endpoint!r}; expected a URL with http:// or https://."
        )

    def test_an_endpoint_with_a_password_is_refused_without_showing_it(self) -> None:
        with pytest.raises(ConfigError, match=r"with a name or password in it") as caught:
            SGLangClient(["http://me:secret@a:1"], QUICK)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_atempts": 2}, "key 'max_atempts' is unknown. Did you mean 'max_attempts'?"),
            ({"max_in_flight": 0}, "max_in_flight is 0: input should be greater than or equal to 1."),
            ({"max_attempts": 0}, "max_attempts is 0: input should be greater than or equal to 1."),
            ({"request_timeout_sec": 0}, "request_timeout_sec is 0: input should be greater than 0."),
            ({"patience_sec": "long"}, "patience_sec is 'long': input should be a valid number"),
        ],
    )
    def test_bad_options_are_refused(self, options: dict[str, Any], message: str) -> None:
        config = SynthesisConfig(model="m", endpoints=("http://a:1",), options=options)
        with pytest.raises(ConfigError) as caught:
            SYNTHESIZERS.load("sglang")(config, seed=1)
        assert str(caught.value).startswith(f"synthesis.options: {message}")

    def test_chains_in_flight_bound_the_requests_in_flight(self) -> None:
        config = SynthesisConfig(model="m", endpoints=("http://a:1",), max_in_flight=5)
        client = SYNTHESIZERS.load("sglang")(config, seed=1).generator._client
        assert client._options.max_in_flight == 5
