"""What `tutelage eval` prints: scores, a column a model; what was not scored; where models differ."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from plugins.console import Console
from trainer.evaluation.evaluator import TaskResult
from trainer.evaluation.report.compare import Comparison
from trainer.evaluation.scoring.chat_turns import describe_chat

_SHOWN_ROWS = 5


def print_table(results: dict[str, list[TaskResult]]) -> None:
    """Print scores with their 95% intervals, a column a model, and below them what was not scored.

    Where training text was looked at, a line `unseen` has the score on the rows that it does not hold.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400, no_color=True)
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for heading in ("task", "kind", "rows", "metric", *_short(list(results))):
        table.add_column(
            heading, justify="right" if heading == "rows" else "left", no_wrap=heading == "metric"
        )
    columns = list(results.values())
    for of_task in zip(*columns, strict=True):
        task = of_task[0].task
        for metric in task.metrics:
            rows = "/".join(dict.fromkeys(str(len(result.rows)) for result in of_task))
            cells = [_cell(result, metric) for result in of_task]
            table.add_row(task.name, task.kind, rows, metric, *(Text(cell) for cell in cells))
            if of_task[0].found is not None:
                unseen = "/".join(dict.fromkeys(str(result.num_unseen) for result in of_task))
                cells = [_unseen_cell(result, metric) for result in of_task]
                table.add_row(task.name, "unseen", unseen, metric, *(Text(cell) for cell in cells))
    console.print(table)
    for model, of_model in zip(_short(list(results)), columns, strict=True):
        for line in dict.fromkeys(describe_chat(result.chat) for result in of_model if result.chat):
            console.print(Text(f"{model}: {line}" if len(columns) > 1 else line))
        for result in of_model:
            for line in _remarks(result):
                console.print(Text(f"{model}: {line}" if len(columns) > 1 else line))


def print_comparisons(comparisons: dict[tuple[str, str], list[Comparison]]) -> None:
    """Print each difference with its 95% interval, and the first rows that are answered differently."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400, no_color=True)
    for (first, second), of_models in comparisons.items():
        one, other = _short([first, second])
        console.print(Text(f"\n{other} against {one}:"))
        for found in of_models:
            low, high = found.interval
            if found.chats[0] != found.chats[1]:
                chats = ", ".join(describe_chat(chat) for chat in found.chats)
                console.print(Text(f"{found.task}: the prompts differ: {chats}"))
            console.print(
                Text(
                    f"{found.task} {found.metric} {found.difference:+.3f} [{low:+.3f}, {high:+.3f}]  "
                    f"better on {found.num_better} rows, worse on {found.num_worse}, "
                    f"other answers on {len(found.rows)} of {found.num_rows}"
                )
            )
            for row in found.rows[:_SHOWN_ROWS]:
                answers = " → ".join(map(repr, row.answers))
                console.print(Text(f"  {row.position}: {answers}, right is {row.gold!r}"))
            if len(found.rows) > _SHOWN_ROWS:
                console.print(Text("  … --output FILE.json names them all"))


def _cell(result: TaskResult, metric: str) -> str:
    if not result.scores:
        return "failed"
    low, high = result.intervals[metric]
    return f"{result.scores[metric]:.3f} [{low:.3f}, {high:.3f}]"


def _unseen_cell(result: TaskResult, metric: str) -> str:
    if not result.unseen_scores:
        return "-"
    low, high = result.unseen_intervals[metric]
    return f"{result.unseen_scores[metric]:.3f} [{low:.3f}, {high:.3f}]"


def _remarks(result: TaskResult) -> list[str]:
    name, found = result.task.name, result.found or {}
    remarks = {
        f"{name}: {len(result.truncated)} prompts lost their start to fit the context": result.truncated,
        f"{name}: {len(result.tied)} rows have several best options; the first counts": result.tied,
        f"{name}: {len(result.merged)} rows share a token of prompt and option": result.merged,
        f"{name}: {len(result.repeated)} rows repeat others": result.repeated,
        f"{name}: {len(result.refused)} rows are not scored": [str(row) for row in result.refused],
        f"{name}: {len(found)} rows stand in the training text": [
            f"{position}: {words!r}" for position, words in found.items()
        ],
    }
    lines = [f"{name} failed: {result.error}"] if result.error else []
    for remark, rows in remarks.items():
        if rows:
            lines += [remark, *(f"  {row}" for row in rows[:_SHOWN_ROWS])]
            if len(rows) > _SHOWN_ROWS:
                lines.append("  … --output FILE.json names them all")
    return lines


def _short(models: Sequence[str]) -> list[str]:
    """The last part of each name where that tells them apart, else the whole."""
    last = [name.rstrip("/").rpartition("/")[2] for name in models]
    return last if len(set(last)) == len(last) else list(models)
