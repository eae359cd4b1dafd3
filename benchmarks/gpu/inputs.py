"""Model with random weights, tokenizer, corpus, configuration and batches of the measurements.

Shapes: B rows of T tokens.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.evaluation import SHAPES, make_rows
from benchmarks.gpu.device import DEVICE, memory_bytes
from benchmarks.gpu.steps import Sizes
from benchmarks.training import write_config, write_corpus
from schemas.config import load_config
from schemas.train_config import TrainConfig
from tests.tiny import save_bpe
from trainer.data.batches import RowRules, to_batch
from trainer.estimate.run_estimate import Machine, estimate

TEXTS = 4
"""Texts of a packed row, equally long."""

_SHARE_OF_MEMORY = 0.85


def dtype_of(sizes: Sizes) -> torch.dtype:
    """The type of computations."""
    return torch.float32 if sizes.precision == "fp32" else torch.bfloat16


def prepare(sizes: Sizes, folder: str, **changes: Any) -> str:
    """Write a random model, its tokenizer and a corpus, where they are missing; return their folder.

    Args:
        sizes: Their sizes.
        folder: Where the steps write.
        **changes: Changes to the model.
    """
    place = Path(folder, "inputs-changed" if changes else "inputs")
    if (place / "corpus/manifest").is_dir():
        return str(place)
    model_folder, shape = str(place / "model"), {**sizes.model, **changes}
    prompts = [row.inputs[0] for row in make_rows("ChemProt", SHAPES["ChemProt"], 4)]  # a word is a token
    special = ["<s>", "</s>"]
    save_bpe(model_folder, prompts, vocab_size=900, special_tokens=special, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(17)
    with torch.device(DEVICE):  # a CPU takes half a minute for a billion random numbers
        model: Any = LlamaForCausalLM(LlamaConfig(**shape, bos_token_id=0, eos_token_id=1))
    model.to(dtype_of(sizes)).save_pretrained(model_folder)
    num_rows = max(sizes.rows) * (sizes.warm_up + sizes.steps + 2)
    write_corpus(
        str(place / "corpus"),
        model_folder,
        num_rows,
        seq_len=sizes.seq_len,
        vocab_size=shape["vocab_size"],
    )
    return str(place)


def train_config(sizes: Sizes, inputs: str, rows: int, *overrides: str) -> TrainConfig:
    """The configuration of a run of `rows` rows a step, in one forward pass.

    Shards are read in the same process: some containers have too little shared memory for workers.
    """
    path = write_config(inputs, f"{inputs}/model", rows, sizes.warm_up + sizes.steps)
    ours = (f"precision={sizes.precision}", "train_loader.num_workers=0")
    schedule = ("scheduler.name=constant_with_warmup", "scheduler.t_warmup=0ba")
    return load_config(TrainConfig, path, [*ours, *schedule, *overrides])


@functools.cache
def rows_that_fit(sizes: Sizes, inputs: str) -> int:
    """The largest number of rows whose estimated memory fits with whole logits, or the smallest number."""
    memory = memory_bytes()
    for rows in sizes.rows:
        config = train_config(sizes, inputs, rows, "model.chunked_loss=false")
        needed = estimate(config, (), Machine(), seq_len=sizes.seq_len).memory.total
        if memory is None or needed <= _SHARE_OF_MEMORY * memory:
            return rows
    return sizes.rows[-1]


def random_batch(sizes: Sizes, *, rows: int, vocab_size: int, packed: bool) -> dict[str, Any]:
    """A batch as the trainer makes it: texts that do not see each other, or one text a row."""
    rules = RowRules(seq_len=sizes.seq_len, vocab_size=vocab_size, attention_boundaries=packed)
    generator = torch.Generator().manual_seed(7)
    tokens_BT = torch.randint(2, vocab_size, (rows, sizes.seq_len), dtype=torch.int32, generator=generator)
    texts = TEXTS if packed else 1
    batch = to_batch(tokens_BT, [[sizes.seq_len // texts] * texts] * rows, rules)
    return {name: values.to(DEVICE) for name, values in batch.items()}
