"""Share of a training run's time spent in `domain_eval`, as the callback itself counts it.

    python -m benchmarks.evaluation_in_training   # about 5 minutes on one core, 0.3 GB of disk

Our trainer trains a random Llama (4 layers, hidden 256) in fp32 on rows of 512 tokens. It evaluates the model
at the start, at intervals and at the end on made-up rows of 200 to 300 tokens with five options. The share
depends on the number of rows and the interval. So the report also gives the seconds of an evaluation and of
a step, and the interval at which the share is one percent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from typing import Any

import torch

from benchmarks.training import SEQ_LEN, WORDS, write_config, write_corpus, write_model
from schemas.config import load_config
from schemas.train_config import TrainConfig
from trainer.startup.library_warnings import quiet_libraries

_OPTIONS = ("the cell", "a dose", "acid to blood", "the trial of a drug", "effect")
_SEED = 31
_BATCH_ROWS = 2


def write_rows(path: str, num_rows: int) -> None:
    """Rows of random words, about one token each."""
    generator = random.Random(_SEED)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(num_rows):
            words = generator.choices(WORDS.split(), k=generator.randint(200, 300))
            values = {"input": " ".join(words), "options": list(_OPTIONS), "gold_index": 0}
            file.write(json.dumps(values) + "\n")


def measure(config_path: str, rows: str, *, steps: int, interval: int) -> dict[str, Any]:
    """Train once and read the callback's counts."""
    from trainer.checkpoints.resume_from import RunCheckpoints
    from trainer.data.resolve_streams import pin_manifests, resolve_streams
    from trainer.evaluation.callback import DomainEval
    from trainer.startup import composer_trainer as build

    override = f"callbacks={{domain_eval: {{tasks: ['{rows}'], interval: {interval}ba}}}}"
    config = pin_manifests(load_config(TrainConfig, config_path, [override]))
    trainer, _ = build.build_trainer(
        config, resolve_streams(config.train_loader.dataset), RunCheckpoints(config)
    )
    (callback,) = (each for each in trainer.state.callbacks if isinstance(each, DomainEval))
    start = time.perf_counter()
    trainer.fit()
    whole_sec = time.perf_counter() - start
    cost = callback.cost
    num_evaluations = 1 + steps // interval
    evaluation_sec = cost.evaluation_sec / num_evaluations
    step_sec = (cost.run_sec - cost.evaluation_sec) / steps
    trainer.close()
    return {
        "evaluations": num_evaluations,
        "fit_sec": round(whole_sec, 2),
        "evaluation_sec_each": round(evaluation_sec, 3),
        "step_sec": round(step_sec, 3),
        "share": round(cost.share, 4),
        "steps_between_for_1_percent": round(99 * evaluation_sec / step_sec),
    }


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20, help="of an evaluation")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--interval", type=int, default=20, help="steps between evaluations")
    arguments = parser.parse_args(argv)
    if arguments.steps % arguments.interval:
        parser.error("--steps must be a multiple of --interval")
    quiet_libraries("info")
    with tempfile.TemporaryDirectory() as folder:
        model, rows = os.path.join(folder, "model"), os.path.join(folder, "rows.jsonl")
        write_model(model)
        write_rows(rows, arguments.rows)
        write_corpus(os.path.join(folder, "corpus"), model, num_rows=_BATCH_ROWS * 2 * arguments.steps)
        config = write_config(folder, model, _BATCH_ROWS, arguments.steps)
        report = {
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0],
            "tokens_a_step": _BATCH_ROWS * SEQ_LEN,
            "rows_an_evaluation": arguments.rows,
        }
        report |= measure(config, rows, steps=arguments.steps, interval=arguments.interval)
    print(json.dumps(report, indent=2), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
