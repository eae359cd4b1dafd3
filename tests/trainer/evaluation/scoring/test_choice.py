"""Choice scoring against a plain implementation that takes one option at a time."""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Any

import pytest
import torch

from plugins.tasks.rows import ChoiceRow, RefusedRow
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import _why_no_trees, as_causal_model, evaluating
from trainer.evaluation.scoring.choice import plan_choices, run_choices
from trainer.evaluation.scoring.encoding import EncodedRow, encode_row


def row(prompt: str, *options: str, gold: int = 0, position: str = "f:1") -> ChoiceRow:
    return ChoiceRow(
        row_id=position, position=position, inputs=(prompt,) * len(options), options=options, gold=(gold,)
    )


def score(
    rows: list[ChoiceRow],
    model: Any,
    tokenizer: Any,
    *,
    add_bos: bool = False,
    batch_tokens: int = 512,
    **changes: Any,
) -> list[Answer | RefusedRow]:
    with evaluating(model):
        causal = dataclasses.replace(as_causal_model(model), **changes)
        plan = plan_choices(rows, causal, tokenizer, add_bos=add_bos, batch_tokens=batch_tokens)
        return run_choices(plan, causal, tokenizer, num_passes=plan.num_passes)


def plain_scores(each: ChoiceRow, model: Any, tokenizer: Any, *, add_bos: bool) -> list[float]:
    """Scores by the reference's definition, without batches or padding; no text of an option is left out."""
    scores = []
    bos = [tokenizer.bos_token_id] if add_bos else []
    for prompt, option in zip(each.inputs, each.options, strict=True):
        start = len(bos + tokenizer(prompt, add_special_tokens=False).input_ids)
        ids = bos + tokenizer(prompt + each.separator + option, add_special_tokens=False).input_ids
        while len(tokenizer.decode(ids[len(bos) : start])) > len(prompt + each.separator):
            start -= 1
        with torch.no_grad():
            logprobs_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        taken = [logprobs_TV[at - 1, ids[at]].item() for at in range(start, len(ids))]
        scores.append(sum(taken) / len(taken))
    return scores


def random_rows(tokenizer: Any, seed: int) -> list[ChoiceRow]:
    """Rows of odd pieces: spaces and letters that merge across the prompt's end."""
    generator = random.Random(seed)
    pieces = [
        "the",
        "patient ",
        "aspirin",
        " ",
        "  ",
        "nerve",
        "ulnar\n",
        "x",
        "yes",
        "no ",
        ".",
        "é",
        "maybe",
    ]

    def text(most: int) -> str:
        return "".join(generator.choices(pieces, k=generator.randint(1, most)))

    rows = []
    while len(rows) < 12:
        options = tuple(text(4) for _ in range(generator.randint(2, 5)))
        one = row(text(generator.choice([2, 25])), *options)
        if generator.random() < 0.2:  # an input of its own for each option, and one completion
            head = text(12)
            inputs = tuple(head + text(6) for _ in options)
            one = dataclasses.replace(one, inputs=inputs, options=options[:1] * len(options), separator="")
        has_tokens = all(
            len(tokenizer(f"{prompt}{one.separator}{option}").input_ids)
            > len(tokenizer(prompt).input_ids)
            > 0
            for prompt, option in zip(one.inputs, one.options, strict=True)
        )
        if has_tokens:
            rows.append(one)
    return rows


@pytest.mark.parametrize("no_trees", ["", "the test says so"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_the_plain_definition(
    model: Any, tokenizer: Any, seed: int, attention: str, no_trees: str
) -> None:
    rows = random_rows(tokenizer, seed)
    model.config._attn_implementation = attention
    add_bos = seed % 2 == 1

    answers = score(
        rows,
        model,
        tokenizer,
        add_bos=add_bos,
        batch_tokens=[64, 4096][seed // 2],
        no_trees=no_trees,
    )

    for each, answer in zip(rows, answers, strict=True):
        expected = plain_scores(each, model, tokenizer, add_bos=add_bos)
        assert isinstance(answer, Answer)
        assert answer.option_scores == pytest.approx(expected, abs=2e-5)
        assert answer.value == answer.option_scores.index(max(answer.option_scores))


def test_random_rows_hold_tokens_that_merge_across_the_prompts_end(tokenizer: Any) -> None:
    def merges(prompt: str, option: str) -> bool:
        ids = tokenizer(prompt).input_ids
        return bool(tokenizer(f"{prompt} {option}").input_ids[: len(ids)] != ids)

    rows = [each for seed in range(4) for each in random_rows(tokenizer, seed)]

    assert any(merges(p, o) for each in rows for p, o in zip(each.inputs, each.options, strict=True))
    encoded = [encode_row(0, each, tokenizer, add_bos=False, context_tokens=128) for each in rows]
    loses_text = [each.is_merged for each in encoded if isinstance(each, EncodedRow)]
    assert 0 < sum(loses_text) < len(rows) / 4  # the reference leaves out text in few rows


def counted(model: Any) -> tuple[Any, list[tuple[int, ...]]]:
    """The model as evaluation sees it, and a list of the shapes of its future batches."""
    shapes: list[tuple[int, ...]] = []

    def forward(**batch: Any) -> Any:
        shapes.append(tuple(batch["input_ids"].shape))
        return model(**batch)

    with evaluating(model):
        return dataclasses.replace(as_causal_model(model), forward=forward), shapes


def test_a_row_passes_once_and_single_tokens_cost_nothing(model: Any, tokenizer: Any) -> None:
    prompt = "the patient has a fever and the doctor gives aspirin because"
    rows = [row(prompt, "yes", "no", "heart")]
    causal, shapes = counted(model)

    with evaluating(model):
        plan = plan_choices(rows, causal, tokenizer, add_bos=False, batch_tokens=4096)
        run_choices(plan, causal, tokenizer, num_passes=4)

    # Each option is one token: the prompt's last token predicts it, and it predicts no token itself.
    prompt_tokens = len(tokenizer(prompt).input_ids)
    assert causal.no_trees == ""
    assert (plan.num_passes, plan.num_tokens) == (1, prompt_tokens)
    assert shapes == [(1, prompt_tokens), (1, 1), (1, 1), (1, 1)]


def test_options_pass_whole_where_they_share_little(model: Any, tokenizer: Any) -> None:
    rows = [row("yes", "the patient has a fever and", "doctor gives aspirin because pain goes away")]
    causal, shapes = counted(model)

    with evaluating(model):
        plan = plan_choices(rows, causal, tokenizer, add_bos=False, batch_tokens=4096)
        run_choices(plan, causal, tokenizer, num_passes=plan.num_passes)

    assert plan.trees == [] and len(shapes) == 1 and shapes[0][0] == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_trees_and_whole_sequences_agree_in_either_precision(
    model: Any, tokenizer: Any, attention: str, dtype: torch.dtype
) -> None:
    model.config._attn_implementation = attention
    model.to(dtype)
    rows = [each for seed in range(10, 16) for each in random_rows(tokenizer, seed)]

    trees, plain = (score(rows, model, tokenizer, no_trees=reason) for reason in ("", "the test says so"))

    # bf16 keeps 8 bits, and the tiny model's logits reach 10.
    tolerance = 2e-5 if dtype == torch.float32 else 0.1
    for tree, whole in zip(trees, plain, strict=True):
        assert isinstance(tree, Answer) and isinstance(whole, Answer)
        assert tree.option_scores == pytest.approx(whole.option_scores, abs=tolerance)
        if dtype == torch.float32:
            assert tree.value == whole.value


def test_a_long_tree_in_a_padded_batch_equals_whole_sequences(model: Any, tokenizer: Any) -> None:
    """Attention kernels meet blocks that are fully masked for a token: padding and other options."""
    generator = random.Random(3)
    words = ["fever", "nerve", "aspirin", "heart", "pain", "yes", "the", "no"]

    def text(num_words: int) -> str:
        return " ".join(generator.choices(words, k=num_words))

    rows = [row(text(700), *(text(200) for _ in range(4))), row(text(20), *(text(8) for _ in range(3)))]

    trees, plain = (
        score(rows, model, tokenizer, no_trees=reason, context_tokens=4096, batch_tokens=100_000)
        for reason in ("", "the test says so")
    )

    for tree, whole in zip(trees, plain, strict=True):
        assert isinstance(tree, Answer) and isinstance(whole, Answer)
        assert tree.option_scores == pytest.approx(whole.option_scores, abs=2e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "attention flash_attention_2 takes no mask"),
        ({"model_type": "gpt2"}, "gpt2 is not one of the families"),
        ({"sliding_window": 16}, "it attends through a sliding window"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "its dynamic positions depend on the length"),
    ],
)
def test_a_model_that_cannot_take_a_tree_is_known_by_its_configuration(
    model: Any, changes: dict[str, Any], reason: str
) -> None:
    for name, value in changes.items():
        object.__setattr__(model.config, name, value)

    assert reason in _why_no_trees(model.config, frozenset({"position_ids"}))


def test_a_model_that_ignores_or_refuses_the_mask_is_found_out(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(model).forward

    def deaf(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return forward(self, *args, **kwargs)

    def strict(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        if attention_mask is not None and attention_mask.ndim != 2:
            raise ValueError("attention_mask should be 2D")
        return forward(self, *args, attention_mask=attention_mask, **kwargs)

    for stand_in, reason in (
        (deaf, "its attention does not obey a tree mask"),
        (strict, "its attention refuses a tree mask: ValueError: attention_mask should be 2D"),
    ):
        functools.update_wrapper(stand_in, forward)  # the caller inspects its signature
        monkeypatch.setattr(type(model), "forward", stand_in)
        with evaluating(model):
            assert as_causal_model(model).no_trees.startswith(reason)


def test_equal_options_tie_to_the_first(model: Any, tokenizer: Any) -> None:
    prompt = "the patient has a fever and the doctor gives aspirin because"
    (answer,) = score([row(prompt, "nerve", "heart", "nerve", "heart")], model, tokenizer)

    assert isinstance(answer, Answer)
    assert answer.option_scores[:2] == answer.option_scores[2:]
    assert answer.value in (0, 1)


def test_a_row_that_is_too_long_loses_its_start_and_says_so(model: Any, tokenizer: Any) -> None:
    long = row("fever " * 200 + "the doctor gives", "aspirin", "nothing at all")
    ids = tokenizer([f"{long.inputs[0]} {option}" for option in long.options]).input_ids
    cut = max(map(len, ids)) - 128

    short, answer = score([row("fever", "yes", "no"), long], model, tokenizer)

    assert isinstance(short, Answer) and not short.is_truncated
    assert isinstance(answer, Answer) and answer.is_truncated
    start = len(tokenizer(long.inputs[0]).input_ids) - cut
    for whole, found in zip(ids, answer.option_scores, strict=True):
        kept = torch.tensor([whole[cut:]])
        with torch.no_grad():
            logprobs = model(kept).logits[0].log_softmax(-1)
        taken = [logprobs[at - 1, kept[0, at]].item() for at in range(start, kept.shape[1])]
        assert found == pytest.approx(sum(taken) / len(taken), abs=2e-5)


def test_bos_stays_in_front_of_a_row_that_lost_its_start(model: Any, tokenizer: Any) -> None:
    long = row("fever " * 200, "yes", "no")

    encoded = encode_row(0, long, tokenizer, add_bos=True, context_tokens=32)

    assert isinstance(encoded, EncodedRow)
    assert [sequence[0] for sequence in encoded.sequences] == [tokenizer.bos_token_id] * 2
    assert max(map(len, encoded.sequences)) == 32


def test_rows_that_cannot_be_scored_are_refused_with_the_reason(model: Any, tokenizer: Any) -> None:
    class Blank:
        """A tokenizer that knows no `?`."""

        bos_token_id = 0
        pad_token_id = eos_token_id = 1

        def __call__(self, texts: list[str], **options: Any) -> Any:
            return tokenizer([text.replace("?", "").rstrip() for text in texts], **options)

    rows = [
        row("fever", "yes", "??", position="f:1"),
        row("?", "yes", "no", position="f:2"),
        row("fever", "yes", "no " * 200, position="f:3"),
        row("fever", "yes", "no", position="f:4"),
    ]

    outcomes = score(rows, model, Blank())

    assert [str(each) for each in outcomes[:3]] == [
        "f:1: option 1 '??' tokenises to nothing of its own",
        "f:2: input tokenises to nothing and no BOS opens it",
        "f:3: an option of 200 tokens leaves no prompt in a context of 128 tokens",
    ]
    assert isinstance(outcomes[3], Answer)


def test_a_model_that_diverged_scores_nothing(model: Any, tokenizer: Any) -> None:
    model.lm_head.weight.data.fill_(float("nan"))

    (outcome,) = score([row("fever", "yes", "no")], model, tokenizer)

    assert str(outcome) == "f:1: the model gives it a score that is not a number"


def few_shot_rows(num_rows: int, *, seed: int = 7) -> list[ChoiceRow]:
    """Rows that begin with the same examples, and one that begins like no other."""
    generator = random.Random(seed)
    words = ["fever", "nerve", "aspirin", "heart", "pain", "yes", "the", "no"]

    def text(num_words: int) -> str:
        return " ".join(generator.choices(words, k=num_words))

    examples = text(60)
    rows = [row(f"{examples}\n{text(at % 4 + 1)}", text(1), text(2), text(3)) for at in range(num_rows)]
    return [*rows, row(text(20), "yes", "no", "heart")]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("batch_tokens", [150, 4096])
def test_rows_that_begin_alike_pass_their_beginning_once_with_the_same_scores(
    model: Any, tokenizer: Any, attention: str, batch_tokens: int
) -> None:
    model.config._attn_implementation = attention
    rows = few_shot_rows(9)
    causal, _ = counted(model)
    plan = plan_choices(rows, causal, tokenizer, add_bos=True, batch_tokens=batch_tokens)
    alone = [
        plan_choices([each], causal, tokenizer, add_bos=True, batch_tokens=batch_tokens) for each in rows
    ]

    answers = score(rows, model, tokenizer, add_bos=True, batch_tokens=batch_tokens)

    assert max(len(group.rows) for batch in plan.trees for group in batch) > 2
    assert plan.num_tokens < sum(each.num_tokens for each in alone) / 2
    for each, answer in zip(rows, answers, strict=True):
        assert isinstance(answer, Answer)
        expected = plain_scores(each, model, tokenizer, add_bos=True)
        assert answer.option_scores == pytest.approx(expected, abs=2e-5)


def test_a_row_that_is_asked_twice_and_one_that_continues_another_share_a_tree(
    model: Any, tokenizer: Any
) -> None:
    prompt = "the patient has a fever and the doctor gives aspirin because pain goes away"
    rows = [row(prompt, "yes", "no no"), row(prompt, "yes", "no no"), row(f"{prompt} when", "yes", "heart")]
    causal, _ = counted(model)
    plan = plan_choices(rows, causal, tokenizer, add_bos=False, batch_tokens=4096)

    answers = score(rows, model, tokenizer)

    assert [[len(group.rows) for group in batch] for batch in plan.trees] == [[3]]
    for each, answer in zip(rows, answers, strict=True):
        assert isinstance(answer, Answer)
        assert answer.option_scores == pytest.approx(
            plain_scores(each, model, tokenizer, add_bos=False), abs=2e-5
        )


def test_a_tree_of_several_rows_stays_within_its_limits(model: Any, tokenizer: Any) -> None:
    rows = few_shot_rows(40)
    causal, _ = counted(model)

    plans = {
        limit: plan_choices(rows, causal, tokenizer, add_bos=False, batch_tokens=limit)
        for limit in (100, 4096)
    }

    for limit, plan in plans.items():
        groups = [group for batch in plan.trees for group in batch]
        shared = [group for group in groups if len(group.rows) > 1]
        assert shared and sum(len(group.rows) for group in groups) == 41
        assert all(group.tree_tokens <= min(limit, 3 * group.head_tokens) for group in shared)
