"""`tutelage demo`: corpus, training and evaluation on the bundled examples, by the ordinary commands.

    models fetch ─► corpus build FILE.yaml ─► train FILE.yaml ─► a summary

--fast takes handbook.yaml and smollm2-135m-handbook.yaml, the full demo demo.yaml and smollm2-135m-cpu.yaml.
Each step runs a command in its own process, as a person would. A second demo in the same folder finds no new
documents and trains again. The summary computes its intervals from the saved answers of the evaluations.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plugins.commands.parser import Parser
from plugins.console import Console
from schemas.corpus_layout import text_uris
from schemas.errors import ConfigError, TutelageError
from schemas.manifest import Manifest, read_manifest
from schemas.process import python_command
from schemas.records import AugmentedText
from schemas.validation import read_records

_ROOT = Path(__file__).resolve().parents[2]
_HEAD_CHARACTERS = 500
_TAIL_CHARACTERS = 1100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a demo.

    Attributes:
        subject: What the corpus holds and who wrote the pairs; the subject of a sentence.
        corpus: YAML of the corpus, in pipelines/yamls/.
        training: YAML of the training, in trainer/yamls/.
        overrides: Overrides of the training's YAML.
        tasks: Folder of held-out questions in the examples.
        question: A question to the trained model, for the end of the summary.
        minutes: Maximum minutes on two cores.
    """

    subject: str
    corpus: str
    training: str
    overrides: tuple[str, ...] = ()
    tasks: str
    question: str
    minutes: int


FULL = Size(
    subject="biomedical passages with pairs that the model writes itself",
    corpus="demo.yaml",
    training="smollm2-135m-cpu.yaml",
    overrides=("max_duration=12ba", "global_train_batch_size=2", "variables.interval=6ba"),
    tasks="biomedicine/tasks",
    question="What does the femoral nerve supply?",
    minutes=20,
)
FAST = Size(
    subject="a handbook of 12 invented drugs, which no model knows, with recorded pairs",
    corpus="handbook.yaml",
    training="smollm2-135m-handbook.yaml",
    tasks="handbook/tasks",
    question="What is Dolorix given for?",
    minutes=5,
)


def main(argv: Sequence[str]) -> int:
    """Run the demo; return the exit status."""
    parser = Parser(prog="tutelage demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--fast",
        action="store_true",
        help="an invented handbook with recorded pairs, so that no model writes any",
    )
    parser.add_argument("--output", type=Path, help="folder (default runs/demo, with --fast runs/demo-fast)")
    parser.add_argument("--model", help="directory of a causal LM (default: models/smollm2-135m, fetched)")
    arguments = parser.parse_args(argv)
    size = FAST if arguments.fast else FULL
    output = arguments.output or Path("runs/demo-fast" if arguments.fast else "runs/demo")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; give a folder.")
    if arguments.model and not (Path(arguments.model) / "config.json").is_file():
        raise ConfigError(f"--model {arguments.model}: holds no config.json; give a Hugging Face directory.")
    examples = find_examples()
    model = arguments.model or "models/smollm2-135m"
    corpus, exported, scores = f"{output}/corpus", f"{output}/model", f"{output}/eval"

    console = Console(highlight=False)
    console.print(
        f"[bold]Tutelage demo[/bold]: it turns {size.subject} into instruction-augmented training text, "
        f"trains a 135M model on it, and asks the model held-out questions before, during and after. "
        f"Under {size.minutes} minutes on 2 cores."
    )
    started = time.monotonic()
    if not arguments.model:
        _step(console, 1, "The model", ["models", "fetch", "smollm2-135m", "--output", model])
    _step(
        console,
        2,
        "The corpus: read, clean, dedup, synthesize, render, pack",
        [
            *("corpus", "build", str(_ROOT / "pipelines/yamls" / size.corpus)),
            f"corpus={corpus}",
            f"variables.examples={examples}",
            f"variables.model={model}",
        ],
    )
    _step(
        console,
        3,
        "Training: Composer, with scores of the domain tasks before, during and after",
        [
            *("train", str(_ROOT / "trainer/yamls" / size.training)),
            f"run_name={output.name}",
            f"variables.corpus={corpus}",
            f"model.pretrained_model_name_or_path={model}",
            f"callbacks.domain_eval.tasks=[{examples}/{size.tasks}]",
            f"callbacks.domain_eval.output={scores}",
            *size.overrides,
            f"callbacks.hf_export.folder={exported}",
            "save_folder=null",
            "autoresume=false",
        ],
    )
    seconds = time.monotonic() - started
    _summary(console, size, corpus=corpus, exported=exported, scores=scores, seconds=seconds)
    return 0


def find_examples() -> Path:
    """Folder of the bundled examples: beside the packages in a checkout, under share/ in an installed wheel.

    Raises:
        ConfigError: It is in neither place.
    """
    checkout, installed = _ROOT / "examples", Path(sysconfig.get_path("data")) / "share/tutelage/examples"
    for folder in (checkout, installed):
        if (folder / "biomedicine").is_dir():
            return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    raise ConfigError(
        f"the bundled examples are neither in {checkout} nor in {installed}. Install Tutelage again."
    )


def _step(console: Console, number: int, title: str, arguments: list[str]) -> None:
    shown = [argument.removeprefix(f"{_ROOT}/") for argument in arguments]
    console.print(f"\n[bold]{number}. {title}[/bold]")
    console.print(Text(f"   $ tutelage {shlex.join(shown)}", style="dim"), soft_wrap=True)
    console.file.flush()
    done = subprocess.run(python_command("plugins.commands.main", *arguments), check=False)
    if done.returncode:
        raise TutelageError(
            f"step {number} ended with exit status {done.returncode}; see its message above. Earlier steps "
            "are kept, and the same command continues from there."
        )


def _summary(
    console: Console, size: Size, *, corpus: str, exported: str, scores: str, seconds: float
) -> None:
    manifest = read_manifest(corpus)
    texts = list(_texts(corpus, manifest))
    num_pairs = sum(text.num_pairs for text in texts)
    made = Table.grid(padding=(0, 2))
    for name in manifest.stream_names():
        sets = manifest.shard_sets(name)
        made.add_row(
            name,
            f"{sum(shards.num_texts for shards in sets):,} texts",
            f"{sum(shards.num_tokens for shards in sets):,} tokens",
            f"{sum(shards.num_samples for shards in sets):,} rows of {manifest.seq_len}",
        )
    console.print()
    console.rule(f"[bold]Done in {seconds / 60:.1f} minutes")
    console.print(
        f"[bold]What was made[/bold]: {num_pairs:,} instruction-response pairs in {len(texts):,} texts"
    )
    console.print(made)
    _show_scores(console, Path(scores))
    augmented = [text for text in texts if text.num_pairs]
    if augmented:
        text = random.Random(manifest.number).choice(augmented)
        console.print(
            Panel(
                Text(_shortened(text.text)),
                title="One augmented text",
                subtitle=Text(f"pairs: {text.num_pairs}; from {', '.join(text.document_ids)}"),
            )
        )
    console.print("[bold]Where it is[/bold]")
    console.print(Text(f"  corpus   {corpus}\n  model    {exported}\n  scores   {scores}"))
    picture = Path(scores) / "scores.png"
    console.print(
        Text(f"  picture  {picture}" if picture.exists() else "  picture  none was drawn; see above")
    )
    console.print("[bold]What to run next[/bold]")
    folder = ".venv/bin/" if Path(".venv/bin/tutelage").exists() else ""
    for command in (
        f"tutelage corpus show {corpus} --texts 3 --rows 1",
        f"tutelage eval --model {exported} --tasks {find_examples()}/{size.tasks}",
        f'tutelage chat --model {exported} --prompt "{size.question}"',
    ):
        console.print(Text(f"  {folder}{command}"), soft_wrap=True)


def _shortened(text: str) -> str:
    """Beginning and end of a text: the first words of the passage, and the last pairs."""
    if len(text) <= _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        return text
    return (
        f"{text[:_HEAD_CHARACTERS].rsplit(' ', 1)[0]} […]\n\n[…] {text[-_TAIL_CHARACTERS:].split(' ', 1)[-1]}"
    )


def _texts(corpus: str, manifest: Manifest) -> Iterator[AugmentedText]:
    """The training texts of the stream whose documents have pairs."""
    for name in manifest.names():
        for uri in text_uris(corpus, "domain", name):
            yield from read_records(uri, AugmentedText)


def _show_scores(console: Console, folder: Path) -> None:
    """Show each task's scores by evaluation, with 95% intervals over rows, from the saved answers."""
    lines = (folder / "scores.jsonl").read_text("utf-8").splitlines()
    evaluations: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if not evaluations:
        return
    console.print("[bold]What it learned[/bold]: scores on held-out rows, with 95% intervals over rows")
    table = Table()
    table.add_column("tokens", justify="right")
    table.add_column("steps", justify="right")
    names = sorted(path.stem for path in _answers_of(folder, evaluations[0]).glob("*.jsonl"))
    headlines = {
        name: next((key for key in evaluations[0]["scores"] if key.startswith(f"{name}/")), name)
        for name in names
    }
    for name in names:
        table.add_column(headlines[name])
        table.add_column("log-probability of\nthe right answer, a token")
    chance = {}
    for evaluation in evaluations:
        cells = []
        for name in names:
            text = (_answers_of(folder, evaluation) / f"{name}.jsonl").read_text("utf-8")
            answers = [json.loads(line) for line in text.splitlines()]
            score = evaluation["scores"].get(headlines[name])
            cells += _cells(answers, score)
            if answers and answers[0].get("option_scores"):
                chance[name] = sum(len(each["gold"]) / len(each["option_scores"]) for each in answers) / len(
                    answers
                )
        table.add_row(f"{evaluation['tokens']:,}", f"{evaluation['batch']:,}", *cells)
    console.print(table)
    for name, share in chance.items():
        console.print(f"A guess scores {share:.3f} on {name}.")


def _answers_of(folder: Path, evaluation: dict[str, Any]) -> Path:
    return folder / "eval" / str(evaluation["batch"])


def _cells(answers: list[dict[str, Any]], score: float | None) -> tuple[str, str]:
    """A score and the mean log-probability of the right options; intervals only where options were scored."""
    if score is None:
        return "failed", ""
    if not answers or not answers[0].get("option_scores"):
        return f"{score:.3f}", ""
    accuracy = [float(each["answer"] in each["gold"]) for each in answers]
    likelihood = [max(each["option_scores"][gold] for gold in each["gold"]) for each in answers]
    return _with_interval(accuracy, 3), _with_interval(likelihood, 2)


def _with_interval(values: list[float], digits: int) -> str:
    from trainer.evaluation.scoring.metrics import RowMean, bootstrap_interval

    low, high = bootstrap_interval(RowMean(lambda _, value: value), values, values, seed=17)
    mean = sum(values) / len(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
