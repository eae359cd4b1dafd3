"""`tutelage demo`: corpora, trainings and evaluations on the bundled handbook, by the ordinary commands.

    models fetch ─► for each arm: corpus build handbook.yaml ─► train smollm2-135m-handbook.yaml ─► report

An arm is what the model is trained on. --fast has one: texts with the recorded pairs. The full demo adds the
texts alone, and texts with pairs that the model writes itself. All arms have the same training YAML, and so
the same tokens. Each step runs a command in its own process, as a person would. A second demo in the same
folder finds no new documents and trains again. The summary computes its intervals from the saved answers.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from plugins.commands.parser import Parser
from plugins.console import Console
from schemas.corpus_layout import text_uris
from schemas.errors import ConfigError, TutelageError
from schemas.manifest import read_manifest
from schemas.process import python_command
from schemas.records import AugmentedText
from schemas.validation import read_records

_ROOT = Path(__file__).resolve().parents[2]
_HEAD_CHARACTERS = 500
_TAIL_CHARACTERS = 1100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """A corpus of the handbook, and a training on it.

    Attributes:
        name: Its folder.
        title: What the model is trained on.
        overrides: Overrides of handbook.yaml.
    """

    name: str
    title: str
    overrides: tuple[str, ...] = ()


PLAIN = Arm(name="plain", title="texts alone", overrides=("streams.domain.synthesize=false",))
OWN_PAIRS = Arm(
    name="own-pairs",
    title="texts with the model's own pairs",
    overrides=(  # as in demo.yaml; a small model writes some answers that nobody can read
        "synthesis={backend: transformers, protocol: chat, model: '${variables.model}', max_new_tokens: 80, "
        "context_tokens: 2048, max_in_flight: 32, max_failure_share: 0.5, options: {batch_size: 16}}",
    ),
)
RECORDED = Arm(name="recorded", title="texts with the handbook's pairs")

_REPORT = "report.html"
_QUESTION = "What is Dolorix given for?"

_RIGHT = "questions answered right"
_LIKELIHOOD = "log-probability of the right answer, a token"
_BITS = "bits a byte of passages (lower is better)"


class Score(NamedTuple):
    """A score with its 95% interval over rows."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], weights: Sequence[float] | None = None) -> Score:
        """Mean of values by weight, with a bootstrap of 1,000 draws of rows, as in `tutelage eval`."""
        rows = np.array([values, weights or [1.0] * len(values)])
        drawn = rows[:, np.random.default_rng(17).integers(len(values), size=(1000, len(values)))].sum(axis=2)
        low, high = np.percentile(drawn[0] / drawn[1], [2.5, 97.5])
        return cls(float(rows[0].sum() / rows[1].sum()), float(low), float(high))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """An evaluation of an arm.

    Attributes:
        batch: Steps before it.
        tokens: Trained tokens before it.
        of_questions: By measure of questions, the value of each question; a right answer is 1.0.
        scores: By measure.
    """

    batch: int
    tokens: int
    of_questions: dict[str, list[float]]
    scores: dict[str, Score]


def main(argv: Sequence[str]) -> int:
    """Run the demo; return the exit status."""
    parser = Parser(prog="tutelage demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--fast", action="store_true", help="train once, on texts with recorded pairs, instead of three times"
    )
    parser.add_argument("--output", type=Path, help="folder (default runs/demo, with --fast runs/demo-fast)")
    parser.add_argument("--model", help="directory of a causal LM (default: models/smollm2-135m, fetched)")
    arguments = parser.parse_args(argv)
    arms, minutes = ((RECORDED,), 5) if arguments.fast else ((PLAIN, OWN_PAIRS, RECORDED), 20)
    output = arguments.output or Path("runs/demo-fast" if arguments.fast else "runs/demo")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; give a folder.")
    if arguments.model and not (Path(arguments.model) / "config.json").is_file():
        raise ConfigError(f"--model {arguments.model}: holds no config.json; give a Hugging Face directory.")
    examples = find_examples()
    model = arguments.model or "models/smollm2-135m"

    console = Console(highlight=False)
    trainings = "one training" if len(arms) == 1 else f"{len(arms)} trainings with equal tokens"
    console.print(
        "[bold]Tutelage demo[/bold]: a small model learns a handbook of 12 drugs that do not exist. "
        f"{trainings.capitalize()}, with questions that it never reads before, during and after. "
        f"Under {minutes} minutes on 2 cores."
    )
    started = time.monotonic()
    if not arguments.model:
        _step(console, 1, "The model", ["models", "fetch", "smollm2-135m", "--output", model])
    for at, arm in enumerate(arms):
        folder = output / arm.name
        _step(
            console,
            2 * at + 2,
            f"The corpus ({arm.title}): read, clean, dedup, synthesize, render, pack",
            [
                *("corpus", "build", str(_ROOT / "pipelines/yamls/handbook.yaml")),
                f"corpus={folder}/corpus",
                f"variables.examples={examples}",
                f"variables.model={model}",
                *arm.overrides,
            ],
        )
        _step(
            console,
            2 * at + 3,
            f"Training on {arm.title}: Composer, with scores of questions and passages that it never reads",
            [
                *("train", str(_ROOT / "trainer/yamls/smollm2-135m-handbook.yaml")),
                f"run_name={arm.name}",
                f"variables.corpus={folder}/corpus",
                f"variables.examples={examples}",
                f"model.pretrained_model_name_or_path={model}",
                f"loggers.jsonl.path={folder}/metrics.jsonl",
                f"callbacks.domain_eval.output={folder}/eval",
                f"callbacks.hf_export.folder={folder}/model",
            ],
        )
    _step(
        console,
        2 * len(arms) + 2,
        "A page about corpora and trainings, for a browser",
        [
            *("report", *(f"{output}/{arm.name}/corpus" for arm in arms)),
            *(f"{output}/{arm.name}" for arm in arms),
            *("--output", f"{output}/{_REPORT}"),
        ],
    )
    _summary(console, output, arms, model=model, seconds=time.monotonic() - started)
    return 0


def find_examples() -> Path:
    """Folder of the bundled examples: beside the packages in a checkout, under share/ in an installed wheel.

    Raises:
        ConfigError: It is in neither place.
    """
    checkout, installed = _ROOT / "examples", Path(sysconfig.get_path("data")) / "share/tutelage/examples"
    for folder in (checkout, installed):
        if (folder / "handbook").is_dir():
            return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    raise ConfigError(
        f"the bundled examples are neither in {checkout} nor in {installed}. Install Tutelage again."
    )


def _step(console: Console, number: int, title: str, arguments: list[str]) -> None:
    shown = [argument.removeprefix(f"{Path.cwd()}/") for argument in arguments]
    console.print(f"\n[bold]{number}. {title}[/bold]")
    console.print(Text(f"   $ tutelage {shlex.join(shown)}", style="dim"), soft_wrap=True)
    console.file.flush()
    done = subprocess.run(python_command("plugins.commands.main", *arguments), check=False)
    if done.returncode:
        raise TutelageError(
            f"step {number} ended with exit status {done.returncode}; see its message above. Earlier steps "
            "are kept, and the same command continues from there."
        )


def _summary(console: Console, output: Path, arms: Sequence[Arm], *, model: str, seconds: float) -> None:
    points = {arm.title: _points(output / arm.name / "eval") for arm in arms}
    last = points[arms[-1].title][-1]
    corpus, trained = f"{output}/{arms[-1].name}/corpus", f"{output}/{arms[-1].name}/model"
    console.print()
    console.rule(f"[bold]Done in {seconds / 60:.1f} minutes")
    console.print(
        f"[bold]What was trained[/bold]: {model}, on {last.tokens:,} tokens in {last.batch:,} steps"
        + (", once on each of:" if len(arms) > 1 else ", on:")
    )
    made = Table.grid(padding=(0, 2))
    for arm in arms:
        sets = read_manifest(f"{output}/{arm.name}/corpus").shard_sets("domain")
        made.add_row(
            f"  {arm.title}",
            f"{sum(shards.num_texts for shards in sets):,} texts",
            f"{sum(shards.num_pairs for shards in sets):,} pairs",
            f"{sum(shards.num_tokens for shards in sets):,} tokens",
        )
    console.print(made)
    console.print(
        "[bold]What it learned[/bold]: no model knows these drugs before it is trained on them. The "
        f"{len(last.of_questions[_RIGHT])} questions are worded as no pair is and have four options each, so "
        "a guess scores 0.25. The passages state the same facts in another order, and partly in the same "
        "sentences. In brackets: 95% intervals over questions or passages, of this one run."
    )
    console.print(_table(points))
    for arm in arms[:-1]:
        console.print(f"{arms[-1].title.capitalize()} minus {arm.title}, after the same tokens:")
        for measure, ours in last.of_questions.items():
            theirs = points[arm.title][-1].of_questions[measure]
            gain, low, high = Score.of([after - each for each, after in zip(theirs, ours, strict=True)])
            console.print(f"  {measure}: {gain:+.2f} [{low:+.2f}, {high:+.2f}]")
    if len(arms) == 1:
        console.print(
            "One training shows that a model learns from such texts. What pairs add to texts alone: the demo "
            "without --fast shows it, benchmarks/README.md measures it over seeds."
        )
    text = random.Random(17).choice([text for text in _texts(corpus) if text.num_pairs])
    console.print(
        Panel(
            Text(_shortened(text.text)),
            title="One augmented text",
            subtitle=Text(f"pairs: {text.num_pairs}; from {', '.join(text.document_ids)}"),
        )
    )
    console.print("[bold]Where it is[/bold]")
    console.print(Text(f"  report   {output}/{_REPORT}\n  corpus   {corpus}\n  model    {trained}"))
    console.print("[bold]What to run next[/bold]")
    folder = ".venv/bin/" if Path(".venv/bin/tutelage").exists() else ""
    for command in (
        f"tutelage corpus show {corpus} --texts 3 --rows 1",
        f"tutelage eval --model {trained} --tasks {find_examples()}/handbook/tasks",
        f'tutelage chat --model {trained} --prompt "{_QUESTION}"',
    ):
        console.print(Text(f"  {folder}{command}"), soft_wrap=True)


def _points(folder: Path) -> list[Point]:
    """The evaluations of a training, from the answers that `domain_eval` saved."""
    points = []
    for line in _rows(folder / "scores.jsonl"):
        answers = folder / "eval" / str(line["batch"])
        questions, passages = (
            _rows(answers / "handbook_choice.jsonl"),
            _rows(answers / "handbook_passages.jsonl"),
        )
        of_questions = {
            _RIGHT: [float(row["answer"] in row["gold"]) for row in questions],
            _LIKELIHOOD: [row["option_scores"][row["gold"][0]] for row in questions],
        }
        scores = {measure: Score.of(values) for measure, values in of_questions.items()}
        scores[_BITS] = Score.of([row["bits"] for row in passages], [row["bytes"] for row in passages])
        points.append(
            Point(batch=line["batch"], tokens=line["tokens"], of_questions=of_questions, scores=scores)
        )
    return points


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _table(points: Mapping[str, list[Point]]) -> Table:
    """One line an evaluation; all arms begin with the same model, whose line comes once."""
    first = next(iter(points.values()))
    table = Table("trained on", Column("tokens", justify="right"), *first[0].scores)
    for title, of_arm in (("nothing yet", first[:1]), *((name, each[1:]) for name, each in points.items())):
        for point in of_arm:
            cells = (f"{each.value:.2f} [{each.low:.2f}, {each.high:.2f}]" for each in point.scores.values())
            table.add_row(title, f"{point.tokens:,}", *cells)
    return table


def _shortened(text: str) -> str:
    """Beginning and end of a text: the first words of the passage, and the last pairs."""
    if len(text) <= _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        return text
    return (
        f"{text[:_HEAD_CHARACTERS].rsplit(' ', 1)[0]} […]\n\n[…] {text[-_TAIL_CHARACTERS:].split(' ', 1)[-1]}"
    )


def _texts(corpus: str) -> Iterator[AugmentedText]:
    for name in read_manifest(corpus).names():
        for uri in text_uris(corpus, "domain", name):
            yield from read_records(uri, AugmentedText)


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
