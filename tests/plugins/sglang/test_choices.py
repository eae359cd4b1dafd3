"""Requests whose answer is one of some choices: what the client sends, and what it reads."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from plugins.sglang.client import SGLangClient
from plugins.sglang.responses import choice_logprobs
from plugins.synthesizers.generator import Choice, GenerationRequest
from tests.plugins.sglang.fake_server import QUICK, Server, good

REQUEST = GenerationRequest(
    prompt_ids=(5, 6), max_new_tokens=1, choices=(Choice("Yes", (7, 8)), Choice("N.o", (9,)))
)


def ask(*, constrains: bool, **meta: Any) -> tuple[Any, Any]:
    async def run() -> tuple[Any, Any]:
        async with Server(lambda: good("Yes", **meta)) as server:
            client = SGLangClient([server.url], QUICK, constrains=constrains)
            try:
                return await client.generate(REQUEST), server.bodies[0]
            finally:
                await client.close()

    return asyncio.run(run())


def test_a_request_with_choices_has_a_grammar_and_asks_for_their_log_probabilities() -> None:
    found = [[[math.log(0.5), 7, None], [math.log(0.25), 8, None], [math.log(0.1), 9, None]]]
    answer, body = ask(constrains=True, output_token_ids_logprobs=found)
    assert body["sampling_params"]["regex"] == r"Yes|N\.o"
    assert (body["return_logprob"], body["token_ids_logprob"]) == (True, [7, 8, 9])
    assert [round(math.exp(each), 6) for each in answer.logprobs] == [0.75, 0.1]
    answer, body = ask(constrains=False)
    assert "regex" not in body["sampling_params"] and answer.logprobs == ()


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        [None],
        "no",
        [[]],
        [[["x", 7]]],
        [[[None, 7]]],
        [[[-1.0, "7"]]],
        [[[float("nan"), 7]]],
        [[7]],
    ],
)
def test_wrong_log_probabilities_count_as_none(told: Any) -> None:
    assert choice_logprobs({"meta_info": {"output_token_ids_logprobs": told}}, [(7, 8), (9,)]) == ()


def test_a_choice_that_the_grammar_forbids_is_unlikely_and_finite() -> None:
    found = choice_logprobs(
        {"meta_info": {"output_token_ids_logprobs": [[[-0.5, 7], [None, 9]]]}}, [(7,), (9,)]
    )
    assert found[0] == pytest.approx(-0.5) and -100 < found[1] < -50
