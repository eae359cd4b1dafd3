"""From tasks and a model to results, on one process or many.

Rank r of W takes rows r::W, so that long and short rows spread evenly. If the model is sharded, all ranks
make the same number of forward passes, since each pass needs all ranks. At the end every rank has all
answers.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from plugins.tasks import METRICS
from plugins.tasks.rows import Kind, RefusedRow, Row, repeats, rows_digest
from plugins.tasks.task import Task, read_rows
from plugins.tokenizers import opening_ids
from schemas.content_hash import digest
from schemas.errors import ConfigError, InputError
from trainer.evaluation.ranks import Ranks, TaskFailed, describe
from trainer.evaluation.scoring.answer import Answer, from_plain, to_plain
from trainer.evaluation.scoring.causal_model import CausalModel, as_causal_model, evaluating
from trainer.evaluation.scoring.chat_turns import as_chat
from trainer.evaluation.scoring.choice import plan_choices, run_choices
from trainer.evaluation.scoring.generation import plan_generations, run_generations
from trainer.evaluation.scoring.metrics import bootstrap_interval
from trainer.evaluation.scoring.perplexity import Windows, plan_texts, run_texts
from trainer.evaluation.scoring.sglang_model import ServedModel
from trainer.reporting.announce import announce

_PLANS: dict[Kind, tuple[Any, Any]] = {
    "choice": (plan_choices, run_choices),
    "generate": (plan_generations, run_generations),
    "perplexity": (plan_texts, run_texts),
}
_ASK: dict[Kind, Any] = {
    "choice": ServedModel.answer_choices,
    "generate": ServedModel.answer_prompts,
    "perplexity": ServedModel.answer_texts,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The result of one task.

    Attributes:
        task: The task.
        scores: By metric, shares of 1 or bits a byte; empty if the task failed.
        intervals: By metric, 95% bootstrap intervals; empty unless asked for.
        rows: The scored rows.
        answers: The model's answers to them.
        refused: Rows that were not scored, each with its reason.
        repeated: Rows that repeat an earlier one; they are scored like the others.
        found: The scored rows that occur in the training text, each with the words they share; None
            if the training text was not searched.
        unseen_scores: By metric, on the other rows; empty if there are none, or if `found` is None.
        unseen_intervals: Like `intervals`, on the other rows.
        rows_digest: Of the rows that were chosen for scoring.
        chat: `Chat.summary`, if rows were turns of a conversation; held-out texts never are.
        windows: Of held-out texts, by which they were scored.
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
    windows: Windows | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def headline(self) -> float:
        """The score of the task's first metric."""
        return self.scores[self.task.metrics[0]]

    @property
    def num_unseen(self) -> int:
        """Number of scored rows that do not occur in the training text."""
        return len(self.rows) - len(self.found or ())

    @property
    def truncated(self) -> list[str]:
        """Positions of the rows whose prompt lost its start."""
        return self._positions(lambda answer: answer.is_truncated)

    @property
    def tied(self) -> list[str]:
        """Positions of the rows with several best options; the first option counts."""
        return self._positions(lambda answer: answer.is_tied)

    @property
    def merged(self) -> list[str]:
        """Positions of the rows with an option that shares a token with its prompt."""
        return self._positions(lambda answer: answer.is_merged)

    def _positions(self, holds: Callable[[Answer], bool]) -> list[str]:
        pairs = zip(self.rows, self.answers, strict=True)
        return [row.position for row, answer in pairs if holds(answer)]

    def remarks(self, *, of_answers_only: bool = False) -> dict[str, list[str]]:
        """Remarks on the rows, each with the rows that it is about, at least one.

        Args:
            of_answers_only: Leave out remarks that stay the same while the model changes.
        """
        remarks = {"rows have several best options; the first counts": self.tied}
        if not of_answers_only:
            remarks |= {
                "prompts lost their start to fit the context": self.truncated,
                "rows share a token of prompt and option": self.merged,
                "rows repeat others": self.repeated,
                "texts have unknown tokens, and too few bits for them": self._positions(
                    lambda answer: answer.has_unknown
                ),
                "rows are not scored": [str(row) for row in self.refused],
                "rows occur in the training text": [
                    f"{position}: {words!r}" for position, words in (self.found or {}).items()
                ],
            }
        return {f"{self.task.name}: {len(rows)} {what}": rows for what, rows in remarks.items() if rows}

    def summary(self) -> dict[str, Any]:
        """The result as plain values, without the answers."""
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
            **({} if self.windows is None else asdict(self.windows)),
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """Each scored row's answer beside the right one, as plain values."""
        return [to_plain(row, answer) for row, answer in zip(self.rows, self.answers, strict=True)]


class Evaluator:
    """Evaluates models on tasks. Rows are read once, so that all evaluations use the same rows.

    Args:
        tasks: The tasks.
        tokenizer: The model's; it should treat special-token strings as text (`load_tokenizer` does).
        add_bos: True opens each prompt as the tokenizer opens a text, or else with BOS; False opens it with
            nothing; None opens it as the tokenizer does, or as the chat template does.
        chat_template: True makes rows turns of the tokenizer's chat template; or another one's name or file.
        system: Text of the system turn.
        batch_tokens: Padded tokens of a forward pass.
        max_new_tokens: Longest generated answer, in tokens.
        max_rows: Rows per task, chosen by `seed`; None takes all.
        seed: Of the choice of rows and of the bootstrap.
        intervals: Whether to compute 95% intervals.
        ranks: This process among its peers; None asks torch.distributed.
        found: Result of `training_overlap.find_rows`; None if the training text was not searched.

    Raises:
        ConfigError: `add_bos` is true and the tokenizer has no BOS, there is no such chat template, or a
            number is below 1.
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
        self._text_settings = {"tokenizer": tokenizer, "add_bos": add_bos}
        self.add_bos = bool(opening)
        self.chat = as_chat(tokenizer, chat_template, system, add_bos=add_bos)
        if self.chat is not None:
            self.tokenizer = self.chat.tokenizer
            self.add_bos = bool(add_bos) and not self.chat.opens_with_bos
        self.chat_summary = None if self.chat is None else self.chat.summary
        self.batch_tokens = batch_tokens
        self.max_new_tokens = max_new_tokens
        self.max_rows = max_rows
        self.seed = seed
        self.intervals = intervals
        self.ranks = ranks
        self.found = found
        self._rows: dict[str, tuple[list[Row], list[RefusedRow], list[str]]] = {}
        self._has_printed_notes = False

    def run(
        self,
        model: torch.nn.Module | ServedModel,
        *,
        keep_going: bool = False,
        tasks: Sequence[Task] | None = None,
        on_result: Callable[[TaskResult], None] = lambda result: None,
        is_whole: bool = False,
    ) -> list[TaskResult]:
        """Evaluate a model on all tasks, and leave the model unchanged.

        Args:
            model: A Hugging Face causal LM, or Composer's wrapper of one, under DDP or FSDP or neither;
                or one behind a server.
            keep_going: True makes a failed task a result with an `error` instead of an exception.
                A sharded model that fails in a forward pass raises in any case: its peers wait in the pass.
            tasks: Some of the evaluator's tasks; None runs all.
            on_result: Called with each task's result as soon as it is there.
            is_whole: True if each rank has a whole model of its own. Else a model on several ranks counts as
                sharded unless it is a DDP replica.

        Returns:
            One result per task, the same on every rank.
        """
        ranks = self.ranks or Ranks.current()
        with contextlib.nullcontext() if isinstance(model, ServedModel) else evaluating(model):
            seen = model if isinstance(model, ServedModel) else self._inspect(model, ranks, is_whole)
            results = []
            for task in self.tasks if tasks is None else tasks:
                results.append(self._run_task(task, seen, ranks, keep_going))
                on_result(results[-1])
            return results

    def restored(self, task: Task, saved: Mapping[str, Any]) -> TaskResult | None:
        """A task's result from its saved form; None if its rows or the chat template changed.

        Args:
            task: One of the evaluator's tasks.
            saved: `TaskResult.summary`, with its `predictions` as `answers`.
        """
        rows, _, repeated = self._rows_of(task)
        if (
            saved["error"]
            or saved["rows_digest"] != _digest(task, rows)
            or saved.get("chat") != self._chat_of(task)
        ):
            return None
        answers = {answer["position"]: from_plain(answer) for answer in saved["answers"]}
        scored = [(row, answers[row.position]) for row in rows if row.position in answers]
        refused = [RefusedRow(**row) for row in saved["refused"]]
        parts = scored, refused, repeated, saved["rows_digest"], saved["seconds"]
        windows = Windows(saved["window"], saved["stride"]) if task.kind == "perplexity" else None
        return self._measured(task, *parts, windows)

    def _inspect(self, model: torch.nn.Module, ranks: Ranks, is_whole: bool) -> CausalModel:
        """Find out how to call a model; prints once what is unusual about it, and why."""
        kinds = {task.kind for task in self.tasks}
        seen = as_causal_model(model, world_size=1 if is_whole else ranks.world_size, kinds=kinds)
        if ranks.rank == 0 and not self._has_printed_notes:
            for note in seen.notes(kinds):
                announce(f"evaluation: {note}")
            self._has_printed_notes = True
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
        windows = None
        if task.kind == "perplexity":
            windows = ranks.together(lambda: Windows.of(task, model.context_tokens))
        mine = rows[ranks.rank :: ranks.world_size]
        outcomes: list[Answer | RefusedRow | None] = [None] * len(rows)
        for rank, theirs in enumerate(ranks.gather(self._answer(task, mine, model, ranks, windows))):
            outcomes[rank :: ranks.world_size] = theirs
        scored = [(row, out) for row, out in zip(rows, outcomes, strict=True) if isinstance(out, Answer)]
        refused = [*refused, *(out for out in outcomes if isinstance(out, RefusedRow))]
        parts = scored, refused, repeated, _digest(task, rows), time.monotonic() - began
        return ranks.together(lambda: self._measured(task, *parts, windows))

    def _rows_of(self, task: Task) -> tuple[list[Row], list[RefusedRow], list[str]]:
        if task.name not in self._rows:
            rows, refused = read_rows(task)
            repeated = repeats(rows)
            if self.max_rows is not None and len(rows) > self.max_rows:
                chosen = random.Random(f"{self.seed}:{task.name}").sample(range(len(rows)), self.max_rows)
                rows = [rows[at] for at in sorted(chosen)]
            self._rows[task.name] = rows, refused, repeated
        return self._rows[task.name]

    def _answer(
        self,
        task: Task,
        rows: Sequence[Row],
        model: CausalModel | ServedModel,
        ranks: Ranks,
        windows: Windows | None,
    ) -> list[Answer | RefusedRow]:
        """Answer this rank's rows; one outcome per row, in their order."""
        chosen: Any = rows if self.chat is None else list(map(self.chat.as_turn, rows))
        settings: dict[str, Any] = {"tokenizer": self.tokenizer, "add_bos": self.add_bos}
        if windows is not None:
            settings = self._text_settings | {"windows": windows}
        elif task.kind == "generate":
            settings["max_new_tokens"] = self.max_new_tokens
        if isinstance(model, ServedModel):
            return ranks.together(lambda: _ASK[task.kind](model, chosen, **settings))
        make_plan, run_plan = _PLANS[task.kind]
        plan = ranks.together(lambda: make_plan(chosen, model, batch_tokens=self.batch_tokens, **settings))
        most = max(ranks.gather(plan.num_passes)) if model.is_sharded else plan.num_passes

        def work() -> list[Answer | RefusedRow]:
            outcomes: list[Answer | RefusedRow] = run_plan(plan, model, self.tokenizer, num_passes=most)
            return outcomes

        return work() if model.is_sharded else ranks.together(work)

    def _measured(
        self,
        task: Task,
        scored: Sequence[tuple[Row, Answer]],
        refused: list[RefusedRow],
        repeated: list[str],
        digest: str,
        seconds: float,
        windows: Windows | None,
    ) -> TaskResult:
        result = TaskResult(
            task=task,
            rows=[row for row, _ in scored],
            answers=[answer for _, answer in scored],
            refused=refused,
            repeated=repeated,
            rows_digest=digest,
            chat=self._chat_of(task),
            windows=windows,
            seconds=seconds,
        )
        if not scored:
            error = f"evaluation task {task.name}: no row could be scored. The first: {refused[0]}."
            return replace(result, error=error)
        scores, intervals = self._scores(task, scored)
        result = replace(result, scores=scores, intervals=intervals)
        if self.found is None:
            return result
        of_task = self.found.get(task.name, {})
        found = {row.position: of_task[row.position] for row in result.rows if row.position in of_task}
        if found:
            scores, intervals = self._scores(task, [pair for pair in scored if pair[0].position not in found])
        return replace(result, found=found, unseen_scores=scores, unseen_intervals=intervals)

    def _chat_of(self, task: Task) -> dict[str, Any] | None:
        return None if task.kind == "perplexity" else self.chat_summary

    def _scores(
        self, task: Task, scored: Sequence[tuple[Row, Answer]]
    ) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        if not scored:
            return {}, {}
        rows = [row for row, _ in scored]
        values = [answer.value for _, answer in scored]
        metrics = {name: METRICS.load(name) for name in task.metrics}
        scores = {name: float(metric(rows, values)) for name, metric in metrics.items()}
        if not self.intervals or len(rows) < 2:  # one row says nothing about other rows
            return scores, {}
        return scores, {
            name: bootstrap_interval(metric, rows, values, seed=self.seed) for name, metric in metrics.items()
        }


def _digest(task: Task, rows: Sequence[Row]) -> str:
    """Hash of the chosen rows, and of the windows that the task asks for."""
    of_rows = rows_digest(rows)
    asked = (task.window_tokens, task.stride_tokens)
    return digest(of_rows, repr(asked)) if task.kind == "perplexity" else of_rows
