"""The first token of an option, when one token spans the prompt's end and the option's start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import ChoiceRow, RefusedRow
from tests.tiny import save_bpe
from tests.trainer.evaluation.scoring.test_choice import row, score
from trainer.evaluation.command import main
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.encoding import EncodedRow, encode_row


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer with a token for `: yes`, and one for each word with the blank before it."""
    from tokenizers import Regex, pre_tokenizers

    from plugins.tokenizers import load_tokenizer

    folder = save_bpe(
        tmp_path_factory.mktemp("merging"),
        [": yes it is so answer no"] * 9,
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        pre_tokenizer=pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r": yes| ?\w+|\W"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        bos_token="<s>",
        eos_token="</s>",
    )
    return load_tokenizer(folder)


def scored(each: ChoiceRow, tokenizer: Any, **options: Any) -> tuple[list[list[str]], bool]:
    """The tokens of each option, and whether the row is marked as merged."""
    encoded = encode_row(0, each, tokenizer, **{"add_bos": False, "context_tokens": 64, **options})
    assert isinstance(encoded, EncodedRow)
    pairs = zip(encoded.sequences, encoded.starts, strict=True)
    return [[tokenizer.decode([token]) for token in ids[at:]] for ids, at in pairs], encoded.is_merged


@pytest.mark.parametrize("add_bos", [False, True])
def test_a_token_that_holds_the_boundary_belongs_to_the_option(merging: Any, add_bos: bool) -> None:
    ids = merging("answer: yes it is so").input_ids
    assert [merging.decode([each]) for each in ids[-4:]] == [": yes", " it", " is", " so"]
    found = scored(row("answer:", "yes it is so", "no", "yes"), merging, add_bos=add_bos)
    assert found == ([[": yes", " it", " is", " so"], [" no"], [": yes"]], True)


def test_a_token_of_the_prompts_end_and_a_blank_is_no_part_of_the_option(tokenizer: Any) -> None:
    """As in the reference: `answer ` is one token where an option follows, `answer` where none does."""
    assert tokenizer("question answer").input_ids != tokenizer("question answer yes").input_ids[:2]
    assert scored(row("question answer", "yes", "no"), tokenizer) == ([["yes"], ["no"]], False)


def test_an_option_whose_first_token_takes_several_of_the_prompts_is_scored_from_that_token(
    merging: Any,
) -> None:
    # `:` and ` ` are two tokens of the prompt alone, so the reference would leave out `: yes` and ` it`.
    separate = ChoiceRow(
        row_id="r",
        position="f:1",
        inputs=("answer: ",) * 2,
        options=("yes it", "no"),
        gold=(0,),
        separator="",
    )
    assert scored(separate, merging) == ([[": yes", " it"], [" no"]], True)


def test_merged_options_are_scored_counted_and_named(
    merging: Any, model: Any, tmp_path: Path, write_rows: Any
) -> None:
    (answer,) = score([row("answer:", "yes", "no")], model, merging)
    assert isinstance(answer, Answer) and answer.is_merged
    path = write_rows(
        tmp_path / "m.jsonl",
        {"input": "answer:", "options": ["yes", "no"], "gold_index": 0},
        {"input": "answer", "options": ["so", "no"], "gold_index": 0},
    )
    evaluator = Evaluator(load_tasks([str(path)]), merging)
    (result,) = evaluator.run(model)
    assert result.merged == result.summary()["merged"] == [f"{path}:1"]
    saved = result.summary() | {"answers": result.predictions()}
    again = evaluator.restored(result.task, saved)
    assert again is not None and again.merged == result.merged


def test_an_option_that_is_one_token_with_its_whole_input_needs_a_bos(merging: Any) -> None:
    whole = row(":", "yes", "no")
    refused = encode_row(0, whole, merging, add_bos=False, context_tokens=64)
    assert refused == RefusedRow(
        position="f:1", reason="option 0 'yes' is one token with its whole input and no BOS opens it"
    )
    assert scored(whole, merging, add_bos=True) == ([[": yes"], [" no"]], True)


@pytest.mark.slow
def test_a_task_without_a_scorable_row_leaves_the_others_their_scores(
    tiny_model_dir: Path, task_dir: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"input": "yes", "options": ["no " * 200, "yes " * 200], "gold_index": 0}
    path = write_rows(task_dir / "a_long.jsonl", long)

    assert main(["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "3"]) == 1

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].split() == ["a_long", "choice", "0", "accuracy", "failed"]
    assert lines[2].split()[:4] == ["mcq", "choice", "7", "accuracy"]
    reason = f"{path}:1: an option of 200 tokens leaves no prompt in a context of 128 tokens"
    assert f"a_long failed: evaluation task a_long: no row could be scored. The first: {reason}." in lines
    assert f"  {reason}" in lines
