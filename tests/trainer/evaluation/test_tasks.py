"""The papers' tasks from rows to scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugins.tasks import DOMAINS
from plugins.tasks.lookup import load_tasks
from tests.plugins.tasks.test_adaptllm import METRICS_OF, made_up_row, tasks_root
from trainer.evaluation.evaluator import Evaluator

__all__ = ["tasks_root"]  # a fixture

Write = Callable[..., Path]


def test_all_thirteen_run_from_rows_to_scores(tasks_root: Path, model: Any, tokenizer: Any) -> None:
    results = Evaluator(
        load_tasks([*DOMAINS], root=str(tasks_root)), tokenizer, max_new_tokens=3, max_rows=4
    ).run(model)

    assert {result.task.name: tuple(result.scores) for result in results} == METRICS_OF
    assert all(0 <= score <= 1 for result in results for score in result.scores.values())
    assert all(len(result.rows) == 4 and not result.refused for result in results)


def test_repeated_rows_are_counted_and_named_and_scored_all_the_same(
    tmp_path: Path, write_rows: Write, model: Any, tokenizer: Any
) -> None:
    one, two = (made_up_row("MQP", number) for number in (0, 1))
    path = write_rows(tmp_path / "MQP.jsonl", one, two, one | {"id": 7}, one | {"gold_index": 1})

    result = Evaluator(load_tasks(["MQP"], root=str(tmp_path)), tokenizer).run(model)[0]

    assert result.repeated == [f"{path}:3 repeats {path}:1"]
    assert len(result.rows) == 4
    assert result.summary()["repeated"] == result.repeated
