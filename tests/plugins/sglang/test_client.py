"""The SGLang client against a real HTTP server: its requests, and its parsing of answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from plugins.servers.urls import base_url_hint
from plugins.sglang.client import SGLangClient
from plugins.sglang.responses import generation
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from schemas.errors import ConfigError
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig
from tests.plugins.sglang.fake_server import (
    ANSWER,
    QUICK,
    REQUEST,
    Answer,
    Server,
    ask,
    good,
    quick,
    status,
)


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
    monkeypatch.setenv("KEY_OF_A_TEST", "k-1\n")  # like a key from a file
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
        ("k-1\r\nHost: elsewhere", "holds characters that a header cannot hold"),
        ("clé", "holds characters that a header cannot hold"),
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
        f"synthesis.options.api_key_env names 'KEY_OF_A_TEST', which {wrong} on this worker; set it there."
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
        ({"detail": [{"msg": "bad"}]}, '{"detail": [{"msg": "bad"}]}'),
        ("plain words\n", "plain words"),
        ("<html>bad</html>", "<html>bad</html>"),
        ("", "no message"),
        ("null", "null"),
        ({"error": {"message": "x" * 1_000}}, "x" * 300),
    ],
)
def test_a_refused_prompt_fails_at_once_and_keeps_the_message(body: Any, message: str) -> None:
    (answer,), server = ask(status(400, body))
    assert answer == GenerationFailure(
        reason="refused", detail=f"{server.url}/generate answered HTTP 400: {message}"
    )
    assert len(server.bodies) == 1


_HINTS = {401: " (no key was sent: options.api_key_env names the variable that holds one)"}


@pytest.mark.parametrize("code", [401, 404, 413, 422])
def test_other_faults_of_the_request_fail_at_once(code: int) -> None:
    (answer,), server = ask(status(code, {"error": "no"}))
    assert answer == GenerationFailure(
        reason="refused", detail=f"{server.url}/generate answered HTTP {code}: no{_HINTS.get(code, '')}"
    )
    assert len(server.bodies) == 1


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_is_followed(code: int) -> None:
    (answer,), server = ask(status(code, "moved", Location="/generate"), good)
    assert answer == ANSWER
    assert server.bodies == [server.bodies[0]] * 2


def test_a_redirect_that_loses_the_request_is_told_with_where_to() -> None:
    """Statuses 301 to 303 turn a POST into a GET."""
    (answer,), server = ask(status(302, "moved", Location="/health?key=1"), health=405)
    assert answer == GenerationFailure(
        reason="refused",
        detail=f"{server.url}/generate answered HTTP 405: no message (it redirected to {server.url}/health: "
        "name that server's base URL instead)",
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
    other = "; for OpenAI's API set synthesis.backend: openai" if "/v1" in path else ""
    assert answer == GenerationFailure(
        reason="refused",
        detail=f"{url}{path.rstrip('/')}/generate answered HTTP 404: 404: Not Found (give the server's base "
        f"URL: {url}{other})",
    )


@pytest.mark.parametrize("url", ["http://a:1", "http://a:1/", "https://a/behind/a/gateway"])
def test_a_base_url_needs_no_hint(url: str) -> None:
    assert base_url_hint(url) == ""


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
    """Ask about the last two of four tokens; return the answer and the request body."""

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

    @pytest.mark.parametrize(
        ("endpoint", "shown"),
        [
            ("http://me:secret@a:1", "http://a:1"),
            ("http://a:1?api_key=secret", "http://a:1"),
            ("http://a:1/v1#secret", "http://a:1/v1"),
            ("htp://me:secret@a:1", "htp://a:1"),
            ("http:/me:secret@a:1", "a:1"),
            ("me:secret@a:1", "a:1"),
            ("http://me:sec@ret/secret?@a:1", "http://a:1"),
        ],
    )
    def test_an_endpoint_with_a_secret_is_refused_without_showing_it(self, endpoint: str, shown: str) -> None:
        with pytest.raises(ConfigError) as caught:
            SGLangClient([endpoint], QUICK)
        assert str(caught.value).startswith(f"synthesis.endpoints holds {shown!r}")
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
