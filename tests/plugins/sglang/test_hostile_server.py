"""Broken and hostile servers: answers to other requests, endless answers, answers with the API key."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import web

from plugins.sglang.client import SGLangClient
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from schemas.limits import ANSWER_BYTES, ANSWER_DEPTH
from schemas.records import Generation
from tests.plugins.sglang.fake_server import (
    ANSWER,
    OWN_ID,
    QUICK,
    Answer,
    Server,
    ask,
    good,
    quick,
    status,
)

KEY = 'sk-"never/shown"+1234'


class TestIds:
    def test_answers_out_of_step_reach_no_other_request(self) -> None:
        """Every third answer on a connection belongs to the request before it."""
        kept: dict[Any, tuple[int, str, int]] = {}
        closed: list[Any] = []

        async def out_of_step(server: Server, request: web.Request) -> web.StreamResponse:
            body = await request.json()
            transport = request.transport
            count, *before = kept.get(transport, (0, body["rid"], body["input_ids"][0]))
            kept[transport] = (count + 1, body["rid"], body["input_ids"][0])
            await asyncio.sleep(0.001)
            if count % 3 != 2:
                return good(f"of {body['input_ids'][0]}", id=body["rid"])
            closed.append(transport)
            return good(f"of {before[1]}", id=before[0])

        async def run() -> list[Answer]:
            async with Server(out_of_step) as server:
                client = SGLangClient([server.url], quick(max_in_flight=4, max_attempts=9))
                requests = [GenerationRequest(prompt_ids=(n,), max_new_tokens=1) for n in range(40)]
                found = await asyncio.gather(*map(client.generate, requests))
                for transport in closed:
                    assert transport.is_closing()
                await client.close()
                return list(found)

        found = asyncio.run(run())
        assert [each.text for each in found if isinstance(each, Generation)] == [f"of {n}" for n in range(40)]
        assert len(closed) > 5

    def test_an_answer_with_another_id_is_a_failure_that_says_so(self) -> None:
        (answer,), server = ask(lambda: good(id="cmpl-1"))
        assert answer == GenerationFailure(
            reason="wrong_id",
            detail=f"the answer to request {server.ids[-1]!r} has the id 'cmpl-1' of another one; its "
            "connection was closed. Every server behind this endpoint must return `rid` as `meta_info.id`, "
            f"as SGLang does (3 attempts at {server.url})",
        )

    def test_an_id_may_follow_the_number_of_a_tokenizer_process(self) -> None:
        (answer,), server = ask(lambda: good(id=f"7_{OWN_ID}"))
        assert answer == ANSWER and len(server.ids) == 1

    def test_each_attempt_has_an_id_of_its_own(self) -> None:
        _, server = ask(status(500, "x"), status(500, "x"), good)
        assert len(set(server.ids)) == 3

    def test_a_server_that_returns_no_ids_is_told_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        found, server = ask(lambda: good(id=None), times=5)
        assert found == [ANSWER] * 5
        assert [each.getMessage() for each in caplog.records] == [
            f"{server.url} returns no request ids (meta_info.id), so the client cannot check that an answer "
            "belongs to its request."
        ]


class TestLimits:
    @pytest.mark.parametrize("code", [200, 400])
    def test_an_endless_answer_is_cut_off(self, code: int) -> None:
        written = 0

        async def endless(server: Server, request: web.Request) -> web.StreamResponse:
            nonlocal written
            response = web.StreamResponse(status=code)
            await response.prepare(request)
            try:
                while written < 100 * 2**20:
                    await response.write(b"x" * 2**16)
                    written += 2**16
            except ConnectionError:
                pass
            return response

        (answer,), server = ask(endless, options=quick(max_attempts=1))
        if code == 400:
            detail = f"{server.url}/generate answered HTTP 400: {'x' * 300}"
            assert answer == GenerationFailure(reason="refused", detail=detail)
        else:
            detail = (
                "the answer is longer than 16,777,216 bytes, the limit; its rest was not read (1 attempts at "
                f"{server.url})"
            )
            assert answer == GenerationFailure(reason="bad_answer", detail=detail)
        assert written < ANSWER_BYTES + 16 * 2**20

    def test_an_answer_is_not_decompressed(self) -> None:
        bomb = gzip.compress(b" " * 10 * 2**20)
        (answer,), _ = ask(lambda: web.Response(body=bomb, headers={"Content-Encoding": "gzip"}))
        assert isinstance(answer, GenerationFailure) and answer.reason == "bad_answer"

    @pytest.mark.parametrize("depth", [ANSWER_DEPTH, 900, 200_000])
    @pytest.mark.parametrize("code", [200, 400])
    @pytest.mark.parametrize("more", ["", "\\ud83d"], ids=["", "that a strict parser refuses"])
    def test_a_deeply_nested_answer_is_a_failure(self, depth: int, code: int, more: str) -> None:
        body = f'{{"text": "{more}", "meta_info": {{"finish_reason": {"[" * depth}{"]" * depth}}}}}'
        (answer,), server = ask(status(code, body), options=quick(max_attempts=1))
        assert isinstance(answer, GenerationFailure)
        if code == 200:
            assert answer.detail.startswith("the answer nests lists and objects deeper than 64, the limit")
        else:
            assert answer.detail == f"{server.url}/generate answered HTTP 400: {body[:300]}"

    @pytest.mark.parametrize("count", ["9" * 5_000, "9" * 4_000, str(2**63), str(2**31), "-1", "1.5", '"3"'])
    def test_a_number_of_tokens_that_can_be_none_is_a_failure(self, count: str) -> None:
        body = (
            f'{{"text": "x", "meta_info": {{"id": "{OWN_ID}", "finish_reason": "stop", '
            f'"prompt_tokens": {count}}}}}'
        )
        (answer,), _ = ask(status(200, body), options=quick(max_attempts=1))
        assert isinstance(answer, GenerationFailure) and answer.reason == "bad_answer"
        assert answer.detail.startswith("prompt_tokens is ")
        assert "expected a number of tokens up to 2,147,483,647" in answer.detail
        assert len(answer.detail) < 300


class TestKeys:
    @pytest.fixture(autouse=True)
    def key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY_OF_A_TEST", KEY)

    OPTIONS = quick(api_key_env="KEY_OF_A_TEST", max_attempts=2)

    @pytest.mark.parametrize("code", [400, 401, 429, 500, 503])
    @pytest.mark.parametrize(
        "echo",
        [
            {"error": {"message": f"no such key: Bearer {KEY}"}},
            {"error": "x" * 290 + KEY},
            f"<p>{KEY} is none",
            f"see /login?key={KEY.replace('/', '%2F').replace('+', '%2B').replace(chr(34), '%22')}",
            json.dumps({"message": KEY}).replace("s", "\\u0073"),
        ],
        ids=["JSON", "at the cut", "text", "in a URL", "in JSON's escapes"],
    )
    def test_a_key_that_comes_back_stands_in_no_failure(self, code: int, echo: Any) -> None:
        (answer,), server = ask(status(code, echo), options=self.OPTIONS)
        assert isinstance(answer, GenerationFailure)
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert "[api key]" in answer.detail or "x" * 290 in answer.detail
        assert not any(piece in answer.detail for piece in ("sk-", "never", "1234"))

    @pytest.mark.parametrize("escaped", [False, True])
    def test_a_key_that_comes_back_stands_in_no_text(
        self, escaped: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        def echo() -> web.Response:
            response = good(f"Your key is {KEY}.")
            if escaped:
                response.text = (response.text or "").replace("never", "\\u006eever")
            return response

        (answer,), server = ask(echo, options=self.OPTIONS)
        assert isinstance(answer, Generation) and answer.text == "Your key is [api key]."
        if not escaped:
            assert [each.getMessage() for each in caplog.records] == [
                f"{server.url} returns the API key of its requests; it is replaced by [api key]."
            ]

    def test_a_key_in_the_escapes_of_json_that_a_model_writes_stands_in_no_text(self) -> None:
        escaped = "".join(f"\\u{ord(each):04X}" for each in KEY)
        for said in (escaped, f"{escaped[:6]}{json.dumps(KEY[1:])[1:-1]}"):
            answers, _ = ask(lambda said=said: good(f'[{{"answer": "{said}"}}]'), options=self.OPTIONS)
            assert isinstance(answers[0], Generation)
            assert answers[0].text == '[{"answer": "[api key]"}]'

    @pytest.mark.parametrize(
        "body",
        [
            {"oops": KEY},
            {"text": KEY},
            {"text": "x", "meta_info": {"finish_reason": KEY}},
            {"text": "x", "meta_info": {"id": f"{KEY}x", "finish_reason": {"type": "stop"}}},
            {"text": "x", "meta_info": {"id": OWN_ID, "finish_reason": {"type": f"{KEY}x"}}},
        ],
    )
    def test_a_key_stands_in_no_failure_about_an_answer(self, body: Any) -> None:
        (answer,), _ = ask(status(200, body), options=self.OPTIONS)
        assert isinstance(answer, GenerationFailure) and answer.reason in ("bad_answer", "wrong_id")
        assert "sk-" not in answer.detail and "1234" not in answer.detail

    def test_a_word_that_is_no_secret_stays_in_texts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY_OF_A_TEST", "EMPTY")
        (answer,), _ = ask(lambda: good("An EMPTY glass."), options=self.OPTIONS)
        assert isinstance(answer, Generation) and answer.text == "An EMPTY glass."

    def test_a_redirect_to_another_server_does_not_take_the_key_along(self) -> None:
        async def run() -> tuple[Answer, Server]:
            async with Server() as other:
                moved = status(307, "moved", Location=f"{other.url}/generate")
                async with Server(moved) as server:
                    client = SGLangClient([server.url], self.OPTIONS)
                    answer = await client.generate(GenerationRequest(prompt_ids=(1,), max_new_tokens=1))
                    await client.close()
                    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
                    return answer, other

        answer, other = asyncio.run(run())
        assert answer == ANSWER
        assert "Authorization" not in other.headers[0]


def test_what_a_server_says_instead_of_http_is_cut_and_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", KEY)

    async def run() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"200 " + head * 100)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = SGLangClient([url], QUICK.model_copy(update={"api_key_env": "KEY_OF_A_TEST"}))
        answer = await client.generate(GenerationRequest(prompt_ids=(1,), max_new_tokens=1))
        await client.close()
        server.close()
        return answer

    answer = asyncio.run(run())
    assert isinstance(answer, GenerationFailure)
    assert len(answer.detail) < 700
    assert "sk-" not in answer.detail and "never" not in answer.detail
