"""Synthesizer `openai` and its client against a real HTTP server: requests, and reading of answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from plugins.synthesizers.generator import Choice, GenerationFailure, GenerationRequest
from plugins.synthesizers.openai import OpenAISynthesizer
from schemas.errors import ConfigError
from schemas.records import Chain, Document, Generation, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig
from tests.plugins.sglang.fake_server import Answer, Server, status

QUICK = {
    "request_timeout_sec": 5,
    "max_attempts": 2,
    "patience_sec": 0.3,
    "backoff_sec": 0.01,
    "max_backoff_sec": 0.02,
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
SCHEMA = (
    '{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}'
)
MESSAGES = (("user", "Ask."),)
REQUEST = GenerationRequest(prompt_ids=(0, 5, 6), messages=MESSAGES, max_new_tokens=7)


def said(content: Any = "pairs", *, reason: Any = "stop", usage: Any = USAGE, **message: Any) -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    return web.json_response(
        {"id": "chatcmpl-1", "choices": [{**choice, "finish_reason": reason}], "usage": usage}
    )


def wrote(text: str) -> web.Response:
    return web.json_response({"choices": [{"text": text, "finish_reason": "length"}], "usage": USAGE})


def settings(url: str = "http://127.0.0.1:1", **changes: Any) -> SynthesisConfig:
    options = {**QUICK, **changes.pop("options", {})}
    values = {"model": "m", "endpoints": url, "options": options, **changes}
    return SynthesisConfig(backend="openai", **values)


@pytest.fixture(scope="module")
def plain_tokenizer(make_tokenizer: Callable[..., str]) -> str:
    """A tokenizer without a chat template."""
    return make_tokenizer(None)


def ask(
    *script: Any, request: GenerationRequest = REQUEST, path: str = "", **changes: Any
) -> tuple[Answer, Server]:
    async def run() -> tuple[Answer, Server]:
        async with Server(*(script or (said,))) as server:
            synthesizer = OpenAISynthesizer(settings(server.url + path, **changes), seed=1)
            synthesizer.generator.open()
            try:
                return await synthesizer.generator.generate(request), server
            finally:
                await synthesizer.close()

    return asyncio.run(run())


def test_messages_are_sent_and_tokens_counted() -> None:
    answer, server = ask()
    assert answer == Generation(
        text="pairs", finish_reason="stop", prompt_tokens=9, completion_tokens=4, cached_tokens=8
    )
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Ask."}],
            "max_tokens": 7,
            "temperature": 0.0,
        }
    ]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_a_url_without_a_path_means_v1(path: str) -> None:
    assert isinstance(ask(path=path)[0], Generation)


@pytest.mark.parametrize("path", ["/chat/completions", "/completions/", "/models"])
def test_a_url_with_a_path_that_the_client_adds_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"ends in a path that the client adds; give http://a:1/v1\.$"):
        OpenAISynthesizer(settings(f"http://a:1/v1{path}"), seed=1)


def test_a_server_without_the_api_is_told_with_the_url_to_give() -> None:
    answer, server = ask(path="/api")
    assert isinstance(answer, GenerationFailure) and answer.reason == "refused"
    assert answer.detail == (
        f"{server.url}/api/chat/completions answered HTTP 404: 404: Not Found (expected the URL that "
        "OpenAI's client calls base_url, such as http://127.0.0.1:8000/v1)"
    )


YES_NO = tuple(Choice(text, ()) for text in ("Yes", "No"))


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_choices_get_their_log_probabilities(api: str) -> None:
    listed = {"Yes": -0.5, " no": -2.0, "NO": -2.0, "Perhaps": -3.0}

    def answer() -> web.Response:
        if api == "chat":
            top = [{"token": token, "logprob": value} for token, value in listed.items()]
            choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": top}]}}
        else:
            choice = {"text": "Yes", "logprobs": {"top_logprobs": [listed]}}
        return web.json_response({"choices": [{**choice, "finish_reason": "length"}], "usage": USAGE})

    request = dataclasses.replace(REQUEST, max_new_tokens=1, choices=YES_NO)
    found, server = ask(answer, request=request, options={"api": api})
    assert isinstance(found, Generation)
    assert found.logprobs == pytest.approx((-0.5, -2.0 + math.log(2)))
    sent = {"logprobs": True, "top_logprobs": 5} if api == "chat" else {"logprobs": 5}
    assert {name: server.bodies[0][name] for name in sent} == sent


def test_a_server_without_log_probabilities_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    request = dataclasses.replace(REQUEST, max_new_tokens=1, choices=YES_NO)
    found, _ = ask(lambda: said("Yes"), request=request)
    assert isinstance(found, Generation) and found.logprobs == ()
    assert "lists no log-probabilities (logprobs): scores of rules that ask it are 0 or 1" in caplog.text


def test_a_schema_is_sent_in_the_strict_form_with_every_property_required() -> None:
    request = GenerationRequest(prompt_ids=(1,), messages=MESSAGES, max_new_tokens=2, json_schema=SCHEMA)
    _, server = ask(request=request)
    assert server.bodies[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": {**json.loads(SCHEMA), "required": ["a", "b"]},
            "strict": True,
        },
    }


def test_a_server_that_refuses_the_schema_is_told_with_the_option() -> None:
    request = GenerationRequest(prompt_ids=(1,), messages=MESSAGES, max_new_tokens=2, json_schema=SCHEMA)
    answer, _ = ask(status(400, {"error": {"message": "guided decoding is off"}}), request=request)
    assert isinstance(answer, GenerationFailure)
    assert answer.detail.endswith(
        "HTTP 400: guided decoding is off (synthesis.options.json_schema: false sends no schema)"
    )


def test_a_field_that_a_server_refuses_is_told_with_its_option() -> None:
    unfit = status(400, {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported"}})
    answer, _ = ask(unfit)
    assert isinstance(answer, GenerationFailure)
    assert "synthesis.options.max_tokens_field names the field" in answer.detail


def test_other_fields_are_sent_replaced_or_left_out() -> None:
    options = {"extra_body": {"temperature": None, "top_p": 0.9}, "max_tokens_field": "max_completion_tokens"}
    variables = {"enable_thinking": False}
    request = GenerationRequest(prompt_ids=(1,), messages=MESSAGES, max_new_tokens=2, stop=("END",), seed=3)
    _, server = ask(request=request, options=options, chat_template_kwargs=variables)
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Ask."}],
            "chat_template_kwargs": variables,
            "max_completion_tokens": 2,
            "stop": ["END"],
            "seed": 3,
            "top_p": 0.9,
        }
    ]


def test_completions_take_token_ids() -> None:
    answer, server = ask(lambda: wrote("pairs"), options={"api": "completions"})
    assert isinstance(answer, Generation) and (answer.text, answer.finish_reason) == ("pairs", "length")
    assert server.bodies[0]["prompt"] == [0, 5, 6]


def test_completions_can_take_text(plain_tokenizer: str) -> None:
    from plugins.tokenizers import load_tokenizer

    ids = tuple(load_tokenizer(plain_tokenizer)("The nerve.", add_special_tokens=False).input_ids)
    request = GenerationRequest(prompt_ids=ids, max_new_tokens=2)
    options = {"api": "completions", "send_text": True}
    _, server = ask(lambda: wrote("pairs"), request=request, options=options, tokenizer=plain_tokenizer)
    assert server.bodies[0]["prompt"].strip() == "The nerve."


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_in_a_field_of_its_own_is_left_out(field: str) -> None:
    answer, _ = ask(lambda: said("pairs", **{field: "Let me see."}))
    assert isinstance(answer, Generation) and answer.text == "pairs"


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_an_answer_that_ends_inside_its_thought_cannot_be_read(
    content: str | None, plain_tokenizer: str
) -> None:
    answer, _ = ask(lambda: said(content, reason="length", reasoning_content="Let me"))
    assert isinstance(answer, Generation) and answer.finish_reason == "length"
    parsed = OpenAISynthesizer(settings(tokenizer=plain_tokenizer), seed=1).protocol.read(answer.text)
    assert (parsed.unreadable, parsed.num_bad_pieces) == (True, 1)


@pytest.mark.parametrize(
    "response", [lambda: said("half", reason="content_filter"), lambda: said(None, refusal="I must not.")]
)
def test_a_refusal_is_a_failure_without_a_retry(response: Callable[[], web.Response]) -> None:
    answer, server = ask(response)
    assert isinstance(answer, GenerationFailure) and answer.reason == "refused"
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("body", "said_of"),
    [
        ("not json", "Expecting value"),
        ({"error": "at 200"}, "expected an object with choices, found {'error': 'at 200'}"),
        ({"choices": []}, "expected an object with choices"),
        ({"choices": [{"message": 3}]}, "message is 3, expected an object"),
        ({"choices": [{"message": {}, "finish_reason": None}]}, "finish_reason is None"),
        ({"choices": [{"message": {}, "finish_reason": "tool_calls"}]}, "finish_reason is 'tool_calls'"),
        ({"choices": [{"message": {}, "finish_reason": "stop"}]}, "expected a text as content, found None"),
        (
            {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": -1}},
            "prompt_tokens is -1, expected a number",
        ),
    ],
)
def test_an_answer_that_is_none_is_tried_again(body: Any, said_of: str) -> None:
    answer, server = ask(status(200, body))
    assert isinstance(answer, GenerationFailure) and answer.reason == "bad_answer"
    assert answer.detail.startswith(said_of)
    assert len(server.bodies) == 2
    assert isinstance(ask(status(200, body), said)[0], Generation)


def test_an_aborted_answer_is_tried_again() -> None:
    answer, server = ask(lambda: said("half", reason="abort"), said)
    assert isinstance(answer, Generation) and len(server.bodies) == 2


def test_a_server_without_counts_is_named(caplog: pytest.LogCaptureFixture) -> None:
    answer, _ = ask(lambda: said(usage=None))
    assert isinstance(answer, Generation) and answer.completion_tokens == 0
    assert "counts no tokens (usage)" in caplog.text


def test_a_key_is_sent_and_stands_in_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "sk-never-shown")
    answer, server = ask(
        status(401, {"error": {"message": "wrong key sk-never-shown"}}),
        options={"api_key_env": "KEY_OF_A_TEST"},
    )
    assert server.headers[0]["Authorization"] == "Bearer sk-never-shown"
    assert isinstance(answer, GenerationFailure)
    assert answer.detail.endswith("HTTP 401: wrong key [api key]")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"endpoints": ()}, r"^synthesis\.endpoints is empty: backend 'openai' needs the URL"),
        ({"server": {"python": "p"}}, r"^synthesis\.server starts SGLang servers"),
        ({"options": {"send_text": True}}, r"send_text is for api: completions"),
        ({"options": {"requests_per_minute": 0}}, r"^synthesis\.options: requests_per_minute is 0"),
        ({"protocol": "instruction_synthesizer"}, r"makes token ids, and `/chat/completions` takes messages"),
        (
            {
                "protocol": "instruction_synthesizer",
                "options": {"api": "completions"},
                "chat_template_kwargs": {"a": 1},
            },
            r"^synthesis\.chat_template_kwargs is set, and protocol 'instruction_synthesizer' uses no",
        ),
        (
            {"options": {"api": "completions"}, "thinking_tokens": 9},
            r"^synthesis\.thinking_tokens 9: a JSON schema constrains",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_key(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        OpenAISynthesizer(settings(**changes), seed=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "corpus"),
        ({"tokenizer": "own"}, "own"),
        ({"model": "."}, None),
        ({"options": {"api": "completions"}}, None),
    ],
)
def test_the_tokenizer_of_the_corpus_counts_where_no_other_is_known(
    changes: dict[str, Any], expected: str | None
) -> None:
    assert OpenAISynthesizer.with_tokenizer(settings(**changes), "corpus").tokenizer == expected


def test_a_chain_is_asked_about_without_a_chat_template(plain_tokenizer: str) -> None:
    """The whole way: messages with the earlier document and its pairs, answers held to a schema."""
    pairs = {"pairs": [{"question": "Which nerve?", "options": [], "reasoning": "", "answer": "femoral"}]}
    documents = tuple(Document.of(name, f"The nerve {name}.", source=name) for name in "ab")

    async def run() -> tuple[tuple[SynthesizedDocument, ...], Server]:
        async with Server(lambda: said(json.dumps(pairs))) as server:
            synthesizer = OpenAISynthesizer(settings(server.url, tokenizer=plain_tokenizer), seed=1)
            synthesizer.open()
            try:
                return await synthesizer.synthesize(Chain(chain_id="c", documents=documents)), server
            finally:
                await synthesizer.close()

    done, server = asyncio.run(run())
    assert [[pair.response for pair in each.pairs] for each in done] == [
        ["femoral"],
        [],
    ]  # the second is a copy
    roles = [[message["role"] for message in body["messages"]] for body in server.bodies]
    assert roles[0] == ["system", "user", "assistant", "user"]
    assert roles[1] == [*roles[0], "assistant", "user"]
    assert "The nerve b." in server.bodies[1]["messages"][-1]["content"]
    assert server.bodies[0]["messages"] == server.bodies[1]["messages"][:4]
