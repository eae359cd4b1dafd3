"""Part of a report about runs, side by side: training, scores, changed rows, mix, time, configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugins.report.blocks import Block, Cell, Note, Part, Section, Table
from plugins.report.charts import Point, lines
from plugins.report.settings import settings_of
from schemas.errors import ConfigError
from schemas.secrets import public_uri
from trainer.evaluation.scoring.metrics import lower_is_better
from trainer.reporting.run_folder import Answer, Evaluation, Run, is_right, read_run, row_of

_SHOWN_CHANGES = 8
_SHOWN_SCORES = 40
_TRAINING = (
    ("Loss", "loss", ("loss/train/total",)),
    (
        "Learning rate",
        "learning rate",
        ("train/learning_rate", "lr-DecoupledAdamW/group0", "lr-AdamW/group0"),
    ),
    ("Speed", "tokens a second", ("train/tokens_per_sec",)),
    ("MFU: share of the GPUs' peak", "MFU", ("train/mfu",)),
)
Runs = Mapping[str, Run]


def run_part(folders: Sequence[str]) -> Part:
    """Describe runs, named by their folders.

    Raises:
        CorpusError: A file of a run is damaged.
    """
    found = [read_run(folder) for folder in folders]
    names = [run.name for run in found]
    runs = {run.name if names.count(run.name) == 1 else run.folder: run for run in found}
    sections: dict[str, Sequence[Block]] = {
        "At a glance": _overview(runs),
        "Training": _training(runs),
        "Scores": _scores(runs),
        "Rows that changed": _changes(runs),
        "Mix of streams": _mix(runs),
        "Where the time went": _time(runs),
        "Configuration and versions": _configuration(runs),
    }
    title = f"Run {next(iter(runs))}" if len(runs) == 1 else f"Runs {', '.join(runs)}"
    return Part(title=title, sections=[Section(title=name, blocks=of) for name, of in sections.items()])


def _overview(runs: Runs) -> list[Block]:
    rows: list[Sequence[Cell]] = []
    for name, run in runs.items():
        last = {key: value for step in run.metrics[-2:] for key, value in step.items()}
        loss, speed, mfu = (run.points(*keys)[-1:] for _, _, keys in (_TRAINING[0], *_TRAINING[2:]))
        values = (each[0].y if each else None for each in (loss, speed, mfu))
        rows.append((name, last.get("time/batch"), last.get("time/token"), *values, len(run.evaluations)))
    head = ("run", "steps", "tokens", "last loss", "tokens a second", "MFU", "evaluations")
    return [Table(caption="Runs, as far as they got", head=head, rows=rows)]


def _training(runs: Runs) -> list[Block]:
    blocks: list[Block] = []
    for title, axis, keys in _TRAINING:
        series = {name: run.points(*keys) for name, run in runs.items()}
        if any(series.values()):
            blocks.append(
                lines(
                    title,
                    series,
                    x_name="trained tokens",
                    y_name=axis,
                    from_zero=axis in ("MFU", "tokens a second"),
                )
            )
        if without := ", ".join(name for name, points in series.items() if not points):
            blocks.append(Note(text=f"{title}: none logged by {without}."))
    return blocks


def _scores(runs: Runs) -> list[Block]:
    none = [Note(text=f"{name}: no evaluation yet.") for name, run in runs.items() if not run.evaluations]
    names = dict.fromkeys(name for run in runs.values() for each in run.evaluations for name in each.scores)
    # Averages of domains first: they are what the method's paper draws against trained tokens.
    ordered = sorted(names, key=lambda name: not name.endswith("/average"))
    rows: list[Sequence[Cell]] = []
    blocks: list[Block] = []
    for score in ordered:
        series = {name: _trend(run.evaluations, score) for name, run in runs.items()}
        if any(series.values()) and len(blocks) < _SHOWN_SCORES:
            better = " (lower is better)" if _is_lower_better(score) else ""
            blocks.append(lines(score + better, series, x_name="trained tokens", y_name="score", marks=True))
        for name, points in series.items():
            if points:
                first, last = points[0], points[-1]
                change = f"{last.y - first.y:+.3f}" if len(points) > 1 else "one evaluation only"
                rows.append((score + better, name, _with_interval(first), _with_interval(last), change))
    if not rows:
        return [*none]
    left_out = len(ordered) - len(blocks)
    more = [Note(text=f"{left_out:,} further scores are in the table only.")] if left_out > 0 else []
    head = ("score", "run", "first evaluation", "last evaluation", "change")
    caption = "Before and after; in brackets 95% intervals over rows, where answers were kept"
    return [*blocks, Table(caption=caption, head=head, rows=rows), *more, *none]


def _trend(evaluations: Sequence[Evaluation], score: str) -> list[Point]:
    return [
        Point(each.tokens, each.scores[score], each.interval(score))
        for each in evaluations
        if each.scores.get(score) is not None
    ]


def _with_interval(point: Point) -> str:
    shown = f"{point.y:.3f}"
    return shown + (f" [{point.interval[0]:.3f}, {point.interval[1]:.3f}]" if point.interval else "")


def _is_lower_better(score: str) -> bool:
    metric = score.rpartition("/")[2]
    try:
        return metric != "average" and lower_is_better(metric)
    except ConfigError:  # a metric of a package that is not installed here
        return False


def _changes(runs: Runs) -> list[Block]:
    counts: list[Sequence[Cell]] = []
    examples: list[Sequence[Cell]] = []
    for name, run in runs.items():
        if len(run.evaluations) < 2:
            continue
        first, last = run.evaluations[0], run.evaluations[-1]
        tasks = dict.fromkeys(
            score.partition("/")[0] for score in last.scores if not score.endswith("/average")
        )
        for task in tasks:
            before, after = first.answers(task), last.answers(task)
            was = {at: is_right(each) for at, each in before.items()}
            now = {at: is_right(each) for at, each in after.items() if was.get(at) is not None}
            changed = {
                kind: [at for at, is_now in now.items() if is_now is wanted and was[at] is not wanted]
                for kind, wanted in (("wrong to right", True), ("right to wrong", False))
            }
            if now:
                counts.append((task, name, len(now), *map(len, changed.values())))
            for kind, positions in changed.items():
                for at in positions[:_SHOWN_CHANGES]:
                    examples.append((kind, task, name, *_shown(at, before[at], after[at])))
    if not counts:
        return [Note(text="No two evaluations with answers to the same questions.")]
    head = ("task", "run", "questions in both", "wrong to right", "right to wrong")
    blocks: list[Block] = [
        Table(caption="From the first evaluation to the last", head=head, rows=counts, bars=(3, 4))
    ]
    if examples:
        caption = f"Up to {_SHOWN_CHANGES} changed rows of each kind"
        columns = ("change", "task", "run", "question", "before", "after", "right")
        blocks.append(Table(caption=caption, head=columns, rows=examples))
    return blocks


def _shown(position: str, before: Answer, now: Answer) -> tuple[str, str, str, str]:
    """Question, both answers and the right one in words, if the file of the task is still there."""
    row = row_of(position)
    options = row.get("options") if "option_scores" in now else None

    def words(answer: Any) -> str:
        is_known = isinstance(options, list) and isinstance(answer, int) and answer < len(options)
        return str(options[answer] if is_known and options else answer).strip()

    gold = ", ".join(map(words, now["gold"]))
    return str(row.get("input") or position), words(before["answer"]), words(now["answer"]), gold


def _mix(runs: Runs) -> list[Block]:
    rows: list[Sequence[Cell]] = []
    for name, run in runs.items():
        streams = run.description.streams if run.description else []
        total = sum(each.rows_per_epoch for each in streams) or 1
        for each in streams:
            share = f"{each.rows_per_epoch / total:.1%}"
            corpus = public_uri(each.corpus)
            rows.append((name, each.name, corpus, each.manifest, each.rows_per_epoch, share))
    none = [Note(text=f"{name}: {_UNKNOWN}") for name, run in runs.items() if not run.description]
    if not rows:
        return [*none]
    head = ("run", "stream", "corpus", "manifest", "rows an epoch", "share")
    return [Table(caption="Rows of an epoch by stream", head=head, rows=rows, bars=(4,)), *none]


_UNKNOWN = "its folder holds no description.json, so this is unknown."


def _time(runs: Runs) -> list[Block]:
    rows: list[Sequence[Cell]] = []
    notes: list[Block] = []
    for name, run in runs.items():
        spent = dict(run.description.seconds) if run.description else {}
        if not spent:
            evaluations = sum(point.y for point in run.points("time/domain_eval/sec"))
            if evaluations:
                rows.append((name, "evaluations", round(evaluations, 1), None))
            notes.append(Note(text=f"{name}: {_UNKNOWN}"))
        total = sum(spent.values()) or 1.0
        longest = sorted(spent.items(), key=lambda each: -each[1])
        rows += [(name, phase, round(seconds, 1), f"{seconds / total:.1%}") for phase, seconds in longest]
    head = ("run", "phase", "seconds", "share")
    table = (
        [Table(caption="Time of rank 0, as its process sees it", head=head, rows=rows, bars=(2,))]
        if rows
        else []
    )
    return [*table, *notes]


def _configuration(runs: Runs) -> list[Block]:
    known = {name: run.description for name, run in runs.items() if run.description}
    notes: list[Block] = [Note(text=f"{name}: {_UNKNOWN}") for name in runs if name not in known]
    if not known:
        return notes
    versions = _side_by_side({name: each.versions for name, each in known.items()})
    settings = _side_by_side({name: settings_of(each.config) for name, each in known.items()})
    different = [row for row in settings if len({*row[1:]}) > 1]
    tables: list[Block] = [Table(caption="Versions and device", head=("what", *known), rows=versions)]
    if len(known) > 1:
        text = "The configurations are equal." if not different else ""
        caption = "Keys in which the configurations differ"
        tables.append(
            Note(text=text) if text else Table(caption=caption, head=("key", *known), rows=different)
        )
    tables.append(Table(caption="Configuration", head=("key", *known), rows=settings, is_open=False))
    return [*tables, *notes]


def _side_by_side(of_runs: Mapping[str, Mapping[str, Any]]) -> list[Sequence[Cell]]:
    keys = dict.fromkeys(key for each in of_runs.values() for key in each)
    return [
        (key, *(public_uri(str(each[key])) if key in each else None for each in of_runs.values()))
        for key in keys
    ]
