"""Log-probabilities from float32 logits, whatever precision the model computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tasks.lookup import load_tasks
from tests.trainer.evaluation.scoring.test_choice import row, score
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating
from trainer.evaluation.scoring.logits import find_head, logits_at

PROMPT = "the patient has a fever and the doctor gives aspirin because"


@contextlib.contextmanager
def low_precision(model: Any, way: str) -> Iterator[None]:
    """Weights in bfloat16, or float32 weights under autocast as in training."""
    if way == "weights":
        model.to(torch.bfloat16)
        yield
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def hidden_at_end(model: Any, ids: list[int]) -> torch.Tensor:
    hidden: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda _, given, __: hidden.append(given[0][0, -1]))
    with torch.no_grad():
        model(torch.tensor([ids]))
    hook.remove()
    return hidden[0]


@pytest.fixture
def near_tie(model: Any, tokenizer: Any) -> Any:
    """The tiny model, which finds `no` likelier than `yes` by less than bfloat16 can represent."""
    yes, no = (tokenizer(f"{PROMPT} {option}").input_ids[-1] for option in ("yes", "no"))
    weights = model.lm_head.weight.data
    hidden = hidden_at_end(model, tokenizer(f"{PROMPT} yes").input_ids[:-1])
    weights[yes] *= 20.0 / (weights[yes] @ hidden)  # a logit of about 20, where bfloat16 has steps of 1/8
    weights.copy_(weights.bfloat16())
    weights[no] = weights[yes]
    axis = int((hidden.abs() - 0.5).abs().argmin())
    step = torch.nextafter(weights[yes, axis].bfloat16(), hidden[axis].bfloat16() * torch.inf).float()
    weights[no, axis] = step
    return model


@pytest.mark.parametrize("way", ["weights", "autocast"])
def test_options_that_tie_in_bfloat16_are_told_apart(near_tie: Any, tokenizer: Any, way: str) -> None:
    ids = tokenizer(f"{PROMPT} yes").input_ids
    no = tokenizer(f"{PROMPT} no").input_ids[-1]
    with low_precision(near_tie, way):
        with torch.no_grad():
            rounded = near_tie(torch.tensor([ids[:-1]])).logits[0, -1]
        hidden = hidden_at_end(near_tie, ids[:-1]).float()
        (answer,) = score([row(PROMPT, "yes", "no")], near_tie, tokenizer)

    exact = (near_tie.lm_head.weight.float() @ hidden).log_softmax(-1)
    assert rounded.dtype == torch.bfloat16 and rounded[ids[-1]] == rounded[no]
    assert isinstance(answer, Answer) and (answer.value, answer.is_tied) == (1, False)
    assert answer.option_scores == pytest.approx([exact[ids[-1]].item(), exact[no].item()], abs=1e-5)


def test_ties_are_counted_named_and_go_to_the_first_option(
    near_tie: Any, tokenizer: Any, tmp_path: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    near_tie.lm_head.weight.data[tokenizer(f"{PROMPT} no").input_ids[-1]] = near_tie.lm_head.weight.data[
        tokenizer(f"{PROMPT} yes").input_ids[-1]
    ]
    path = write_rows(
        tmp_path / "ties.jsonl",
        {"input": PROMPT, "options": ["no", "yes"], "gold_index": 1},
        {"input": "the patient", "options": ["heart", "lung"], "gold_index": 0},
    )

    (result,) = Evaluator(load_tasks([str(path)]), tokenizer, intervals=True).run(near_tie)

    assert result.tied == result.summary()["tied"] == [f"{path}:1"]
    assert result.answers[0].value == 0
    from trainer.evaluation.callback import _notes
    from trainer.evaluation.report.tables import print_table

    said = "ties: 1 rows have several best options; the first counts"
    assert _notes(result, is_first=False) == [f"{said}; the first: {path}:1"]
    print_table({"m": [result]})
    assert said in capsys.readouterr().out


SMALL = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "phi": {**SMALL, "num_attention_heads": 4, "intermediate_size": 48},  # an output layer with a bias
    "rwkv": {**SMALL, "attention_hidden_size": 32, "context_length": 64},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_chosen_positions_are_those_of_the_model(family: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family]))
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=2.0)
    tokens_BT = torch.randint(96, (2, 7))
    inputs = {"input_ids": tokens_BT, "attention_mask": torch.ones_like(tokens_BT)}
    rows_N, positions_N = torch.tensor([[1, 0, 1], [0, 4, 6]])

    with evaluating(model):
        head = find_head(model, model, torch.device("cpu"))
        assert head is not None
        found = logits_at(model, head, rows_N, positions_N, inputs)
        expected = model(**inputs).logits[rows_N, positions_N]

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_model_whose_output_layer_cannot_be_had_says_what_its_scores_are_worth(model: Any) -> None:
    model.to(torch.bfloat16)
    model.get_output_embeddings = lambda: None

    with evaluating(model):
        seen = as_causal_model(model)

    assert seen.head is None
    assert list(seen.notes({"choice"})) == [
        "log-probabilities are as exact as the model's own logits, since its output layer cannot be "
        "computed in float32; options may tie."
    ]
