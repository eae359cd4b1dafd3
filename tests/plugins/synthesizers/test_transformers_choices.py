"""Choices answered by a model in the process."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from plugins.synthesizers.generator import Choice, GenerationRequest
from plugins.synthesizers.transformers import TransformersGenerator, TransformersOptions
from schemas.synthesis_config import SynthesisConfig

pytestmark = pytest.mark.slow


def test_the_likeliest_choice_is_the_answer_alone_and_in_a_batch_and_two_steps_share_the_model(
    tiny_model: str,
) -> None:
    config = SynthesisConfig(backend="transformers", model=tiny_model, context_tokens=64, max_new_tokens=4)
    first, second = (TransformersGenerator(config, TransformersOptions(fill_sec=0.05)) for _ in range(2))
    choices = (Choice("Yes", (20, 21)), Choice("No", (30,)))
    request = GenerationRequest(prompt_ids=(5, 6, 7, 8), max_new_tokens=1, choices=choices)
    free = GenerationRequest(prompt_ids=(9, 6, 7), max_new_tokens=1)

    async def run() -> tuple[Any, Any]:
        first.open()
        second.open()
        assert first._model is second._model
        try:
            return await first.generate(request), await asyncio.gather(
                second.generate(request), second.generate(free)
            )
        finally:
            await first.close()
            await second.close()

    alone, (batched, plain) = asyncio.run(run())
    assert alone.text == choices[alone.logprobs.index(max(alone.logprobs))].text
    assert (alone.completion_tokens, alone.prompt_tokens) == (1, 4)
    assert sum(map(math.exp, alone.logprobs)) < 1.0
    assert batched.logprobs == pytest.approx(alone.logprobs, abs=1e-3)
    assert plain.logprobs == ()
