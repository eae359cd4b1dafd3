"""Tokens a second of `tutelage train` over bare PyTorch loops, and the overhead around a step.

    python -m benchmarks.training          # about 4 minutes on one core, 0.3 GB of disk
    python -m benchmarks.training --model models/smollm2-135m --rows 1 --rounds 4 --steps 2   # 8 GB of memory

All train the same model (by default a random Llama: 4 layers, hidden 256) with AdamW in fp32 on rows of
packed texts, with gradient clipping, in one process and in turn:

    bare     the loss of transformers on all logits, and torch's default AdamW
    best     loss and gradients of the output layer by hand, in chunks; fused AdamW: the best loop known
    ours     the trainer

The bare loops have their batches in memory; ours reads shards, measures time, logs, and draws its progress.
In this one process the bare loops, too, have the trainer's settings of malloc. The report also gives the
share of a step spent waiting for data, time and size of a checkpoint beside torch.save of the same state, the
time from the command to the end of the first step, and the peak memory of each loop (both in processes of
their own). On a machine with other work, use the ratio by CPU time: it counts only the loops' threads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import yaml
from composer import Callback, State
from composer.loggers import Logger

from schemas.config import load_config
from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest
from schemas.train_config import TrainConfig
from tests.tiny import save_bpe, save_llama
from trainer.startup.library_warnings import quiet_libraries

SEQ_LEN = 512
VOCAB_SIZE = 8192
CHUNK_TOKENS = 512
LOOPS = ("bare", "best", "ours")
WORDS = "the cell protein binds a dose in the trial of a patient gene and acid to blood drug study effect"


def write_model(folder: str) -> None:
    """A random model and a small tokenizer."""
    save_bpe(
        folder,
        [WORDS] * 4,
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        bos_token="<s>",
        eos_token="</s>",
    )
    save_llama(
        folder,
        vocab_size=VOCAB_SIZE,
        seed=5,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_key_value_heads=4,
        max_position_embeddings=SEQ_LEN,
        tie_word_embeddings=True,
    )


def write_corpus(folder: str, model: str, num_rows: int) -> None:
    """Rows of four texts of random tokens."""
    from streaming import MDSWriter
    from streaming.base.util import merge_index

    from plugins.tokenizers import fingerprint, load_tokenizer

    rng = np.random.default_rng(7)
    shards = os.path.join(folder, "increments/000001/shards/domain")
    columns = {"tokens": "ndarray:int32", "segment_lengths": "ndarray:int32"}
    with MDSWriter(out=os.path.join(shards, "00000"), columns=columns, compression="zstd:3") as writer:
        for _ in range(num_rows):
            writer.write(
                {
                    "tokens": rng.integers(2, VOCAB_SIZE, SEQ_LEN, dtype=np.int32),
                    "segment_lengths": np.full(4, SEQ_LEN // 4, np.int32),
                }
            )
    merge_index([os.path.join(shards, "00000", "index.json")], shards)
    shard_set = ShardSet(
        path="increments/000001/shards/domain",
        num_samples=num_rows,
        num_tokens=num_rows * SEQ_LEN,
        num_texts=num_rows * 4,
    )
    publish_manifest(
        folder,
        Manifest(
            number=1,
            created="2026-01-01T00:00:00Z",
            seq_len=SEQ_LEN,
            tokenizer=fingerprint(load_tokenizer(model)),
            tokenizer_name="benchmark",
            pad_token_id=1,
            config_hash="0",
            increments=(Increment(number=1, streams={"domain": shard_set}, num_documents=1),),
        ),
    )


def write_config(folder: str, model: str, rows: int, steps: int) -> str:
    """Training YAML of both forms of our run."""
    values = {
        "run_name": "benchmark",
        "model": {"pretrained_model_name_or_path": model},
        "train_loader": {
            "dataset": {
                "streams": {"domain": {"corpus": os.path.join(folder, "corpus")}},
                "cache_dir": os.path.join(folder, "cache"),
            }
        },
        "max_duration": f"{steps}ba",
        "global_train_batch_size": rows,
        "device_train_microbatch_size": rows,
        "precision": "fp32",
        "optimizer": {"name": "adamw", "lr": 1e-4, "no_decay": []},  # as in the bare loop
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "10ba"},
        "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        "loggers": {"jsonl": {"path": os.path.join(folder, "metrics.jsonl")}},
        "progress_bar": False,
    }
    path = os.path.join(folder, "train.yaml")
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump(values, file)
    return path


class DataWait(Callback):
    """Seconds between the request for a batch and its arrival, and seconds of whole steps."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.steps: list[float] = []
        self._asked = self._begun = 0.0

    def before_dataloader(self, state: State, logger: Logger) -> None:
        """Start of a step: it requests its batch."""
        self._asked = self._begun = time.perf_counter()

    def after_dataloader(self, state: State, logger: Logger) -> None:
        """Arrival of the batch."""
        self.waited.append(time.perf_counter() - self._asked)

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        """End of a step, after its logging."""
        self.steps.append(time.perf_counter() - self._begun)


def bare_loop(model_folder: str, rows: int, *, best: bool) -> Iterator[None]:
    """The same training as a bare loop; yields after each step."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, torch_dtype=torch.float32).train()
    model.config.use_cache = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=best)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10_000)
    torch.manual_seed(1)
    batches = [torch.randint(2, VOCAB_SIZE, (rows, SEQ_LEN)) for _ in range(8)]
    positions = torch.arange(SEQ_LEN).remainder(SEQ_LEN // 4).expand(rows, -1)
    while True:
        for ids in batches:
            if best:
                loss = backward_in_chunks(model, ids, positions)
            else:
                loss = model(input_ids=ids, labels=ids, position_ids=positions).loss
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            loss.item()
            yield


def backward_in_chunks(model: Any, ids_BT: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
    """The loss, after its backward pass, with an output layer of one matrix."""
    hidden_BTD = model.model(input_ids=ids_BT, position_ids=positions_BT)[0][:, :-1]
    weight = model.lm_head.weight
    hidden_ND, targets_N = hidden_BTD.detach().flatten(0, 1), ids_BT[:, 1:].flatten()
    hidden_grad_ND, weight_grad = torch.empty_like(hidden_ND), torch.zeros_like(weight)
    total = torch.zeros(())
    with torch.no_grad():
        for start in range(0, len(targets_N), CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            work_CV = (hidden_ND[part] @ weight.T).log_softmax(-1)
            at = torch.arange(len(work_CV)), targets_N[part]
            total -= work_CV[at].sum()
            work_CV.exp_()[at] -= 1.0
            work_CV /= len(targets_N)
            hidden_grad_ND[part] = work_CV @ weight
            weight_grad.addmm_(work_CV.T, hidden_ND[part])
    hidden_BTD.backward(hidden_grad_ND.view_as(hidden_BTD))
    weight.grad = weight_grad if weight.grad is None else weight.grad.add_(weight_grad)
    return total / len(targets_N)


def our_trainer(config_path: str) -> Any:
    """The Trainer of `tutelage train`, with a callback that measures its wait for data."""
    from plugins.callbacks import CALLBACKS
    from trainer.checkpoints.resume_from import RunCheckpoints
    from trainer.data.resolve_streams import pin_manifests, resolve_streams
    from trainer.startup.composer_trainer import build_trainer

    CALLBACKS._targets["data_wait"] = f"{DataWait.__module__}:DataWait"
    config = load_config(TrainConfig, config_path, ["callbacks={data_wait: {}}"])
    config = pin_manifests(config)
    return build_trainer(config, resolve_streams(config.train_loader.dataset), RunCheckpoints(config))[0]


def compare(config_path: str, model: str, *, rows: int, rounds: int, steps: int) -> dict[str, Any]:
    """Tokens a second of the loops, in turn, and our wait for data and checkpoint."""
    trainer = our_trainer(config_path)
    wait = next(each for each in trainer.state.callbacks if type(each).__name__ == "DataWait")
    loops = {name: bare_loop(model, rows, best=name == "best") for name in LOOPS[:2]}
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for number in range(1 + rounds):
        for name in LOOPS:
            start, cpu_start = time.perf_counter(), time.process_time()
            if name == "ours":
                trainer.fit(duration=f"{steps}ba")
            else:
                for _ in range(steps):
                    next(loops[name])
            if number:  # the first run of each is a warm-up
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
    tokens = rows * SEQ_LEN * steps
    report: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in trainer.state.model.parameters()),
        "tokens_per_sec": {name: round(tokens / statistics.median(seconds[name]), 1) for name in LOOPS},
        "tokens_per_cpu_sec": {
            name: round(tokens / statistics.median(cpu_seconds[name]), 1) for name in LOOPS
        },
    }
    for loop in LOOPS[:2]:
        for by, measured in (("", seconds), ("_by_cpu_time", cpu_seconds)):
            ratios = [other / ours for other, ours in zip(measured[loop], measured["ours"], strict=True)]
            report[f"ours_over_{loop}{by}"] = round(statistics.median(ratios), 4)
            report[f"ours_over_{loop}{by}_each"] = [round(ratio, 3) for ratio in ratios]
    report["data_wait_share"] = round(sum(wait.waited[steps:]) / sum(wait.steps[steps:]), 5)
    report |= checkpoint_cost(trainer, os.path.dirname(config_path))
    trainer.close()
    return report


def checkpoint_cost(trainer: Any, folder: str) -> dict[str, float]:
    """Seconds and size of a checkpoint, and of the same state written by torch.save."""
    start = time.perf_counter()
    saved = trainer.save_checkpoint(os.path.join(folder, "ours.pt"))
    checkpoint_sec = time.perf_counter() - start
    state = {
        "model": trainer.state.model.state_dict(),
        "optimizer": trainer.state.optimizers[0].state_dict(),
    }
    plain = os.path.join(folder, "bare.pt")
    start = time.perf_counter()
    torch.save(state, plain)
    plain_sec = time.perf_counter() - start
    return {
        "checkpoint_sec": round(checkpoint_sec, 3),
        "checkpoint_mb": round(os.path.getsize(str(saved)) / 1e6, 2),
        "torch_save_sec": round(plain_sec, 3),
        "torch_save_mb": round(os.path.getsize(plain) / 1e6, 2),
    }


def peak_mb(loop: str, config: str, model: str, rows: int) -> float:
    """Peak resident memory of three steps of a loop, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--peak-of", loop, "--config", config]
    done = subprocess.run(
        [*command, "--model", model, "--rows", str(rows)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def print_peak(loop: str, config: str, model: str, rows: int) -> None:
    """Take three steps, and print this process's peak resident memory in MB."""
    if loop.startswith("ours"):
        with contextlib.redirect_stdout(sys.stderr):
            our_trainer(config).fit(duration="3ba")
    else:
        steps = bare_loop(model, rows, best=loop == "best")
        for _ in range(3):
            next(steps)
    print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1))


def first_step_sec(config_path: str) -> float:
    """Seconds from the start of the command to the log line of its first step."""
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "trainer.train",
        config_path,
        "max_duration=1ba",
        "scheduler.t_warmup=0ba",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        found = [time.perf_counter() - start for line in run.stderr if line.startswith("step 1/")]
    if run.returncode or not found:
        raise SystemExit(f"the run ended with status {run.returncode} before its first step")
    return round(found[0], 2)


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Our trainer over bare PyTorch loops.")
    parser.add_argument("--model", help="a Hugging Face directory; default a small random Llama")
    parser.add_argument("--rows", type=int, default=2, help=f"of {SEQ_LEN} tokens, a step")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5, help="of a round")
    parser.add_argument("--peak-of", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    quiet_libraries("info")
    if args.peak_of:
        print_peak(args.peak_of, args.config, args.model, args.rows)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or os.path.join(folder, "model")
        if args.model is None:
            write_model(model)
        steps = (1 + args.rounds) * args.steps
        write_corpus(os.path.join(folder, "corpus"), model, num_rows=args.rows * 2 * max(3, steps))
        config = write_config(folder, model, args.rows, steps)
        report = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
        report["peak_mb"] = {loop: peak_mb(loop, config, model, args.rows) for loop in LOOPS}
        report |= compare(config, model, rows=args.rows, rounds=args.rounds, steps=args.steps)
        report["launch_to_first_step_sec"] = first_step_sec(config)
    print(json.dumps(report, indent=2), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
