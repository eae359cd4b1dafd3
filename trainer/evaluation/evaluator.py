"""Tasks and a model in, results out, on one process or many.

Rank r of W takes rows r::W, so that long and short rows spread evenly. Where the model is sharded all ranks
make equally many forward passes, since each pass needs them all. Then every rank has all answers.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from plugins.tasks import METRICS
from plugins.tasks.rows import ChoiceRow, GenerateRow, RefusedRow, Row, repeats, rows_digest
from plugins.tasks.task import Task, read_rows
from plugins.tokenizers import opening_ids
from schemas.errors import ConfigError, InputError
from trainer.evaluation.ranks import Ranks, TaskFailed, describe
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.chat_turns import as_chat
from trainer.evaluation.scoring.choice import plan_choices, run_choices
from trainer.evaluation.scoring.generation import plan_generations, run_generations
from trainer.evaluation.scoring.language_model import CausalModel, as_causal_model, evaluating
from trainer.evaluation.scoring.metrics import bootstrap_interval
from trainer.evaluation.scoring.sglang_model import ServedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What came of one task.

    Attributes:
        task: The task.
        scores: By metric, shares of 1; empty if the task failed.
        intervals: By metric, 95% bootstrap intervals; empty unless asked for.
        rows: The rows that were scored.
        answers: The model's answers to them.
        refused: Rows that were not scored, each with its reason.
        repeated: Rows that repeat an earlier one; they are scored as the others are.
        found: The scored rows that stand in the training text, each with the words they share; None
            where it was not looked at.
        unseen_scores: By metric, on the rows that were not found; empty if all were, or `found` is None.
        unseen_intervals: As `intervals`, on these rows.
        rows_digest: Of the rows that were to be scored.
        chat: Of `Chat.summary`, where rows were turns of a conversation.
        seconds: Time taken, reading included.
        error: Why the task failed; empty if it did not.
    """

    task: Task
    scores: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list, repr=False)
    answers: list[Answer] = field(default_factory=list, repr=False)
    refused: list[RefusedRow] = field(default_factory=list, repr=False)
    repeated: list[str] = field(default_factory=list, repr=False)
    found: dict[str, str] | None = field(default=None, repr=False)
    unseen_scores: dict[str, float] = field(default_factory=dict)
    unseen_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows_digest: str = ""
    chat: dict[str, Any] | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def headline(self) -> float:
        """The score of the task's first metric."""
        return self.scores[self.task.metrics[0]]

    @property
    def num_unseen(self) -> int:
        """Scored rows that were not found in the training text."""
        return len(self.rows) - len(self.found or ())

    @property
    def truncated(self) -> list[str]:
        """Where the rows stand whose prompt lost its start."""
        return self._where(lambda answer: answer.is_truncated)

    @property
    def tied(self) -> list[str]:
        """Where the rows stand of which several options have the best score; the first one counts."""
        return self._where(lambda answer: answer.is_tied)

    @property
    def merged(self) -> list[str]:
        """Where the rows stand of which an option shares a token with its prompt."""
        return self._where(lambda answer: answer.is_merged)

    def _where(self, holds: Callable[[Answer], bool]) -> list[str]:
        pairs = zip(self.rows, self.answers, strict=True)
        return [row.position for row, answer in pairs if holds(answer)]

    def summary(self) -> dict[str, Any]:
        """The result as plain values, without the single answers."""
        unseen: dict[str, Any] = {}
        if self.found is not None:
            unseen = {
                "found": [{"position": at, "words": words} for at, words in self.found.items()],
                "unseen": {
                    "rows": self.num_unseen,
                    "scores": self.unseen_scores,
                    "intervals": {name: list(ends) for name, ends in self.unseen_intervals.items()},
                },
            }
        return {
            "task": self.task.name,
            "domain": self.task.domain,
            "kind": self.task.kind,
            "scores": self.scores,
            "intervals": {metric: list(interval) for metric, interval in self.intervals.items()},
            "rows": len(self.rows),
            **unseen,
            "truncated": self.truncated,
            "tied": self.tied,
            "merged": self.merged,
            "repeated": self.repeated,
            "refused": [{"position": row.position, "reason": row.reason} for row in self.refused],
            "rows_digest": self.rows_digest,
            "chat": self.chat,
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """Each scored row's answer beside what was right, as plain values."""
        return [_prediction(row, answer) for row, answer in zip(self.rows, self.answers, strict=True)]


class Evaluator:
    """Evaluates models on tasks. Rows are read once, so that all evaluations see the same ones.

    Args:
        tasks: What is evaluated.
        tokenizer: The model's; it should treat special-token strings as text (`load_tokenizer` does).
        add_bos: Whether a prompt is opened, as the tokenizer itself opens a text or else with BOS; None opens
            it as the tokenizer does, or as the chat template does.
        chat_template: Whether rows are turns of the tokenizer's chat template; or another one's name or file.
        system: Text of the system turn.
        batch_tokens: Padded tokens of a forward pass.
        max_new_tokens: Longest generated answer, in tokens.
        max_rows: Rows of a task, chosen by `seed`; None takes all.
        seed: Of the choice of rows and of the bootstrap.
        intervals: Whether 95% intervals are computed.
        ranks: This process among its peers; None asks torch.distributed.
        found: Of `contamination.find_rows`; None where training text was not looked at.

    Raises:
        ConfigError: `add_bos` is asked for and the tokenizer has no BOS, there is no such chat template, or a
            figure is below 1.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        tokenizer: Any,
        *,
        add_bos: bool | None = None,
        chat_template: bool | str = False,
        system: str | None = None,
        batch_tokens: int = 8192,
        max_new_tokens: int = 100,
        max_rows: int | None = None,
        seed: int = 17,
        intervals: bool = False,
        ranks: Ranks | None = None,
        found: Mapping[str, Mapping[str, str]] | None = None,
    ):
        for name, value in {
            "batch_tokens": batch_tokens,
            "max_new_tokens": max_new_tokens,
            "max_rows": max_rows,
        }.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, expected at least 1.")
        opening = opening_ids(tokenizer, add_bos)
        if add_bos and not opening:
            raise ConfigError(
                "add_bos is true, but the tokenizer has no BOS token; leave it out or set it false."
            )
        self.tasks = list(tasks)
        self.tokenizer = tokenizer
        self.add_bos = bool(opening)
        self.chat = as_chat(tokenizer, chat_template, system, add_bos=add_bos)
        if self.chat is not None:
            self.tokenizer = self.chat.tokenizer
            self.add_bos = bool(add_bos) and not self.chat.opens_with_bos
        self.batch_tokens = batch_tokens
        self.max_new_tokens = max_new_tokens
        self.max_rows = max_rows
        self.seed = seed
        self.intervals = intervals
        self.ranks = ranks
        self.found = found
        self._rows: dict[str, tuple[list[Row], list[RefusedRow], list[str]]] = {}
        self._is_told = False

    def run(
        self,
        model: torch.nn.Module | ServedModel,
        *,
        keep_going: bool = False,
        tasks: Sequence[Task] | None = None,
        on_result: Callable[[TaskResult], None] = lambda result: None,
        is_whole: bool = False,
    ) -> list[TaskResult]:
        """Evaluate a model on all tasks; it is left as it was found.

        Args:
            model: A Hugging Face causal LM, or Composer's wrapper of one, under DDP or FSDP or neither;
                or one behind a server.
            keep_going: Whether a failed task is a result with an `error`, rather than an exception.
                A sharded model that fails in a forward pass raises all the same: its peers wait in it.
            tasks: Those of the evaluator's tasks to run; None runs all.
            on_result: Called with each task's result as it comes.
            is_whole: Whether each rank has a whole model of its own; else one that is no DDP replica is
                taken to be sharded where there are several ranks.

        Returns:
            One result a task, the same on every rank.
        """
        ranks = self.ranks or Ranks.current()
        with contextlib.nullcontext() if isinstance(model, ServedModel) else evaluating(model):
            seen = model if isinstance(model, ServedModel) else self._look_at(model, ranks, is_whole)
            results = []
            for task in self.tasks if tasks is None else tasks:
                results.append(self._run_task(task, seen, ranks, keep_going))
                on_result(results[-1])
            return results

    def restored(self, task: Task, saved: Mapping[str, Any]) -> TaskResult | None:
        """A task's result from what was saved of it, if its rows are still the same.

        Args:
            task: One of the evaluator's tasks.
            saved: Of `TaskResult.summary`, with its `predictions` as `answers`.
        """
        rows, _, repeated = self._rows_of(task)
        if (
            saved["error"]
            or saved["rows_digest"] != rows_digest(rows)
            or saved.get("chat") != self.chat_summary
        ):
            return None
        answers = {answer["position"]: _answer(answer) for answer in saved["answers"]}
        scored = [(row, answers[row.position]) for row in rows if row.position in answers]
        refused = [RefusedRow(**row) for row in saved["refused"]]
        return self._measured(task, scored, refused, repeated, saved["rows_digest"], saved["seconds"])

    def _look_at(self, model: torch.nn.Module, ranks: Ranks, is_whole: bool) -> CausalModel:
        """Learn how to call a model; says once how it departs from the usual way, and why."""
        kinds = {task.kind for task in self.tasks}
        seen = as_causal_model(model, world_size=1 if is_whole else ranks.world_size, kinds=kinds)
        if ranks.rank == 0 and not self._is_told:
            for note in seen.notes(kinds):
                print(f"evaluation: {note}", file=sys.stderr, flush=True)
            self._is_told = True
        return seen

    def _run_task(
        self, task: Task, model: CausalModel | ServedModel, ranks: Ranks, keep_going: bool
    ) -> TaskResult:
        began = time.monotonic()
        try:
            result = self._result(task, model, ranks, began)
        except Exception as error:  # a task's parser, metric or the model may raise anything
            if not keep_going or not (ranks.world_size == 1 or isinstance(error, TaskFailed)):
                raise
            return TaskResult(task=task, seconds=time.monotonic() - began, error=describe(error))
        if result.error and not keep_going:
            raise InputError(result.error)
        return result

    def _result(self, task: Task, model: CausalModel | ServedModel, ranks: Ranks, began: float) -> TaskResult:
        rows, refused, repeated = ranks.together(lambda: self._rows_of(task))
        if task.context_tokens is not None:
            model = replace(model, context_tokens=min(model.context_tokens, task.context_tokens))
        mine = rows[ranks.rank :: ranks.world_size]
        answer = self._answer_choices if task.kind == "choice" else self._answer_prompts
        outcomes: list[Answer | RefusedRow | None] = [None] * len(rows)
        for rank, theirs in enumerate(ranks.gather(answer(mine, model, ranks))):
            outcomes[rank :: ranks.world_size] = theirs
        scored = [(row, out) for row, out in zip(rows, outcomes, strict=True) if isinstance(out, Answer)]
        refused = [*refused, *(out for out in outcomes if isinstance(out, RefusedRow))]
        return ranks.together(
            lambda: self._measured(
                task, scored, refused, repeated, rows_digest(rows), time.monotonic() - began
            )
        )

    @property
    def chat_summary(self) -> dict[str, Any] | None:
        """What scores say of the chat template; None where rows are no turns of one."""
        return None if self.chat is None else self.chat.summary

    def _rows_of(self, task: Task) -> tuple[list[Row], list[RefusedRow], list[str]]:
        if task.name not in self._rows:
            rows, refused = read_rows(task)
            repeated = repeats(rows)
            if self.max_rows is not None and len(rows) > self.max_rows:
                chosen = random.Random(f"{self.seed}:{task.name}").sample(range(len(rows)), self.max_rows)
                rows = [rows[at] for at in sorted(chosen)]
            self._rows[task.name] = rows, refused, repeated
        return self._rows[task.name]

    def _answer_choices(
        self, rows: list[Row], model: CausalModel | ServedModel, ranks: Ranks
    ) -> list[Answer | RefusedRow]:
        mine = cast(list[ChoiceRow], rows)
        if self.chat is not None:
            mine = [self.chat.choice(row) for row in mine]
        if isinstance(model, ServedModel):
            served = model
            return ranks.together(lambda: served.answer_choices(mine, self.tokenizer, add_bos=self.add_bos))
        plan = ranks.together(
            lambda: plan_choices(
                mine, model, self.tokenizer, add_bos=self.add_bos, batch_tokens=self.batch_tokens
            )
        )
        most = max(ranks.gather(plan.num_forwards)) if model.is_sharded else plan.num_forwards

        def work() -> list[Answer | RefusedRow]:
            return run_choices(plan, mine, model, self.tokenizer, num_forwards=most)

        return work() if model.is_sharded else ranks.together(work)

    def _answer_prompts(
        self, rows: list[Row], model: CausalModel | ServedModel, ranks: Ranks
    ) -> list[Answer | RefusedRow]:
        mine = cast(list[GenerateRow], rows)
        if self.chat is not None:
            mine = [self.chat.generate(row) for row in mine]
        limit = self.max_new_tokens
        if isinstance(model, ServedModel):
            served = model
            return ranks.together(
                lambda: served.answer_prompts(
                    mine, self.tokenizer, add_bos=self.add_bos, max_new_tokens=limit
                )
            )
        plan = ranks.together(
            lambda: plan_generations(
                mine,
                model,
                self.tokenizer,
                add_bos=self.add_bos,
                batch_tokens=self.batch_tokens,
                max_new_tokens=limit,
            )
        )
        most = max(ranks.gather(plan.num_calls)) if model.is_sharded else plan.num_calls

        def work() -> list[Answer | RefusedRow]:
            return run_generations(plan, model, self.tokenizer, max_new_tokens=limit, num_calls=most)

        return work() if model.is_sharded else ranks.together(work)

    def _measured(
        self,
        task: Task,
        scored: Sequence[tuple[Row, Answer]],
        refused: list[RefusedRow],
        repeated: list[str],
        digest: str,
        seconds: float,
    ) -> TaskResult:
        if not scored:
            error = f"evaluation task {task.name}: no row could be scored. The first: {refused[0]}."
            return TaskResult(
                task=task,
                refused=refused,
                repeated=repeated,
                rows_digest=digest,
                chat=self.chat_summary,
                seconds=seconds,
                error=error,
            )
        scores, intervals = self._scores(task, scored)
        result = TaskResult(
            task=task,
            scores=scores,
            intervals=intervals,
            rows=[row for row, _ in scored],
            answers=[answer for _, answer in scored],
            refused=refused,
            repeated=repeated,
            rows_digest=digest,
            chat=self.chat_summary,
            seconds=seconds,
        )
        if self.found is None:
            return result
        of_task = self.found.get(task.name, {})
        found = {row.position: of_task[row.position] for row in result.rows if row.position in of_task}
        if found:
            scores, intervals = self._scores(task, [pair for pair in scored if pair[0].position not in found])
        return replace(result, found=found, unseen_scores=scores, unseen_intervals=intervals)

    def _scores(
        self, task: Task, scored: Sequence[tuple[Row, Answer]]
    ) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        if not scored:
            return {}, {}
        rows = [row for row, _ in scored]
        values = [answer.value for _, answer in scored]
        metrics = {name: METRICS.load(name) for name in task.metrics}
        scores = {name: float(metric(rows, values)) for name, metric in metrics.items()}
        if not self.intervals:
            return scores, {}
        return scores, {
            name: bootstrap_interval(metric, rows, values, seed=self.seed) for name, metric in metrics.items()
        }


def _prediction(row: Row, answer: Answer) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": row.row_id, "position": row.position, "answer": answer.value}
    if isinstance(row, ChoiceRow):
        plain |= {"gold": list(row.gold), "option_scores": list(answer.option_scores)}
    else:
        plain |= {"gold": list(row.labels)}
    marks = {"is_truncated": answer.is_truncated, "is_merged": answer.is_merged}
    return plain | {name: True for name, holds in marks.items() if holds}


def _answer(saved: Mapping[str, Any]) -> Answer:
    return Answer(
        value=saved["answer"],
        option_scores=tuple(saved.get("option_scores", ())),
        is_truncated=saved.get("is_truncated", False),
        is_merged=saved.get("is_merged", False),
    )
