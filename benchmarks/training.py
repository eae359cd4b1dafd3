"""Tokens a second of `tutelage train` over a bare PyTorch loop, and the overhead around a step.

    python -m benchmarks.training                 # about 4 minutes on one core, 0.3 GB of disk

Both train the same random Llama (4 layers, hidden 256) with AdamW in fp32 on rows of 512 tokens from
packed texts, with gradient clipping, in one process and in turn. The bare loop has its batches in memory;
ours reads shards, measures time, logs, and draws its progress. The report also gives the share of a step
spent waiting for data, time and size of a checkpoint beside torch.save of the same state, and the time from
the command to the end of the first step, in a process of its own. On a machine with other work, use the
ratio by CPU time: it counts only the threads of the two loops.
"""

from __future__ import annotations

import argparse
import json
import os
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
BATCH_ROWS = 2
VOCAB_SIZE = 8192
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


def write_config(folder: str, steps: int) -> str:
    """Training YAML of both forms of our run."""
    values = {
        "run_name": "benchmark",
        "model": {"pretrained_model_name_or_path": os.path.join(folder, "model")},
        "train_loader": {
            "dataset": {
                "streams": {"domain": {"corpus": os.path.join(folder, "corpus")}},
                "cache_dir": os.path.join(folder, "cache"),
            }
        },
        "max_duration": f"{steps}ba",
        "global_train_batch_size": BATCH_ROWS,
        "device_train_microbatch_size": BATCH_ROWS,
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


def bare_loop(model_folder: str) -> Iterator[None]:
    """The same training as a bare loop; yields after each step."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, torch_dtype=torch.float32).train()
    model.config.use_cache = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10_000)
    torch.manual_seed(1)
    batches = [torch.randint(2, VOCAB_SIZE, (BATCH_ROWS, SEQ_LEN)) for _ in range(8)]
    positions = torch.arange(SEQ_LEN).remainder(SEQ_LEN // 4).expand(BATCH_ROWS, -1)
    while True:
        for ids in batches:
            loss = model(input_ids=ids, labels=ids, position_ids=positions).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            loss.item()
            yield


def compare(config_path: str, model_folder: str, *, rounds: int, steps: int) -> dict[str, Any]:
    """Tokens a second of both loops, in turn, and our wait for data and checkpoint."""
    from plugins.callbacks import CALLBACKS
    from trainer.checkpoints.resume_from import RunCheckpoints
    from trainer.data.resolve_streams import pin_manifests, resolve_streams
    from trainer.startup import composer_trainer as build

    CALLBACKS._targets["data_wait"] = f"{DataWait.__module__}:DataWait"
    config = load_config(TrainConfig, config_path, ["callbacks={data_wait: {}}"])
    config = pin_manifests(config)
    trainer, _ = build.build_trainer(
        config, resolve_streams(config.train_loader.dataset), RunCheckpoints(config)
    )
    wait = next(each for each in trainer.state.callbacks if type(each).__name__ == "DataWait")
    loop = bare_loop(model_folder)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    cpu_seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(1 + rounds):
        for name in seconds:
            start, cpu_start = time.perf_counter(), time.process_time()
            if name == "ours":
                trainer.fit(duration=f"{steps}ba")
            else:
                for _ in range(steps):
                    next(loop)
            if number:  # the first run of each is a warm-up
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
    start = time.perf_counter()
    saved = trainer.save_checkpoint(os.path.join(os.path.dirname(config_path), "ours.pt"))
    checkpoint_sec = time.perf_counter() - start
    state = {
        "model": trainer.state.model.state_dict(),
        "optimizer": trainer.state.optimizers[0].state_dict(),
    }
    plain = os.path.join(os.path.dirname(config_path), "bare.pt")
    start = time.perf_counter()
    torch.save(state, plain)
    plain_sec = time.perf_counter() - start
    tokens = BATCH_ROWS * SEQ_LEN * steps
    ratios = [bare / ours for bare, ours in zip(seconds["bare"], seconds["ours"], strict=True)]
    cpu_ratios = [bare / ours for bare, ours in zip(cpu_seconds["bare"], cpu_seconds["ours"], strict=True)]
    report = {
        "parameters": sum(parameter.numel() for parameter in trainer.state.model.parameters()),
        "bare_tokens_per_sec": round(tokens / statistics.median(seconds["bare"]), 1),
        "ours_tokens_per_sec": round(tokens / statistics.median(seconds["ours"]), 1),
        "ours_over_bare": round(statistics.median(ratios), 4),
        "ours_over_bare_each": [round(ratio, 3) for ratio in ratios],
        "ours_over_bare_by_cpu_time": round(statistics.median(cpu_ratios), 4),
        "ours_over_bare_by_cpu_time_each": [round(ratio, 3) for ratio in cpu_ratios],
        "data_wait_share": round(sum(wait.waited[steps:]) / sum(wait.steps[steps:]), 5),
        "checkpoint_sec": round(checkpoint_sec, 3),
        "checkpoint_mb": round(os.path.getsize(str(saved)) / 1e6, 2),
        "torch_save_sec": round(plain_sec, 3),
        "torch_save_mb": round(os.path.getsize(plain) / 1e6, 2),
    }
    trainer.close()
    return report


def first_step_sec(config_path: str) -> float:
    """Seconds from the start of the command to the log line of its first step."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "trainer.train", config_path, "max_duration=1ba"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        found = [time.perf_counter() - start for line in run.stderr if line.startswith("step 1/")]
    if run.returncode or not found:
        raise SystemExit(f"the run ended with status {run.returncode} before its first step")
    return round(found[0], 2)


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Our trainer over a bare PyTorch loop.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=5, help="of a round")
    args = parser.parse_args(argv)
    quiet_libraries("info")
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        write_model(model)
        steps = (1 + args.rounds) * args.steps
        write_corpus(os.path.join(folder, "corpus"), model, num_rows=BATCH_ROWS * 2 * steps)
        config = write_config(folder, steps)
        report = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
        report |= compare(config, model, rounds=args.rounds, steps=args.steps)
        report["launch_to_first_step_sec"] = first_step_sec(config)
    print(json.dumps(report, indent=2), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
