"""Rows a second of our dataset, divided by those of plain StreamingDataset on the same shards, in one run.

    python -m benchmarks.reading                  # about 2 minutes, 0.2 GB of disk

Both read decompressed shards from this machine's disk, epoch by epoch in turn. The first epoch of each side
decompresses the shards and is not counted. Ours returns input_ids, labels and position ids. The rival returns
input_ids as int64, like llm-foundry's reader. Both use StreamingDataLoader with batches of 8 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset

from schemas.manifest import ShardSet
from trainer.data.batches import RowRules
from trainer.data.row_dataset import RowDataset
from trainer.data.row_loader import RowLoader
from trainer.data.rows_per_epoch import Phase
from trainer.data.shard_stream import ShardStream

VOCAB_SIZE = 128_256
MEAN_TEXT_TOKENS = 600
BATCH_SIZE = 8


class PlainRows(StreamingDataset):
    """A row as llm-foundry's text dataset returns it: its tokens as int64."""

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        """The tokens of one row."""
        return {"input_ids": torch.from_numpy(super().__getitem__(at)["tokens"].astype(np.int64))}


def write_rows(folder: str, num_rows: int, seq_len: int) -> None:
    """Shards of random tokens, in texts of random length."""
    rng = np.random.default_rng(11)
    columns = {"tokens": "ndarray:int32", "segment_lengths": "ndarray:int32"}
    with MDSWriter(out=folder, columns=columns, compression="zstd:3", size_limit=1 << 26) as writer:
        for _ in range(num_rows):
            cuts = rng.choice(seq_len - 1, max(1, seq_len // MEAN_TEXT_TOKENS) - 1, replace=False) + 1
            bounds = np.array([0, *sorted(cuts), seq_len])
            writer.write(
                {
                    "tokens": rng.integers(0, VOCAB_SIZE, seq_len, dtype=np.int32),
                    "segment_lengths": np.diff(bounds).astype(np.int32),
                }
            )


def our_rows(folder: str, num_rows: int, seq_len: int) -> RowDataset:
    """The training dataset over those shards."""
    num_tokens = num_rows * seq_len
    shard_set = ShardSet(path="shards", num_samples=num_rows, num_tokens=num_tokens, num_texts=num_rows)
    cache_dir = os.path.join(folder, "cache")
    return RowDataset(
        [ShardStream(folder, shard_set, cache_dir=cache_dir, num_rows=num_rows)],
        [Phase(first_epoch=0, num_rows=(num_rows,))],
        batch_size=BATCH_SIZE,
        shuffle=True,
    )


def epoch_sec(rows: Any) -> float:
    """Seconds to read an epoch to its end."""
    start = time.perf_counter()
    for _ in rows:
        pass
    return time.perf_counter() - start


def compare(folder: str, num_rows: int, seq_len: int, num_workers: int, epochs: int) -> dict[str, Any]:
    """Rows a second of both sides: medians of several epochs, taken in turn."""
    plain_folder = os.path.join(folder, f"plain-{num_workers}")
    shutil.copytree(os.path.join(folder, "shards"), plain_folder)
    options = {"batch_size": BATCH_SIZE, "num_workers": num_workers, "drop_last": True}
    plain = StreamingDataLoader(PlainRows(local=plain_folder, batch_size=BATCH_SIZE, shuffle=True), **options)
    rules = RowRules(seq_len=seq_len, vocab_size=VOCAB_SIZE, attention_boundaries=True)
    ours = RowLoader(our_rows(folder, num_rows, seq_len), rules, **options)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for epoch in range(1 + epochs):
        for name, rows in (("plain", plain), ("ours", ours)):
            taken = epoch_sec(rows)
            if epoch:
                seconds[name].append(taken)
    rates = {name: num_rows / statistics.median(taken) for name, taken in seconds.items()}
    return {
        "num_workers": num_workers,
        "plain_rows_per_sec": round(rates["plain"]),
        "our_rows_per_sec": round(rates["ours"]),
        "our_tokens_per_sec": round(rates["ours"] * seq_len),
        "ratio": round(rates["ours"] / rates["plain"], 3),
    }


def main() -> None:
    """Print a line of JSON for each number of reader processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=7, help="epochs of each that count")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reading-") as folder:
        write_rows(os.path.join(folder, "shards"), arguments.rows, arguments.seq_len)
        for num_workers in (0, 2):
            print(
                json.dumps(compare(folder, arguments.rows, arguments.seq_len, num_workers, arguments.epochs)),
                flush=True,
            )


if __name__ == "__main__":
    main()
