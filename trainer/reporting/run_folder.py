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

import pydantic
from typing_extensions import TypedDict

from plugins.report.charts import Point
from plugins.tasks import METRICS
from schemas import storage
from schemas.errors import TutelageError
from schemas.validation import parse
from trainer.evaluation.scoring.metrics import bootstrap_interval, normalize

DESCRIPTION = "description.json"
_METRICS, _SCORES = "metrics.jsonl", "scores.jsonl"
_SEED = 17
_DIFFERENCE = 1e-6
_CURE = "Restore the file, or remove it."


class Stream(pydantic.BaseModel):
    """A stream of the training mix."""

    name: str
    corpus: str
    manifest: int
    rows_per_epoch: int


class Description(pydantic.BaseModel):
    """Content of description.json.

    Attributes:
        run_name: Name of the run.
        evaluations: Folder of domain_eval, relative to the description or whole.
        seconds: By phase.
        streams: Those of the configuration.
        versions: Versions of packages, and the device.
        config: The configuration.
    """

    run_name: str = ""
    evaluations: str | None = None
    seconds: dict[str, pydantic.NonNegativeFloat] = pydantic.Field(default_factory=dict)
    streams: list[Stream] = pydantic.Field(default_factory=list)
    versions: dict[str, Any] = pydantic.Field(default_factory=dict)
    config: dict[str, Any] = pydantic.Field(default_factory=dict)


class _Scores(pydantic.BaseModel):
    batch: int
    tokens: int
    scores: dict[str, pydantic.FiniteFloat]


class Answer(TypedDict, total=False):
    """A saved answer of `scoring.answer.to_plain`."""

    position: str
    answer: int | str
    gold: list[int | str]
    option_scores: list[float]
    bits: float
    bytes: int


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

    def answers(self, task: str) -> dict[str, Answer]:
        """Answers to the rows of a task by position; none if they were not kept."""
        return {each["position"]: each for each in _answers(self.folder, task) if "position" in each}

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95% interval of a score over rows; None for averages, or if answers do not give the score."""
        task, _, metric = name.rpartition("/")
        if "/" in task:  # the score on rows that the training text does not hold
            return None
        return _interval(self.folder, task, metric, self.scores[name])


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its files describe it.

    Attributes:
        name: Name of the run.
        folder: Its folder.
        metrics: A mapping a step.
        evaluations: In order.
        description: Content of description.json; None if there is none.
    """

    name: str
    folder: str
    metrics: Sequence[dict[str, Any]]
    evaluations: Sequence[Evaluation]
    description: Description | None

    def points(self, *names: str) -> list[Point]:
        """Values of a metric over trained tokens; the first of `names` that a step has."""
        found = []
        for step in self.metrics:
            value = next((step[name] for name in names if isinstance(step.get(name), int | float)), None)
            tokens = step.get("time/token")
            if value is not None and isinstance(tokens, int | float):
                found.append(Point(tokens, value))
        return found


def read_run(folder: str) -> Run:
    """Read the files of a run.

    Raises:
        CorpusError: A file is damaged.
    """
    uri = storage.join(folder, DESCRIPTION)
    description = None
    if storage.exists(uri):
        description = parse(Description, storage.read_bytes(uri), name=uri, cure=_CURE)
    metrics = storage.join(folder, _METRICS)
    return Run(
        name=(description and description.run_name) or folder.rstrip("/").rpartition("/")[2],
        folder=folder,
        metrics=list(_lines(metrics, dict[str, Any])) if storage.exists(metrics) else [],
        evaluations=list(_evaluations(folder, description and description.evaluations)),
        description=description,
    )


def is_right(answer: Answer) -> bool | None:
    """Whether a saved answer is right; None for a held-out text, which has no right answer."""
    if "answer" not in answer or "gold" not in answer:
        return None
    found, gold = answer["answer"], answer["gold"]
    if "option_scores" in answer:
        return found in gold
    return any(normalize(str(found)) == normalize(str(label)) for label in gold)


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
    for line in _lines(storage.join(place, _SCORES), _Scores):
        folder = storage.join(place, "eval", str(line.batch))
        yield Evaluation(batch=line.batch, tokens=line.tokens, scores=line.scores, folder=folder)


def _beside(folder: str, named: str) -> str:
    """A folder that is named relative to the run's; URIs and absolute paths are whole."""
    return named if "://" in named or named.startswith("/") else storage.join(folder, named)


@functools.lru_cache(maxsize=4096)  # a training reports each evaluation many times
def _interval(folder: str, task: str, metric: str, score: float) -> tuple[float, float] | None:
    answers = _answers(folder, task)
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
    values = [answer.get("bits", answer.get("answer")) for answer in answers]
    try:
        measure = METRICS.load(metric)
        if len(rows) < 2 or abs(measure(rows, values) - score) > _DIFFERENCE:
            return None
        return bootstrap_interval(measure, rows, values, seed=_SEED)
    except (TutelageError, ValueError, KeyError, TypeError):  # it needs fields of a row that answers lack
        return None


def _answers(folder: str, task: str) -> list[Answer]:
    uri = storage.join(folder, f"{task}.jsonl")
    return list(_lines(uri, Answer)) if storage.exists(uri) else []


def _lines(uri: str, kind: Any) -> Iterator[Any]:
    """Yield the objects of a file of JSON lines; a last line that a killed process cut off is left out."""
    text = storage.read_bytes(uri).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if line.endswith("\n"):
            yield parse(kind, line, name=f"{uri}: line {number}", cure=_CURE)
