"""Tasks in, results out: subsets, refused rows, failing tasks, and rows divided over ranks."""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import RefusedRow
from plugins.tasks.task import Task
from schemas.errors import ConfigError, InputError
from trainer.evaluation.evaluator import Evaluator, TaskResult
from trainer.evaluation.ranks import Ranks, TaskFailed
from trainer.evaluation.report.tables import print_table
from trainer.evaluation.scoring.causal_model import as_causal_model, evaluating

Write = Callable[..., Path]
ROOT = Path(__file__).parents[3]

TWO_RANKS = """
import json, sys
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM
from plugins.tokenizers import load_tokenizer
from trainer.evaluation.evaluator import Evaluator
from plugins.tasks.lookup import load_tasks

dist.init_process_group("gloo")
model_dir, task_dir, output = sys.argv[1:]
evaluator = Evaluator(load_tasks([task_dir]), load_tokenizer(model_dir), batch_tokens=64, max_new_tokens=6)
model = AutoModelForCausalLM.from_pretrained(model_dir)
found = {"whole": evaluator.run(model)}
mesh = init_device_mesh("cpu", (2,))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
found["sharded"] = evaluator.run(model)
with open(f"{output}.{dist.get_rank()}", "w") as file:
    json.dump({name: [[r.scores, r.predictions()] for r in results] for name, results in found.items()}, file)
dist.destroy_process_group()
"""


def rounded(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers without the last digits of their scores, which depend on how rows are batched."""
    return [
        each
        | {"option_scores": [round(score, 3) for score in each.get("option_scores", [])]}
        | {"bits": round(each.get("bits", 0.0), 2)}
        for each in predictions
    ]


def comparable(results: list[TaskResult]) -> list[Any]:
    return [[round_all(result.scores), rounded(result.predictions())] for result in results]


def round_all(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, 4) for name, score in scores.items()}


def evaluate_as_threads(
    world_size: int, make: Callable[[Ranks], Evaluator], model: Any, **run: Any
) -> list[Any]:
    """Run one evaluator a rank, each in a thread; gathers meet at a barrier."""
    barrier = threading.Barrier(world_size, timeout=60)
    board: list[Any] = [None] * world_size
    returned: list[Any] = [None] * world_size
    models = [copy.deepcopy(model) for _ in range(world_size)]

    def work(rank: int) -> None:
        def gather(value: Any) -> list[Any]:
            board[rank] = value
            barrier.wait()
            gathered = list(board)
            barrier.wait()
            return gathered

        try:
            evaluator = make(Ranks(rank, world_size, gather))
            returned[rank] = evaluator.run(models[rank], **run)
        except Exception as error:
            returned[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return returned


def test_results_hold_scores_rows_and_answers(task_dir: Path, model: Any, tokenizer: Any) -> None:
    evaluator = Evaluator(load_tasks([str(task_dir)]), tokenizer, max_new_tokens=6, intervals=True)

    mcq, qa = evaluator.run(model)

    assert list(mcq.scores) == ["accuracy"] and list(qa.scores) == ["exact_match", "token_f1"]
    assert (len(mcq.rows), len(qa.rows), mcq.refused, mcq.error) == (7, 5, [], "")
    right = [answer.value in row.gold for row, answer in zip(mcq.rows, mcq.answers, strict=True)]  # type: ignore[union-attr]
    assert mcq.headline == sum(right) / 7
    low, high = mcq.intervals["accuracy"]
    assert low <= mcq.headline <= high
    assert mcq.predictions()[0].keys() == {"id", "position", "answer", "gold", "option_scores"}
    assert json.loads(json.dumps(mcq.summary()))["rows"] == 7


def test_one_row_alone_has_a_score_and_no_interval(
    task_dir: Path, write_rows: Write, model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads((task_dir / "mcq.jsonl").read_text().splitlines()[0])
    path = write_rows(task_dir / "single.jsonl", first)

    [single] = Evaluator(load_tasks([str(path)]), tokenizer, intervals=True).run(model)

    assert (len(single.rows), single.intervals) == (1, {})
    print_table({"model": [single]})
    cells = capsys.readouterr().out.splitlines()[1].split()
    assert cells == ["single", "choice", "1", "accuracy", f"{single.headline:.3f}"]


def test_bad_rows_are_named_in_the_result_and_not_scored(
    task_dir: Path, write_rows: Write, model: Any, tokenizer: Any
) -> None:
    good = [json.loads(line) for line in (task_dir / "mcq.jsonl").read_text().splitlines()]
    path = write_rows(task_dir / "mcq.jsonl", *good[:3], "{", {**good[3], "gold_index": 9}, good[4])

    result = Evaluator(load_tasks([str(path)]), tokenizer).run(model)[0]

    assert len(result.rows) == 4
    assert [str(row) for row in result.refused] == [
        f"{path}:4: bad JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        f"{path}:5: gold_index is 9, expected 0 to 2",
    ]


def test_max_rows_takes_the_same_rows_for_the_same_seed(task_dir: Path, model: Any, tokenizer: Any) -> None:
    def positions(seed: int) -> list[str]:
        evaluator = Evaluator(load_tasks([str(task_dir / "mcq.jsonl")]), tokenizer, max_rows=3, seed=seed)
        return [row.position.rpartition(":")[2] for row in evaluator.run(model)[0].rows]

    assert positions(17) == positions(17) == ["1", "3", "4"]
    assert len({tuple(positions(seed)) for seed in range(5)}) > 1


def test_the_model_and_random_states_are_left_as_found(task_dir: Path, model: Any, tokenizer: Any) -> None:
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    Evaluator(load_tasks([str(task_dir)]), tokenizer, max_new_tokens=4).run(model)

    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.rand(2), expected) and torch.is_grad_enabled()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def broken(task_dir: Path) -> Task:
    def source() -> Any:
        raise OSError("the disk is gone")

    return Task(name="broken", domain="medicine", kind="choice", metrics=("accuracy",), source=source)


def test_a_failing_task_is_raised_or_reported(task_dir: Path, model: Any, tokenizer: Any) -> None:
    evaluator = Evaluator([broken(task_dir), *load_tasks([str(task_dir)])], tokenizer, max_new_tokens=4)

    with pytest.raises(OSError, match="the disk is gone"):
        evaluator.run(model)
    failed, mcq, _ = evaluator.run(model, keep_going=True)
    assert (failed.error, failed.scores) == ("OSError: the disk is gone", {})
    assert mcq.error == "" and mcq.scores


def test_options_that_pass_one_by_one_are_told_once(
    task_dir: Path, model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = load_tasks([str(task_dir / "mcq.jsonl")])
    trees = Evaluator(tasks, tokenizer).run(model)
    assert capsys.readouterr().err == ""
    model.config.sliding_window = 4096
    evaluator = Evaluator(tasks, tokenizer)

    _, plain = (evaluator.run(model) for _ in range(2))

    assert comparable(plain) == comparable(trees)
    assert capsys.readouterr().err == (
        "evaluation: each option passes through the model by itself, since it attends through a sliding "
        "window.\n"
    )


def test_composers_model_takes_trees_too(model: Any, tokenizer: Any) -> None:
    from composer.models import HuggingFaceModel

    with evaluating(model):
        assert as_causal_model(HuggingFaceModel(model, tokenizer=tokenizer)).no_trees == ""


def test_a_task_of_which_no_row_can_be_scored_fails(task_dir: Path, model: Any, tokenizer: Any) -> None:
    model.lm_head.weight.data.fill_(float("nan"))

    with pytest.raises(InputError, match="evaluation task mcq: no row could be scored"):
        Evaluator(load_tasks([str(task_dir / "mcq.jsonl")]), tokenizer).run(model)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_together_answer_what_one_answers(
    task_dir: Path, model: Any, tokenizer: Any, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = load_tasks([str(task_dir)])
    settings: dict[str, Any] = {"batch_tokens": 64, "max_new_tokens": 4}
    model.eval()
    alone = Evaluator(tasks, tokenizer, **settings).run(model)
    calls: dict[int, int] = {}
    forward = type(model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls[threading.get_ident()] = calls.get(threading.get_ident(), 0) + 1
        return forward(self, *args, **kwargs)

    functools.update_wrapper(counted, forward)  # the caller inspects its signature
    monkeypatch.setattr(type(model), "forward", counted)
    # Only choices: without torch.distributed, generate cannot keep threads in step.
    choices = evaluate_as_threads(
        world_size, lambda ranks: Evaluator(tasks[:1], tokenizer, **settings, ranks=ranks), model
    )

    assert [comparable(each) for each in choices] == [comparable(alone[:1])] * world_size
    assert len(set(calls.values())) == 1 and len(calls) == world_size


def test_a_task_that_fails_on_one_rank_fails_on_all_and_the_rest_goes_on(
    task_dir: Path, model: Any, tokenizer: Any
) -> None:
    good = load_tasks([str(task_dir / "mcq.jsonl")])

    def make(ranks: Ranks) -> Evaluator:
        bad = broken(task_dir) if ranks.rank == 1 else Task(**{**_fields(good[0]), "name": "broken"})
        return Evaluator([bad, *good], tokenizer, ranks=ranks)

    for failed, mcq in evaluate_as_threads(2, make, model, keep_going=True):
        assert failed.error == "OSError: the disk is gone"
        assert len(mcq.rows) == 7
    assert all(isinstance(each, TaskFailed) for each in evaluate_as_threads(2, make, model))


def _fields(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in Task.__dataclass_fields__}


def test_wrong_settings_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="max_rows is 0, expected at least 1"):
        Evaluator([], tokenizer, max_rows=0)


def test_a_refused_row_reads_as_position_and_reason() -> None:
    assert str(RefusedRow(position="a.jsonl:3", reason="input is empty")) == "a.jsonl:3: input is empty"


@pytest.mark.slow
def test_two_processes_answer_what_one_answers_whole_and_sharded(
    tmp_path: Path, task_dir: Path, tiny_model_dir: Path, model: Any, tokenizer: Any, write_rows: Write
) -> None:
    texts = ["the patient has a fever " * 40, "pain goes away", "the drug works"]
    write_rows(task_dir / "texts.jsonl", *({"text": text} for text in texts))
    script = tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [str(script), str(tiny_model_dir), str(task_dir), str(tmp_path / "found")]

    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "each option passes through the model by itself" not in done.stderr
    tasks = load_tasks([str(task_dir)])
    alone = comparable(Evaluator(tasks, tokenizer, batch_tokens=64, max_new_tokens=6).run(model))
    for rank in range(2):
        found = json.loads((tmp_path / f"found.{rank}").read_text())
        assert found.keys() == {"whole", "sharded"}
        for results in found.values():
            assert [[round_all(scores), rounded(answers)] for scores, answers in results] == alone
