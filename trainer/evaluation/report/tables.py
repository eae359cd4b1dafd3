"""Output of `tutelage eval`: scores, one column per model; rows that were not scored; differing answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from plugins.console import Console
from trainer.evaluation.evaluator import TaskResult
from trainer.evaluation.report.compare import Comparison, DifferingRow
from trainer.evaluation.scoring.chat_turns import describe_chat
from trainer.evaluation.scoring.metrics import lower_is_better

_SHOWN_ROWS = 5
_MORE_ROWS = "  … --output FILE.json lists all"


def print_table(results: dict[str, list[TaskResult]]) -> None:
    """Print scores with their 95% intervals, one column per model, and remarks below them.

    An arrow marks a metric whose lower score is better. If the training text was searched, a line `unseen`
    has the score on the rows that it does not hold.
    """
    console = _console()
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
            cells = [_cell(metric, result.scores, result.intervals, "failed") for result in of_task]
            name = f"{metric} ↓" if lower_is_better(metric) else metric
            table.add_row(task.name, task.kind, rows, name, *(Text(cell) for cell in cells))
            if of_task[0].found is not None:
                unseen = "/".join(dict.fromkeys(str(result.num_unseen) for result in of_task))
                cells = [
                    _cell(metric, result.unseen_scores, result.unseen_intervals, "-") for result in of_task
                ]
                table.add_row(task.name, "unseen", unseen, name, *(Text(cell) for cell in cells))
    console.print(table)
    for model, of_model in zip(_short(list(results)), columns, strict=True):
        lines = list(dict.fromkeys(describe_chat(result.chat) for result in of_model if result.chat))
        for result in of_model:
            if result.error:
                lines.append(f"{result.task.name} failed: {result.error}")
            elif result.windows:
                lines.append(f"{result.task.name}: {result.windows}")
            for remark, of_remark in result.remarks().items():
                lines += [remark, *(f"  {row}" for row in of_remark[:_SHOWN_ROWS])]
                if len(of_remark) > _SHOWN_ROWS:
                    lines.append(_MORE_ROWS)
        for line in lines:
            console.print(Text(f"{model}: {line}" if len(columns) > 1 else line))


def print_comparisons(comparisons: dict[tuple[str, str], list[Comparison]]) -> None:
    """Print each difference with its 95% interval, and the first rows with different answers."""
    console = _console()
    for (first, second), of_models in comparisons.items():
        one, other = _short([first, second])
        console.print(Text(f"\n{other} against {one}:"))
        for found in of_models:
            low, high = found.interval
            if found.chats[0] != found.chats[1]:
                chats = ", ".join(describe_chat(chat) for chat in found.chats)
                console.print(Text(f"{found.task}: the prompts differ: {chats}"))
            if found.windows[0] != found.windows[1]:
                windows = ", ".join(map(str, found.windows))
                console.print(Text(f"{found.task}: the context of tokens differs: {windows}"))
            console.print(
                Text(
                    f"{found.task} {found.metric} {found.difference:+.3f} [{low:+.3f}, {high:+.3f}]  "
                    f"better on {found.num_better} rows, worse on {found.num_worse}, "
                    f"other answers on {len(found.rows)} of {found.num_rows}"
                )
            )
            for row in found.rows[:_SHOWN_ROWS]:
                console.print(Text(f"  {row.position}: {_answers(row)}"))
            if len(found.rows) > _SHOWN_ROWS:
                console.print(Text(_MORE_ROWS))


def _answers(row: DifferingRow) -> str:
    if not row.gold:  # a held-out text
        return " → ".join(f"{bits_per_byte:.3f}" for bits_per_byte in row.answers)
    return f"{' → '.join(map(repr, row.answers))}, right is {row.gold!r}"


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=400, no_color=True)


def _cell(
    metric: str, scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], without: str
) -> str:
    """A score and its interval, which one row alone lacks; `without` if there are no scores."""
    if not scores:
        return without
    low_high = intervals.get(metric)
    return f"{scores[metric]:.3f}" + (f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else "")


def _short(models: Sequence[str]) -> list[str]:
    """The last part of each name if these differ, else the whole names."""
    last = [name.rstrip("/").rpartition("/")[2] for name in models]
    return last if len(set(last)) == len(last) else list(models)
