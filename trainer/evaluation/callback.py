"""Domain tasks while a model trains: at the start, at intervals, at the end.

Training is not affected: the callback restores modes, random states and gradients, so that a run with it
has the losses and weights, bit for bit, of a run without it. An evaluation runs at BATCH_END, before the
checkpoint of that batch is written, so that a resumed run does not repeat it.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Sequence
from typing import Any

from composer import Callback, Event, Logger, State
from composer.core import Time, get_precision_context
from composer.utils import create_interval_scheduler

from plugins import progress
from plugins.tasks.lookup import load_tasks
from plugins.tasks.task import Task
from schemas import storage
from schemas.errors import ConfigError, TutelageError, unknown_name
from trainer.evaluation.best_checkpoint import BestCheckpoint
from trainer.evaluation.evaluator import Evaluator, TaskResult
from trainer.evaluation.ranks import Ranks
from trainer.evaluation.report.cost import EvaluationCost
from trainer.evaluation.report.trend import add_to_trend
from trainer.evaluation.scoring.chat_turns import describe_chat
from trainer.evaluation.scoring.metrics import lower_is_better
from trainer.evaluation.training_overlap import FoundRows, TrainingText, find_rows

_LOGGED_UNDER = "metrics/domain_eval/"


class DomainEval(Callback):
    """Evaluates domain tasks while a model trains, logs their scores and prints one line each time.

    Logs `metrics/domain_eval/<task>/<metric>`, and `metrics/domain_eval/<domain>/average`, the mean
    of the headline scores of a domain whose tasks were all scored. An average leaves out scores of which a
    lower one is better: bits a byte of held-out texts. Logs its cost as `time/domain_eval/sec`, the seconds
    of this evaluation, and `time/domain_eval/share`, the share of all evaluations so far in the time since
    training began, without the pauses between resumed runs.

    Args:
        tasks: Names of tasks or domains, task files, or directories of them; one string is one name.
        tokenizer: The model's; None takes the tokenizer of Composer's model.
        interval: Time between evaluations, in Composer's notation: 0.25dur, 500ba, 1ep.
        max_rows: Rows per task, chosen by `seed`; None takes all.
        batch_tokens: Padded tokens of a forward pass.
        seed: Of the choice of rows.
        max_new_tokens: Longest generated answer, in tokens.
        add_bos: Of `Evaluator`: whether a prompt is opened; None opens it as the tokenizer does.
        chat_template: True makes rows turns of the tokenizer's chat template; or another one's name or file.
        system: Text of the system turn.
        output: Folder for `eval/<batch>/<task>.jsonl` (answers), `scores.jsonl` (one line an
            evaluation); `{run_name}` is filled in. None writes nothing.
        tasks_root: Directory that replaces the Hub for registered tasks: ROOT/<task>.jsonl or the test
            files of ROOT/<task>/.
        keep_best: A score, such as `MQP/accuracy` or `biomedicine/average`. The checkpoint with the best
            such score is kept in `best/` of `output`, which must be a local folder. None keeps none.
        fail_training: True ends the run when a task fails; False reports the failure.
        manifest: Corpora of the training, or manifests of them (CORPUS/manifest/000003.json), read once
            before the first evaluation. A second score counts only the rows that their text does not hold:
            `metrics/domain_eval/<task>/unseen/<metric>`. One string is one corpus; None reads none.

    Raises:
        ConfigError: A task, the interval or a number is wrong.
        InputError: A task file has no good row.
        CorpusError: A manifest is missing or damaged.
    """

    def __init__(
        self,
        tasks: str | Sequence[str],
        *,
        tokenizer: Any = None,
        interval: str = "0.5dur",
        max_rows: int | None = None,
        batch_tokens: int = 8192,
        seed: int = 17,
        max_new_tokens: int = 100,
        add_bos: bool | None = None,
        chat_template: bool | str = False,
        system: str | None = None,
        output: str | None = None,
        tasks_root: str | None = None,
        keep_best: str | None = None,
        fail_training: bool = False,
        manifest: str | Sequence[str] | None = None,
    ):
        self.tasks = load_tasks([tasks] if isinstance(tasks, str) else tasks, tasks_root)
        self.output = output
        self.fail_training = fail_training
        self._training_text = [
            TrainingText.of(uri) for uri in ([manifest] if isinstance(manifest, str) else manifest or ())
        ]
        self._tokenizer = tokenizer
        self._settings: dict[str, Any] = {
            "add_bos": add_bos,
            "chat_template": chat_template,
            "system": system,
            "batch_tokens": batch_tokens,
            "max_new_tokens": max_new_tokens,
            "max_rows": max_rows,
            "seed": seed,
        }
        self._evaluator = (
            Evaluator(self.tasks, tokenizer, **self._settings) if tokenizer is not None else None
        )
        self._is_due = _schedule(interval)
        self._last_batch = -1
        self._first_scores: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.cost = EvaluationCost()
        self._best = _best_checkpoint(keep_best, self.tasks, output) if keep_best is not None else None

    @classmethod
    def from_config(cls, arguments: dict[str, Any], *, config: Any, tokenizer: Any) -> DomainEval:
        """Make the callback of a training YAML's `callbacks.domain_eval` section.

        Args:
            arguments: The section's keys.
            config: The whole TrainConfig; not used.
            tokenizer: The tokenizer of training.

        Raises:
            ConfigError: A key is unknown or missing.
        """
        known = [name for name in inspect.signature(cls).parameters if name != "tokenizer"]
        for key in arguments:
            if key not in known:
                raise ConfigError(unknown_name("key", key, known, shown=f"callbacks.domain_eval.{key}"))
        if "tasks" not in arguments:
            raise ConfigError(
                "key 'callbacks.domain_eval.tasks' is missing; "
                "give tasks by name, or a directory of .jsonl files."
            )
        return cls(**arguments, tokenizer=tokenizer)

    @property
    def scored_batch(self) -> int:
        """Number of trained batches at the last evaluation, which gave `scores`; -1 before the first one."""
        return self._last_batch

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run, as one value with a fixed key."""
        evaluated = {
            "last_batch": self._last_batch,
            "first_scores": self._first_scores,
            "scores": self.scores,
            "cost": self.cost.state_dict(),
            "best": None if self._best is None else self._best.state_dict(),
        }
        return {"evaluated": json.dumps(evaluated)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        evaluated = json.loads(state["evaluated"])
        self._last_batch = evaluated["last_batch"]
        self._first_scores = evaluated["first_scores"]
        self.scores = evaluated.get("scores", {})
        self.cost.load_state_dict(evaluated.get("cost", {}))
        if self._best is not None and evaluated.get("best"):
            self._best.load_state_dict(evaluated["best"])

    def run_event(self, event: Event, state: State, logger: Logger) -> None:
        """Evaluate if an evaluation is due; the same on every rank."""
        if event == Event.FIT_START:
            self.cost.start_run()
        batch = int(state.timestamp.batch)
        is_due = event == Event.FIT_START or self._is_due(state, event)
        if is_due and batch != self._last_batch:
            self._last_batch = batch
            self._evaluate(state, logger)
        if self._best is not None:
            self._best.run_event(event, state, logger)

    def _evaluate(self, state: State, logger: Logger) -> None:
        began = time.monotonic()
        if self._evaluator is None:
            self._evaluator = Evaluator(self.tasks, _tokenizer_of(state), **self._settings)
        if self._training_text and self._evaluator.found is None:
            self._evaluator.found = self._find_rows()
        with get_precision_context(state.precision, state.precision_config):
            results = self._evaluator.run(state.model, keep_going=not self.fail_training)
        is_first = not self._first_scores
        for result in results:
            if result.scores:
                self._first_scores.setdefault(result.task.name, result.headline)
        seconds = time.monotonic() - began
        self.cost.add(seconds)
        share = self.cost.share
        metrics = log_names(results)
        logger.log_metrics(metrics | {"time/domain_eval/sec": seconds, "time/domain_eval/share": share})
        self.scores = scores = {name.removeprefix(_LOGGED_UNDER): value for name, value in metrics.items()}
        if self._best is not None and int(state.timestamp.batch) > 0:
            self._best.consider(scores)
        if Ranks.current().rank == 0:
            batch = int(state.timestamp.batch)
            line = readable_line(batch, results, self._first_scores)
            _tell(f"{line}  {seconds:.1f} s, {share:.1%} of the run's time")
            for result in results:
                for note in _notes(result, is_first=is_first):
                    _tell(f"domain_eval: {note}")
            if self.output is not None:
                self._write(self.output.replace("{run_name}", state.run_name), state, results, scores)

    def _find_rows(self) -> FoundRows | None:
        try:
            return find_rows(self.tasks, self._training_text, Ranks.current())
        except (TutelageError, OSError) as error:
            if self.fail_training:
                raise
            if Ranks.current().rank == 0:
                _tell(f"domain_eval: the training text is not searched for rows: {error}")
            self._training_text = []
            return None

    def _write(
        self, folder: str, state: State, results: Sequence[TaskResult], scores: dict[str, float]
    ) -> None:
        batch = int(state.timestamp.batch)
        try:
            for result in results:
                lines = [json.dumps(answer, ensure_ascii=False) for answer in result.predictions()]
                data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
                storage.write_bytes(
                    storage.join(folder, "eval", str(batch), f"{result.task.name}.jsonl"), data
                )
            chat = None if self._evaluator is None else self._evaluator.chat_summary
            tokens = int(state.timestamp.token)
            trend = add_to_trend(folder, batch=batch, tokens=tokens, scores=scores, chat=chat)
            if len(trend) > 1 and trend[-2].get("chat") != chat:
                was, now = describe_chat(trend[-2].get("chat")), describe_chat(chat)
                _tell(f"domain_eval: scores until now are with {was}, from here on with {now}")
        except (TutelageError, OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            message = f"domain_eval: cannot write to {folder}: {error}. Set callbacks.domain_eval.output."
            if self.fail_training:
                raise TutelageError(message) from error
            _tell(message)


def log_names(results: Sequence[TaskResult]) -> dict[str, float]:
    """Scores by their names in the log, and the average of each fully scored domain."""
    metrics = {
        f"{_LOGGED_UNDER}{result.task.name}/{metric}": score
        for result in results
        for metric, score in result.scores.items()
    }
    metrics |= {
        f"{_LOGGED_UNDER}{result.task.name}/unseen/{metric}": score
        for result in results
        for metric, score in result.unseen_scores.items()
    }
    averaged = [result for result in results if not _is_lower_better(result.task)]
    for domain in dict.fromkeys(result.task.domain for result in averaged):
        of_domain = [result for result in averaged if result.task.domain == domain]
        if all(result.scores for result in of_domain):
            average = sum(result.headline for result in of_domain) / len(of_domain)
            metrics[f"{_LOGGED_UNDER}{domain}/average"] = average
    return metrics


def readable_line(batch: int, results: Sequence[TaskResult], first: dict[str, float]) -> str:
    """One line for a person: each task's headline score and its change since the first evaluation."""
    parts = []
    for result in results:
        name, metric = result.task.name, result.task.metrics[0]
        if not result.scores:
            parts.append(f"{name} failed")
        else:
            change = f"{result.headline - first[name]:+.3f}"
            change += ", lower is better" if _is_lower_better(result.task) else ""
            part = f"{name} {metric} {result.headline:.3f} ({change})"
            if result.found and result.unseen_scores:
                part += f", {result.unseen_scores[metric]:.3f} on {result.num_unseen} unseen rows"
            parts.append(part)
    return f"domain_eval  batch {batch}  {'  '.join(parts)}"


def _notes(result: TaskResult, *, is_first: bool) -> list[str]:
    name = result.task.name
    if result.error:
        return [f"{name} failed: {result.error}"]
    remarks = result.remarks(of_answers_only=not is_first).items()
    notes = [f"{remark}; the first: {rows[0]}" for remark, rows in remarks]
    if is_first and result.chat:
        notes.append(f"{name}: prompts are turns of {describe_chat(result.chat)}")
    if is_first and result.windows:
        notes.append(f"{name}: {result.windows}")
    return notes


def _is_lower_better(task: Task) -> bool:
    return lower_is_better(task.metrics[0])


def _best_checkpoint(metric: str, tasks: Sequence[Task], output: str | None) -> BestCheckpoint:
    known = [f"{task.name}/{each}" for task in tasks for each in task.metrics]
    averaged = [task.domain for task in tasks if not _is_lower_better(task)]
    known += [f"{domain}/average" for domain in dict.fromkeys(averaged)]
    if metric not in known:
        raise ConfigError(unknown_name("score", metric, known, shown=f"domain_eval.keep_best: {metric}"))
    if output is None or not storage.is_local(output):
        raise ConfigError(
            f"domain_eval.keep_best is {metric!r}, but output is {output!r}; give a local folder for "
            "the checkpoint."
        )
    name = metric.rpartition("/")[2]
    is_lower = name != "average" and lower_is_better(name)
    return BestCheckpoint(metric, storage.join(output, "best"), lower_is_better=is_lower)


def _schedule(interval: str) -> Any:
    try:
        Time.from_input(interval)
        return create_interval_scheduler(interval, checkpoint_events=False, final_events={Event.FIT_END})
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"domain_eval.interval is {interval!r}; expected a time such as 0.25dur, 500ba or 1ep: {error}"
        ) from error


def _tokenizer_of(state: State) -> Any:
    model = getattr(state.model, "module", state.model)
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise ConfigError(
            "domain_eval has no tokenizer: pass DomainEval(tokenizer=…), or give HuggingFaceModel one."
        )
    return tokenizer


def _tell(line: str) -> None:
    """Print a result, with `--json` as an event, since standard output has one JSON object then."""
    if progress.mode() is progress.Mode.EVENTS:
        progress.note(line)
    else:
        print(line, flush=True)
