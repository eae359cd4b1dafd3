"""`tutelage eval`: domain tasks on any causal LM, several models side by side.

With several models, each later one is compared with the first, row by row. With `--output`, answers are
written after each task, and the same command goes on where one was stopped: tasks that are done are not
computed again, and a model of which all are done is not even loaded.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError, TutelageError, report
from trainer.evaluation.find import load_tasks
from trainer.evaluation.saved import SavedRun
from trainer.evaluation.task import Task

if TYPE_CHECKING:
    from trainer.evaluation.compare import Comparison
    from trainer.evaluation.contamination import FoundRows
    from trainer.evaluation.evaluator import TaskResult

_SHOWN_ROWS = 5


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `tutelage eval …`."""
    parser = argparse.ArgumentParser(prog="tutelage eval", description=__doc__)
    parser.add_argument(
        "--model", action="extend", nargs="+", required=True, metavar="DIR_OR_NAME", dest="models",
        help="Hugging Face directories or hub names; several are shown side by side",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", required=True, metavar="NAME,…|DIR",
        help="tasks or domains by name, task files, or directories of .jsonl, .json, .parquet or .yaml; "
        "comma between several",
    )  # fmt: skip
    parser.add_argument(
        "--tasks-root", metavar="DIR",
        help="where the rows of named tasks lie, as DIR/TASK.jsonl or DIR/TASK/test.json (default: the hub)",
    )  # fmt: skip
    parser.add_argument(
        "--add-bos-token", choices=["true", "false"],
        help="whether BOS opens each prompt (default: as the tokenizer does by itself)",
    )  # fmt: skip
    parser.add_argument(
        "--max-rows", type=int, metavar="N", help="rows of a task, chosen by --seed (default: all)"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, default=100, metavar="N", help="longest answer, in tokens"
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=8192, metavar="N", help="padded tokens of a forward pass"
    )
    parser.add_argument("--seed", type=int, default=17, help="of the choice of rows and the intervals")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto",
        help="of the weights; auto is bfloat16 on a GPU, float32 elsewhere",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="DEVICE", help="such as cpu or cuda:0 (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="let code that comes with a model run"
    )
    parser.add_argument(
        "--output", metavar="FILE.json",
        help="write scores and every answer there, task by task; if it is there, go on from it",
    )  # fmt: skip
    parser.add_argument(
        "--manifest", nargs="+", default=[], metavar="URI", dest="manifests",
        help="corpora trained on, or manifests of theirs (CORPUS/manifest/000003.json): each score is shown "
        "besides on the rows that their text does not hold",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    return parser


def main(argv: list[str]) -> int:
    """Run `tutelage eval ARGV` and return its exit status."""
    options = build_parser().parse_args(argv)
    try:
        _evaluate(options)
        return 0
    except TutelageError as error:
        return report(error)


def _evaluate(options: argparse.Namespace) -> None:
    # All that can be wrong is looked at before torch is imported, which takes seconds.
    if len(set(options.models)) < len(options.models):
        raise ConfigError("--model names one model twice.")
    for name in options.models:
        check_model_name(name)
    for flag in ("max_rows", "max_new_tokens", "batch_tokens"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise ConfigError(f"--{flag.replace('_', '-')} is {value}, expected at least 1.")
    tasks = load_tasks(
        [name.strip() for name in options.tasks.split(",") if name.strip()], options.tasks_root
    )
    saved = SavedRun(
        options.output,
        {
            "add_bos_token": options.add_bos_token,
            "max_rows": options.max_rows,
            "max_new_tokens": options.max_new_tokens,
            "seed": options.seed,
            "dtype": options.dtype,
        },
    )
    found = _find_rows(tasks, options.manifests, saved)

    results = {name: _evaluate_model(name, tasks, options, saved, found) for name in options.models}
    comparisons = _compare(results, options.seed)

    if options.json:
        summaries = {name: [result.summary() for result in of_model] for name, of_model in results.items()}
        print(json.dumps({"models": summaries, "comparisons": _plain(comparisons)}))
    else:
        print_table(results)
        print_comparisons(comparisons)
    saved.write(_plain(comparisons))


def _find_rows(tasks: Sequence[Task], manifests: Sequence[str], saved: SavedRun) -> FoundRows | None:
    """Rows that stand in the training text; from the saved run if nothing changed. None without manifests."""
    if not manifests:
        return None
    from trainer.evaluation.contamination import TrainingText, find_rows, search_key

    texts = [TrainingText.of(uri) for uri in manifests]
    key = search_key(tasks, texts)
    found = saved.found(key)
    if found is None:
        found = find_rows(tasks, texts)
        saved.keep_found(key, found)
    return found


def _compare(results: dict[str, list[TaskResult]], seed: int) -> dict[tuple[str, str], list[Comparison]]:
    """Each later model beside the first one, on each task that has rows in common."""
    if len(results) < 2:
        return {}
    from trainer.evaluation.compare import compare

    (first, of_first), *others = results.items()
    return {
        (first, other): [
            comparison
            for pair in zip(of_first, of_other, strict=True)
            if (comparison := compare(*pair, seed=seed)) is not None
        ]
        for other, of_other in others
    }


def _plain(comparisons: dict[tuple[str, str], list[Comparison]]) -> list[dict[str, Any]]:
    return [
        {"models": list(models), **comparison.summary()}
        for models, of_models in comparisons.items()
        for comparison in of_models
    ]


def check_model_name(name: str) -> None:
    """Refuse what can be neither a Hugging Face directory nor a hub name.

    Raises:
        ConfigError: Says what is missing.
    """
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise ConfigError(
                f"--model {name!r} is a directory without config.json; give a Hugging Face directory."
            )
    elif name.startswith((".", "/", "~")) or name.count("/") > 1 or os.path.exists(name):
        raise ConfigError(
            f"--model {name!r}: no such directory. Give a Hugging Face directory or a hub name; "
            "`tutelage models fetch smollm2-135m` makes a small one."
        )


def _evaluate_model(
    name: str,
    tasks: Sequence[Task],
    options: argparse.Namespace,
    saved: SavedRun,
    found: FoundRows | None,
) -> list[TaskResult]:
    import torch
    from transformers import AutoModelForCausalLM

    from plugins.tokenizers import load_tokenizer
    from trainer.evaluation.evaluator import Evaluator

    device = _device(options.device)
    is_bfloat16 = options.dtype == "bfloat16" or (options.dtype == "auto" and device.type == "cuda")
    evaluator = Evaluator(
        tasks,
        load_tokenizer(name, trust_remote_code=options.trust_remote_code),
        add_bos=None if options.add_bos_token is None else options.add_bos_token == "true",
        batch_tokens=options.batch_tokens,
        max_new_tokens=options.max_new_tokens,
        max_rows=options.max_rows,
        seed=options.seed,
        intervals=True,
        found=found,
    )
    done: dict[str, TaskResult] = {}
    for task in tasks:
        known = saved.task(name, task.name)
        result = evaluator.restored(task, known) if known is not None else None
        if result is not None:
            done[task.name] = result
    left = [task for task in tasks if task.name not in done]
    if done:
        known_tasks = f"{len(done)} of {len(tasks)} tasks of {name} are known from {saved.uri}."
        print(known_tasks, file=sys.stderr, flush=True)
    if not left:
        return [done[task.name] for task in tasks]

    def keep(result: TaskResult) -> None:
        done[result.task.name] = result
        saved.add(name, result.summary() | {"answers": result.predictions()})

    try:
        model = AutoModelForCausalLM.from_pretrained(
            name,
            torch_dtype=torch.bfloat16 if is_bfloat16 else torch.float32,
            trust_remote_code=options.trust_remote_code,
        ).to(device)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        raise ConfigError(
            f"--model {name!r} cannot be loaded: {lines[0] if lines else type(error).__name__}"
        ) from error
    evaluator.run(model, tasks=left, on_result=keep)
    del model
    gc.collect()  # the next model needs the room
    return [done[task.name] for task in tasks]


def _device(name: str | None) -> Any:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def print_table(results: dict[str, list[TaskResult]]) -> None:
    """Print scores with their 95% intervals, a column a model, and below them what was not scored.

    Where training text was looked at, a line `unseen` has the score on the rows that it does not hold.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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
        for result in of_model:
            for line in _remarks(result):
                console.print(Text(f"{model}: {line}" if len(columns) > 1 else line))


def print_comparisons(comparisons: dict[tuple[str, str], list[Comparison]]) -> None:
    """Print each difference with its 95% interval, and the first rows that are answered differently."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400, no_color=True)
    for (first, second), of_models in comparisons.items():
        one, other = _short([first, second])
        console.print(Text(f"\n{other} against {one}:"))
        for found in of_models:
            low, high = found.interval
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
        f"{name}: {len(result.repeated)} rows repeat others": result.repeated,
        f"{name}: {len(result.refused)} rows are not scored": [str(row) for row in result.refused],
        f"{name}: {len(found)} rows stand in the training text": [
            f"{position}: {words!r}" for position, words in found.items()
        ],
    }
    lines = []
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
