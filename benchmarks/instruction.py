"""Does training on texts with instruction pairs beat training on the texts alone? One small trial.

    tutelage models fetch smollm2-135m
    python -m benchmarks.instruction                 # about 70 minutes on two cores, 6 GB of memory
    python -m benchmarks.instruction --short         # 15 minutes: one seed, fewer drugs and steps

For each seed a pharmacopoeia is made up (`pharmacopoeia.py`). From its texts two corpora are built by
`tutelage corpus build`, and on each the same model is trained by `tutelage train`:

    vanilla       the texts as they are
    instruction   the same texts, chained in twos and rendered with the pairs about them

for as many steps of as many tokens; so the texts themselves are seen about half as often in the second.
Base and trained models then answer, by `tutelage eval`, a question about each fact, worded as no text or
pair is (decontamination is on). Facts that the pairs ask about and facts that stand in the texts only are
told apart: the first show what the pairs teach, the second what they do for reading.

What differs with the seed is everything: drugs, facts, wordings, order. The difference between the two is
given with its 95 % interval, bootstrapped over the drugs of all seeds, both arms drawn alike.

The same command goes on where one was stopped. Weights are deleted once they are scored.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.pharmacopoeia import make_drugs, pairs_about, question_about, text_about
from schemas.manifest import read_manifest
from trainer.evaluation.metrics import RowMean, bootstrap_difference

ARMS = ("vanilla", "instruction")
KINDS = ("asked", "unasked")
SEQ_LEN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a trial is.

    Attributes:
        seeds: Each a pharmacopoeia and a pair of trainings.
        drugs: Of a pharmacopoeia; each has six questions.
        steps: Of a training, a row of 512 tokens each.
        learning_rate: At its peak; the same for both arms.
    """

    seeds: tuple[int, ...]
    drugs: int
    steps: int
    learning_rate: float


FULL = Size(seeds=(1, 2, 3), drugs=36, steps=96, learning_rate=5e-4)
SHORT = Size(seeds=(1,), drugs=24, steps=48, learning_rate=5e-4)


def write_domain(folder: Path, *, drugs: int, seed: int) -> None:
    """Write a pharmacopoeia: `texts.jsonl`, and a task of questions for each kind of fact."""
    texts: list[dict[str, object]] = []
    questions: dict[str, list[dict[str, object]]] = {kind: [] for kind in KINDS}
    for drug in make_drugs(drugs, seed=seed):
        text = text_about(drug, seed=seed)
        texts.append({"id": drug.name, "text": text})
        asked = pairs_about(text, seed=seed)
        for attribute in drug.facts:
            kind = "asked" if attribute in asked else "unasked"
            questions[kind].append(question_about(drug, attribute, seed=seed))
    _write_lines(folder / "texts.jsonl", texts)
    for kind, rows in questions.items():
        _write_lines(folder / "tasks" / f"{kind}.jsonl", rows)


def corpus_config(arm: str, folder: Path, *, model: str, seed: int) -> dict[str, Any]:
    """The corpus of an arm, as `tutelage corpus build` takes it."""
    source = {"reader": "jsonl", "uri": str(folder / "texts.jsonl"), "id_field": "id"}
    return {
        "corpus": str(folder / arm / "corpus"),
        "seed": seed,
        "streams": {"domain": {"sources": [source], "synthesize": arm == "instruction"}},
        "dedup": {"near": None},  # few wordings make different drugs look alike
        "decontaminate": {"tasks": [str(folder / "tasks")]},
        "chains": {"max_documents": 2},
        "synthesis": {"backend": "monograph"},
        "tokenizer": {"name": model},
        "pack": {"seq_len": SEQ_LEN},
    }


def train_config(arm: str, folder: Path, *, model: str, seed: int, size: Size) -> dict[str, Any]:
    """The training of an arm, as `tutelage train` takes it; the arms differ in their corpus only."""
    return {
        "run_name": arm,
        "seed": seed,
        "model": {"pretrained_model_name_or_path": model},
        "train_loader": {
            "dataset": {
                "shuffle_seed": seed,
                "streams": {"domain": {"corpus": str(folder / arm / "corpus")}},
            }
        },
        "max_duration": f"{size.steps}ba",
        "global_train_batch_size": 1,
        "precision": "fp32",
        "optimizer": {"name": "decoupled_adamw", "lr": size.learning_rate, "betas": [0.9, 0.95]},
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "0.1dur", "alpha_f": 0.1},
        "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        "callbacks": {"hf_export": {"folder": str(folder / arm / "model"), "dtype": "float32"}},
        "save_folder": str(folder / arm / "checkpoints"),
        "save_interval": "32ba",
        "save_num_checkpoints_to_keep": 1,
        "autoresume": True,
    }


def pieces(output: Path, size: Size, model: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is still to be done, in order, a few minutes each at most."""
    for seed in size.seeds:
        folder = output / f"seed-{seed}"
        if not (folder / "tasks" / "unasked.jsonl").exists():
            write_domain(folder, drugs=size.drugs, seed=seed)
        if not (folder / "base.json").exists():
            yield f"seed {seed}: score the base model", partial(_score, folder, "base", model)
        for arm in ARMS:
            if not (folder / arm / "train.json").exists():
                yield f"seed {seed}: build and train {arm}", partial(_train, output, folder, arm, model, size)
            if not (folder / f"{arm}.json").exists():
                trained = folder / arm / "model"
                yield f"seed {seed}: score {arm}", partial(_score, folder, arm, str(trained))
            for weights in ("model", "checkpoints"):
                shutil.rmtree(folder / arm / weights, ignore_errors=True)


def _train(output: Path, folder: Path, arm: str, model: str, size: Size) -> None:
    seed = int(folder.name.removeprefix("seed-"))
    build, train = folder / arm / "corpus.yaml", folder / arm / "train.yaml"
    build.parent.mkdir(exist_ok=True)
    build.write_text(yaml.safe_dump(corpus_config(arm, folder, model=model, seed=seed)))
    train.write_text(yaml.safe_dump(train_config(arm, folder, model=model, seed=seed, size=size)))
    path = os.pathsep.join([str(installed(output)), os.environ.get("PYTHONPATH", "")])
    _tutelage("corpus", "build", str(build), env={"PYTHONPATH": path})
    lines = _tutelage("train", str(train), "--json").splitlines()
    result = json.loads(lines[-1])
    shards = read_manifest(str(folder / arm / "corpus")).shard_sets("domain")
    rows, tokens = sum(each.num_samples for each in shards), sum(each.num_tokens for each in shards)
    result |= {"rows": rows, "padding": 1 - tokens / (rows * SEQ_LEN), "epochs": size.steps / rows}
    _write(folder / arm / "train.json", json.dumps(result, indent=1))


def _score(folder: Path, name: str, model: str) -> None:
    unfinished = folder / f"{name}.unfinished.json"
    _tutelage("eval", "--model", model, "--tasks", str(folder / "tasks"), "--output", str(unfinished))
    os.replace(unfinished, folder / f"{name}.json")


def installed(output: Path) -> Path:
    """A folder for PYTHONPATH that registers the synthesizer, as an installed package would."""
    folder = output / "plugin"
    info = folder / "pharmacopoeia-1.dist-info"
    _write(info / "METADATA", "Metadata-Version: 2.1\nName: pharmacopoeia\nVersion: 1\n")
    _write(
        info / "entry_points.txt",
        "[tutelage.synthesizers]\nmonograph = benchmarks.pharmacopoeia:MonographSynthesizer\n",
    )
    return folder.resolve()


def _tutelage(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    print(f"$ tutelage {' '.join(arguments)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "plugins.commands.main", *arguments]
    done = subprocess.run(command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"tutelage {arguments[0]} ended with status {done.returncode}.\n{done.stdout}")
    return done.stdout


def right_answers(scores: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """From a file of `tutelage eval`: for each kind of fact and drug, 1 or 0 for each question."""
    (model,) = scores["models"].values()
    found: dict[str, dict[str, list[float]]] = {}
    for task in model["tasks"]:
        of_drugs = found.setdefault(task["task"], {})
        for answer in task["answers"]:
            drug = answer["id"].partition(":")[0]
            of_drugs.setdefault(drug, []).append(float(answer["answer"] in answer["gold"]))
    return found


def compare_arms(
    vanilla: Sequence[Sequence[float]], instruction: Sequence[Sequence[float]]
) -> dict[str, float | list[float]]:
    """How much more of its questions the instruction arm has right, in the mean over drugs.

    Args:
        vanilla: For each drug 1 or 0 a question.
        instruction: The same drugs in the same order.
    """
    mean = RowMean(lambda drug, answers: statistics.fmean(answers))
    drugs = range(len(vanilla))
    difference, interval = bootstrap_difference(mean, drugs, vanilla, instruction, seed=17, resamples=10_000)
    return {"difference": difference, "interval": list(interval)}


def summarize(output: Path, size: Size) -> dict[str, Any]:
    """Scores of each model by kind of fact and seed, and the arms compared."""
    models = ("base", *ARMS)
    answers: dict[str, list[dict[str, dict[str, list[float]]]]] = {
        name: [right_answers(json.loads((_seed(output, s) / f"{name}.json").read_text())) for s in size.seeds]
        for name in models
    }
    for of_seeds in answers.values():
        for kinds in of_seeds:
            kinds["all"] = {drug: [*kinds["asked"][drug], *kinds["unasked"][drug]] for drug in kinds["asked"]}
    report: dict[str, Any] = {"accuracy": {}, "instruction_less_vanilla": {}, "training": {}}
    for kind in ("all", *KINDS):
        report["accuracy"][kind] = {
            name: [
                statistics.fmean(right for drug in kinds[kind].values() for right in drug)
                for kinds in answers[name]
            ]
            for name in models
        }
        by_drug = {
            arm: [
                kinds[kind][drug]
                for kinds, first in zip(answers[arm], answers["vanilla"], strict=True)
                for drug in first[kind]
            ]
            for arm in ARMS
        }
        report["instruction_less_vanilla"][kind] = compare_arms(*by_drug.values())
    for arm in ARMS:
        report["training"][arm] = [
            json.loads((_seed(output, seed) / arm / "train.json").read_text()) for seed in size.seeds
        ]
    return report


def as_markdown(report: Mapping[str, Any]) -> str:
    """The summary as tables; each score is the mean over seeds ± their standard deviation, in percent."""
    lines = [
        "| facts | base | vanilla | instruction | instruction - vanilla, 95 % |",
        "|---|---|---|---|---|",
    ]
    for kind, of_models in report["accuracy"].items():
        found = report["instruction_less_vanilla"][kind]
        low, high = found["interval"]
        cells = [_mean_and_spread(of_seeds) for of_seeds in of_models.values()]
        shown = f"{100 * found['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        lines.append(f"| {' | '.join([kind, *cells, shown])} |")
    lines += ["", "| arm | tokens | padding | epochs | last loss | tokens/s |", "|---|---|---|---|---|---|"]
    for arm, of_seeds in report["training"].items():
        cells = [
            f"{of_seeds[0]['tokens']:,}",
            f"{100 * max(run['padding'] for run in of_seeds):.1f} %",
            f"{statistics.fmean(run['epochs'] for run in of_seeds):.1f}",
            f"{statistics.fmean(run['loss'] for run in of_seeds):.2f}",
            f"{statistics.fmean(run['tokens'] / run['seconds'] for run in of_seeds):.0f}",
        ]
        lines.append(f"| {' | '.join([arm, *cells])} |")
    return "\n".join(lines)


def _mean_and_spread(of_seeds: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(of_seeds):.1f}" if len(of_seeds) > 1 else ""
    return f"{100 * statistics.fmean(of_seeds):.1f}{spread}"


def _seed(output: Path, seed: int) -> Path:
    return output / f"seed-{seed}"


def _write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    _write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def main(argv: list[str]) -> int:
    """Run what is still to be done, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="one seed, fewer drugs and steps")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N")
    parser.add_argument("--drugs", type=int, metavar="N", help="of a pharmacopoeia")
    parser.add_argument("--steps", type=int, metavar="N", help="of a training, 512 tokens each")
    parser.add_argument("--learning-rate", type=float, metavar="X")
    parser.add_argument("--model", default="models/smollm2-135m")
    parser.add_argument("--output", type=Path, help="folder (default runs/instruction, or -short)")
    parser.add_argument("--at-most", type=int, metavar="N", help="do N pieces of a few minutes, then stop")
    args = parser.parse_args(argv)
    preset = SHORT if args.short else FULL
    size = Size(
        seeds=tuple(args.seeds or preset.seeds),
        drugs=args.drugs or preset.drugs,
        steps=args.steps or preset.steps,
        learning_rate=args.learning_rate or preset.learning_rate,
    )
    output = args.output or Path("runs/instruction-short" if args.short else "runs/instruction")
    for number, (name, do) in enumerate(pieces(output, size, args.model)):
        if number == args.at_most:
            print(f"stopped before: {name}", file=sys.stderr)
            return 0
        print(f"-- {name}", file=sys.stderr, flush=True)
        do()
    report = summarize(output, size)
    _write(output / "report.json", json.dumps(report, indent=1))
    _write(output / "report.md", f"{as_markdown(report)}\n")
    print(as_markdown(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
