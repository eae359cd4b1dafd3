"""The end of a generated answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from plugins.tasks.rows import GenerateRow
from schemas.errors import ConfigError
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating
from trainer.evaluation.scoring.generation import (
    first_line,
    generate_lines,
    plan_generations,
    run_generations,
    stop_token_ids,
)


def row(prompt: str) -> GenerateRow:
    return GenerateRow(row_id="r", position="f:1", input=prompt, labels=("x",))


def test_stopping_tokens_are_eos_and_all_that_hold_a_newline(tokenizer: Any) -> None:
    stops = stop_token_ids(tokenizer)

    assert tokenizer.eos_token_id in stops
    assert tokenizer("\n").input_ids[0] in stops
    for token_id in stops - {tokenizer.eos_token_id}:
        assert "\n" in tokenizer.decode([token_id])
    assert tokenizer("fever").input_ids[0] not in stops


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("  radial nerve \n and more", "radial nerve"),
        ("\nlate", ""),
        ("no newline at all", "no newline at all"),
        ("", ""),
    ],
)
def test_the_answer_is_the_first_line_stripped(tokenizer: Any, written: str, answer: str) -> None:
    ids = tokenizer(written).input_ids if written else []

    assert first_line(ids, stop_token_ids(tokenizer), tokenizer) == answer


def test_nothing_after_eos_is_read(tokenizer: Any) -> None:
    ids = [*tokenizer("yes").input_ids, tokenizer.eos_token_id, *tokenizer(" no").input_ids]

    assert first_line(ids, stop_token_ids(tokenizer), tokenizer) == "yes"


def test_batched_answers_equal_greedy_decoding_by_hand(model: Any, tokenizer: Any) -> None:
    prompts = ["the patient", "fever and the doctor gives aspirin because pain", "a", "which nerve moves the"]
    stops = stop_token_ids(tokenizer)
    expected = []
    for prompt in prompts:
        ids = tokenizer(prompt).input_ids
        written: list[int] = []
        while len(written) < 12 and not (written and written[-1] in stops):
            with torch.no_grad():
                written.append(int(model(torch.tensor([ids + written])).logits[0, -1].argmax()))
        expected.append(first_line(written, stops, tokenizer))
    model.generation_config.do_sample = True  # a chat model's own setting must not matter
    model.generation_config.repetition_penalty = 3.0

    with evaluating(model):
        causal = as_causal_model(model)
        plan = plan_generations(
            [row(prompt) for prompt in prompts],
            causal,
            tokenizer,
            add_bos=False,
            batch_tokens=64,
            max_new_tokens=12,
        )
        answers = run_generations(plan, causal, tokenizer, num_passes=plan.num_passes + 1)

    assert plan.num_passes > 1
    assert [answer.value for answer in answers if isinstance(answer, Answer)] == expected


def test_newline_tokens_stop_a_row_and_give_no_text(model: Any, tokenizer: Any) -> None:
    newline = tokenizer("\n").input_ids[0]
    sizes: list[int] = []

    def generate(**arguments: Any) -> torch.Tensor:
        sizes.append(arguments["max_new_tokens"])
        assert newline in arguments["eos_token_id"]
        prompt_BT = arguments["input_ids"]
        return torch.cat([prompt_BT, torch.full((len(prompt_BT), 1), newline)], dim=1)

    with evaluating(model):
        causal = dataclasses.replace(as_causal_model(model), generate=generate)
    assert generate_lines([[5, 6], [7]], causal, tokenizer, max_new_tokens=9) == ["", ""]
    assert sizes == [9]


def test_a_long_prompt_loses_its_start(model: Any, tokenizer: Any) -> None:
    with evaluating(model):
        causal = as_causal_model(model)
    rows = [row("fever " * 300 + "aspirin"), row("aspirin")]

    plan = plan_generations(rows, causal, tokenizer, add_bos=True, batch_tokens=10_000, max_new_tokens=28)

    ((long, prompt), (short, other)) = plan.batches[0]
    assert (long, prompt.is_truncated, short, other.is_truncated) == (0, True, 1, False)
    ids = prompt.token_ids
    assert len(ids) == 100 and ids[0] == tokenizer.bos_token_id
    assert ids[1:] == tokenizer(rows[0].input).input_ids[-99:]


def test_answers_that_fill_the_context_are_refused(model: Any, tokenizer: Any) -> None:
    with evaluating(model):
        causal = as_causal_model(model)
    with pytest.raises(ConfigError, match="max_new_tokens is 128, which leaves no prompt in the model's"):
        plan_generations([row("a")], causal, tokenizer, add_bos=False, batch_tokens=512, max_new_tokens=128)
