"""Small trial: training on texts with instruction pairs against training on the texts alone.

    tutelage models fetch smollm2-135m
    python -m benchmarks.instruction                 # about 85 minutes on two cores, 4 GB of memory
    python -m benchmarks.instruction --short         # 20 minutes: too short to learn the facts

For each seed, `pharmacopoeia.py` invents a pharmacopoeia. `tutelage corpus build` makes two corpora of its
texts, and `tutelage train` trains the same model on each:

    vanilla       the texts as they are
    instruction   the same texts, in chains of two and rendered with the pairs about them

Both arms learn from the same number of tokens. Padding carries no loss and is not counted, so the numbers of
steps differ a little. The instruction arm sees each text about half as often. Before, during and after
training, `domain_eval` asks about each fact, in words of no text or pair (decontamination is on). The report
separates facts that the pairs ask about from facts that only the texts state: the first show the direct
effect of the pairs, the second their effect on reading.

Everything differs with the seed: drugs, facts, wordings, order. The report gives the difference between the
arms with its 95 % interval, bootstrapped over the drugs of all seeds, with the same draws for both arms.

The same command continues a stopped trial. It deletes the checkpoints of a finished training.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from benchmarks.pharmacopoeia import make_drugs, pairs_about, question_about, text_about
from schemas.manifest import read_manifest
from trainer.evaluation.scoring.metrics import RowMean, bootstrap_difference

ARMS = ("vanilla", "instruction")
KINDS = ("asked", "unasked")
SEQ_LEN = 384
EVALUATIONS = 2
"""Beside the one before the first step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a trial.

    Attributes:
        seeds: One pharmacopoeia and one pair of trainings for each.
        drugs: Number of drugs in a pharmacopoeia; each has six questions.
        tokens: Number of tokens of a training, without padding; a step is a row of `SEQ_LEN`.
        learning_rate: Peak learning rate of both arms.
    """

    seeds: tuple[int, ...]
    drugs: int
    tokens: int
    learning_rate: float


FULL = Size(seeds=(1, 2, 3), drugs=24, tokens=48_000, learning_rate=5e-4)
SHORT = replace(FULL, drugs=12, tokens=8_000)


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
    """Corpus YAML of an arm."""
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


def train_config(
    arm: str, folder: Path, *, model: str, seed: int, steps: int, learning_rate: float
) -> dict[str, Any]:
    """Training YAML of an arm."""
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
        "max_duration": f"{steps}ba",
        "global_train_batch_size": 1,
        "precision": "fp32",
        "optimizer": {"name": "decoupled_adamw", "lr": learning_rate, "betas": [0.9, 0.95]},
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "0.1dur", "alpha_f": 0.1},
        "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        "callbacks": {
            "domain_eval": {
                "tasks": [str(folder / "tasks")],
                "interval": f"{1 / EVALUATIONS}dur",
                "output": str(folder / arm),
                "batch_tokens": 2048,
                "fail_training": True,
            }
        },
        "save_folder": str(folder / arm / "checkpoints"),
        "save_interval": f"{1 / EVALUATIONS}dur",
        "save_num_checkpoints_to_keep": 1,
        "autoresume": True,
    }


def trainings(output: Path, size: Size, model: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names and functions of the remaining trainings, in order."""
    for seed in size.seeds:
        folder = _seed(output, seed)
        for arm in ARMS:
            if not (folder / arm / "train.json").exists():
                write_domain(folder, drugs=size.drugs, seed=seed)
                yield f"seed {seed}, {arm}", partial(_train, output, seed, arm, model, size)


def _train(output: Path, seed: int, arm: str, model: str, size: Size) -> None:
    folder = _seed(output, seed)
    build, train = folder / arm / "corpus.yaml", folder / arm / "train.yaml"
    build.parent.mkdir(exist_ok=True)
    build.write_text(yaml.safe_dump(corpus_config(arm, folder, model=model, seed=seed)))
    path = os.pathsep.join([str(installed(output)), os.environ.get("PYTHONPATH", "")])
    _tutelage("corpus", "build", str(build), env={"PYTHONPATH": path})
    config = train_config(
        arm,
        folder,
        model=model,
        seed=seed,
        steps=steps_for(size.tokens, str(folder / arm / "corpus")),
        learning_rate=size.learning_rate,
    )
    train.write_text(yaml.safe_dump(config))
    lines = _tutelage("train", str(train), "--json").splitlines()
    shutil.rmtree(folder / arm / "checkpoints")
    _write(folder / arm / "train.json", lines[-1])


def installed(output: Path) -> Path:
    """Folder for PYTHONPATH that registers the synthesizer like an installed package."""
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


def steps_for(tokens: int, corpus: str) -> int:
    """Number of steps of one row that amount to `tokens` tokens; a row may hold padding."""
    (shards,) = read_manifest(corpus).shard_sets("domain")
    return round(tokens * shards.num_samples / shards.num_tokens)


def exposure(corpus: str, *, steps: int) -> dict[str, float]:
    """Tokens with loss in a training of `steps` rows, and the number of times it saw each text."""
    (shards,) = read_manifest(corpus).shard_sets("domain")
    tokens = steps * shards.num_tokens / shards.num_samples
    return {
        "text_tokens": round(tokens),
        "times_seen": tokens / (shards.num_tokens - shards.num_repeated_tokens),
    }


def right_answers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Results of one evaluation by kind of fact and drug: 1 or 0 for each question."""
    found: dict[str, dict[str, list[float]]] = {"all": {}}
    for kind in KINDS:
        found[kind] = {}
        for line in (folder / f"{kind}.jsonl").read_text("utf-8").splitlines():
            answer = json.loads(line)
            drug = answer["id"].partition(":")[0]
            for drugs in (found["all"], found[kind]):
                drugs.setdefault(drug, []).append(float(answer["answer"] in answer["gold"]))
    return found


def compare_arms(
    vanilla: Sequence[Sequence[float]], instruction: Sequence[Sequence[float]]
) -> dict[str, float | list[float]]:
    """Difference in the share of right answers, instruction minus vanilla, as a mean over drugs.

    Args:
        vanilla: For each drug, 1 or 0 for each question.
        instruction: The same drugs in the same order.
    """
    mean = RowMean(lambda drug, answers: fmean(answers))
    drugs = range(len(vanilla))
    difference, interval = bootstrap_difference(mean, drugs, vanilla, instruction, seed=17, resamples=10_000)
    return {"difference": difference, "interval": list(interval)}


def summarize(output: Path, size: Size) -> dict[str, Any]:
    """Shares of right answers by model, kind of fact and seed: compared, and during training."""

    def answers(arm: str, evaluation: int) -> list[dict[str, dict[str, list[float]]]]:
        found = []
        for seed in size.seeds:
            folders = sorted((_seed(output, seed) / arm / "eval").iterdir(), key=lambda each: int(each.name))
            found.append(right_answers(folders[evaluation]))
        return found

    def shares(of_seeds: Sequence[Mapping[str, Mapping[str, list[float]]]], kind: str) -> list[float]:
        return [fmean(right for drug in kinds[kind].values() for right in drug) for kinds in of_seeds]

    last = {arm: answers(arm, EVALUATIONS) for arm in ARMS}
    models = {"base": answers("vanilla", 0), **last}
    by_drug = {
        kind: [[kinds[kind][drug] for kinds in last[arm] for drug in sorted(kinds[kind])] for arm in ARMS]
        for kind in ("all", *KINDS)
    }
    return {
        "accuracy": {
            kind: {name: shares(of_seeds, kind) for name, of_seeds in models.items()} for kind in by_drug
        },
        "instruction_less_vanilla": {kind: compare_arms(*arms) for kind, arms in by_drug.items()},
        "trend": {
            f"{number / EVALUATIONS:.0%}": {arm: shares(answers(arm, number), "all") for arm in ARMS}
            for number in range(EVALUATIONS + 1)
        },
        "training": {arm: [_training(output, seed, arm) for seed in size.seeds] for arm in ARMS},
    }


def _training(output: Path, seed: int, arm: str) -> dict[str, Any]:
    folder = _seed(output, seed) / arm
    done: dict[str, Any] = json.loads((folder / "train.json").read_text("utf-8"))
    return done | exposure(str(folder / "corpus"), steps=done["steps"])


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
    lines += ["", "| all facts, after | vanilla | instruction |", "|---|---|---|"]
    for share, arms in report["trend"].items():
        lines.append(f"| {' | '.join([f'{share} of it', *map(_mean_and_spread, arms.values())])} |")
    lines += [
        "",
        "| arm | tokens learned from | padding | each text seen | last loss | tokens/s |",
        "|---|---|---|---|---|---|",
    ]
    for arm, of_seeds in report["training"].items():
        cells = [
            f"{fmean(run['text_tokens'] for run in of_seeds):,.0f}",
            f"{fmean(1 - run['text_tokens'] / run['tokens'] for run in of_seeds):.0%}",
            f"{fmean(run['times_seen'] for run in of_seeds):.1f} times",
            f"{fmean(run['loss'] for run in of_seeds):.2f}",
            f"{fmean(run['tokens'] / run['seconds'] for run in of_seeds):.0f}",
        ]
        lines.append(f"| {' | '.join([arm, *cells])} |")
    return "\n".join(lines)


def _mean_and_spread(of_seeds: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(of_seeds):.1f}" if len(of_seeds) > 1 else ""
    return f"{100 * fmean(of_seeds):.1f}{spread}"


def _seed(output: Path, seed: int) -> Path:
    return output / f"seed-{seed}"


def _write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    _write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def main(argv: list[str]) -> int:
    """Run the remaining trainings, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer drugs and tokens")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N")
    parser.add_argument("--drugs", type=int, metavar="N", help="of a pharmacopoeia")
    parser.add_argument("--tokens", type=int, metavar="N", help="that a training learns from")
    parser.add_argument("--learning-rate", type=float, metavar="X")
    parser.add_argument("--model", default="models/smollm2-135m")
    parser.add_argument("--output", type=Path, help="folder (default runs/instruction, or -short)")
    parser.add_argument("--at-most", type=int, metavar="N", help="do N trainings of some minutes, then stop")
    args = parser.parse_args(argv)
    preset = SHORT if args.short else FULL
    size = Size(
        seeds=tuple(args.seeds or preset.seeds),
        drugs=args.drugs or preset.drugs,
        tokens=args.tokens or preset.tokens,
        learning_rate=args.learning_rate or preset.learning_rate,
    )
    if size.drugs % 12:  # else unmentioned wrong options or frequent right ones give answers away
        parser.error(f"--drugs is {size.drugs}, expected a multiple of 12, the values of an attribute")
    output = args.output or Path("runs/instruction-short" if args.short else "runs/instruction")
    for number, (name, do) in enumerate(trainings(output, size, args.model)):
        if number == args.at_most:
            print(f"stopped before {name}; the same command goes on", file=sys.stderr)
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
