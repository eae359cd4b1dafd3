"""Files of a run for its report: metrics, evaluations with their answers, description.

    metrics.jsonl          a line a step (metrics_jsonl.py)
    description.json       configuration, versions, streams, times (report_writer.py); older runs lack it
    eval/scores.jsonl      a line an evaluation; eval/<batch>/<task>.jsonl its answers (of domain_eval)

The description names the folder of evaluations. Without it, it is the folder itself or `eval` in it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from plugins.report.charts import Point
from plugins.tasks import METRICS
from schemas import storage
from schemas.errors import InputError, TutelageError
from trainer.evaluation.scoring.metrics import bootstrap_interval, normalize

DESCRIPTION = "description.json"
_METRICS, _SCORES = "metrics.jsonl", "scores.jsonl"
_SEED = 17
_DIFFERENCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a run after some steps.

    Attributes:
        batch: Trained steps.
        tokens: Trained tokens.
        scores: By `<task>/<metric>`, and averages of domains.
        folder: Folder of its answers.
    """

    batch: int
    tokens: int
    scores: dict[str, float]
    folder: str

    def answers(self, task: str) -> list[dict[str, Any]]:
        """Answers to the rows of a task; none if they were not kept."""
        uri = storage.join(self.folder, f"{task}.jsonl")
        return list(_lines(uri)) if storage.exists(uri) else []

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95% interval of a score over rows; None for averages, or if answers do not give the score."""
        task, _, metric = name.rpartition("/")
        uri = storage.join(self.folder, f"{task}.jsonl")
        return _interval(uri, metric, self.scores[name]) if storage.exists(uri) else None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its files describe it.

    Attributes:
        name: Name of the run.
        folder: Its folder.
        metrics: A mapping a step.
        evaluations: In order.
        description: Content of description.json; empty if there is none.
    """

    name: str
    folder: str
    metrics: Sequence[dict[str, Any]]
    evaluations: Sequence[Evaluation]
    description: dict[str, Any]

    def points(self, *names: str) -> list[Point]:
        """Values of a metric over trained tokens; the first of `names` that a step has."""
        found = []
        for step in self.metrics:
            value = next((step[name] for name in names if step.get(name) is not None), None)
            if value is not None and step.get("time/token") is not None:
                found.append(Point(step["time/token"], value))
        return found


def read_run(folder: str) -> Run:
    """Read the files of a run.

    Raises:
        InputError: A file is damaged.
    """
    uri = storage.join(folder, DESCRIPTION)
    description = (
        next(iter(_parsed(uri, [storage.read_bytes(uri).decode()])), {}) if storage.exists(uri) else {}
    )
    metrics = storage.join(folder, _METRICS)
    return Run(
        name=str(description.get("run_name") or folder.rstrip("/").rpartition("/")[2]),
        folder=folder,
        metrics=list(_lines(metrics)) if storage.exists(metrics) else [],
        evaluations=list(_evaluations(folder, description.get("evaluations"))),
        description=description,
    )


def is_right(answer: dict[str, Any]) -> bool | None:
    """Whether a saved answer is right; None for a held-out text, which has no right answer."""
    if "bits" in answer:
        return None
    if "option_scores" in answer:
        return answer["answer"] in answer["gold"]
    return any(normalize(answer["answer"]) == normalize(label) for label in answer["gold"])


def row_of(position: str) -> dict[str, Any]:
    """The row at `FILE:LINE` of a task's local JSON lines; empty if the file cannot be read."""
    file, _, line = position.rpartition(":")
    try:
        row = _task_rows(file)[int(line) - 1]
        return row if isinstance(row, dict) else {}
    except (OSError, ValueError, IndexError, TutelageError):
        return {}


@functools.lru_cache(maxsize=8)
def _task_rows(file: str) -> list[Any]:
    if not file.endswith(".jsonl") or not storage.is_local(file):
        return []
    return [json.loads(line) for line in storage.read_bytes(file).decode().splitlines()]


def _evaluations(folder: str, named: str | None) -> Iterator[Evaluation]:
    places = [named and _beside(folder, named), folder, storage.join(folder, "eval")]
    place = next((each for each in places if each and storage.exists(storage.join(each, _SCORES))), None)
    if place is None:
        return
    for line in _lines(storage.join(place, _SCORES)):
        yield Evaluation(
            batch=line["batch"],
            tokens=line["tokens"],
            scores=line["scores"],
            folder=storage.join(place, "eval", str(line["batch"])),
        )


def _beside(folder: str, named: str) -> str:
    """A folder that is named relative to the run's; URIs and absolute paths are whole."""
    return named if "://" in named or named.startswith("/") else storage.join(folder, named)


@functools.lru_cache(maxsize=4096)  # a training reports each evaluation many times
def _interval(uri: str, metric: str, score: float) -> tuple[float, float] | None:
    answers = list(_lines(uri))
    rows = [
        SimpleNamespace(
            gold=tuple(answer.get("gold", ())),
            labels=tuple(answer.get("gold", ())),
            num_bytes=answer.get("bytes"),
            position=answer.get("position"),
            fields={},
        )
        for answer in answers
    ]
    values = [answer["bits"] if "bits" in answer else answer["answer"] for answer in answers]
    try:
        measure = METRICS.load(metric)
        if len(rows) < 2 or abs(measure(rows, values) - score) > _DIFFERENCE:
            return None
        return bootstrap_interval(measure, rows, values, seed=_SEED)
    except (TutelageError, ValueError, KeyError, TypeError):  # it needs fields of a row that answers lack
        return None


def _lines(uri: str) -> Iterator[dict[str, Any]]:
    yield from _parsed(uri, storage.read_bytes(uri).decode("utf-8", "surrogatepass").splitlines())


def _parsed(uri: str, lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except ValueError as error:
            if number == len(lines) > 1:  # the last line of a run that was cut off
                return
            raise InputError(f"{uri}: line {number} is no JSON: {error}. Restore it.") from None
        if not isinstance(values, dict):
            raise InputError(f"{uri}: line {number} is no object. Restore it.")
        yield values
