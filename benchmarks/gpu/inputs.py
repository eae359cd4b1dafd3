"""Model without weights, tokenizer, corpus and configuration of the measurements.

Shapes: B rows of T tokens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import LlamaConfig

from benchmarks.evaluation import SHAPES, make_rows
from benchmarks.gpu.sizes import Sizes
from plugins.tokenizers import fingerprint, load_tokenizer
from schemas.config import load_config
from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest
from schemas.mds import MdsWriter
from schemas.train_config import ModelConfig, TrainConfig
from tests.tiny import save_bpe
from trainer.data.batches import RowRules, to_batch

TEXTS = 4
"""Texts of a row, equally long."""

_SHARDS = "increments/000001/shards/domain"
_FIRST_ID = 2
"""Ids below are special tokens."""


def has_chunked_loss() -> bool:
    """Whether this version of the trainer can compute the loss in chunks."""
    return "chunked_loss" in ModelConfig.model_fields


def prepare(sizes: Sizes, folder: str, *, changes: dict[str, Any] | None = None) -> str:
    """Write a model's configuration, its tokenizer, and a corpus, where they are missing; return the folder.

    Args:
        sizes: Their sizes.
        folder: Where the steps write.
        changes: Changes to the model.
    """
    shape = {**sizes.model, **(changes or {})}
    place = Path(folder, "inputs" if changes is None else "inputs-changed")
    if (place / "corpus/manifest").is_dir():
        return str(place)
    model = str(place / "model")
    special = ["<s>", "</s>"]
    prompts = [row.inputs[0] for row in make_rows("ChemProt", SHAPES["ChemProt"], 4)]  # a word is a token
    save_bpe(model, prompts, vocab_size=900, special_tokens=special, bos_token="<s>", eos_token="</s>")
    LlamaConfig(**shape, bos_token_id=0, eos_token_id=1, architectures=["LlamaForCausalLM"]).save_pretrained(
        model
    )
    _write_corpus(str(place / "corpus"), model, sizes, vocab_size=shape["vocab_size"])
    return str(place)


def _write_corpus(corpus: str, model: str, sizes: Sizes, *, vocab_size: int) -> None:
    num_rows = max(sizes.rows) * (sizes.warm_up + sizes.steps + 2)
    shards = os.path.join(corpus, _SHARDS)
    os.makedirs(shards)
    columns = ("tokens", "segment_lengths")
    writer = MdsWriter(shards, columns, compression=None, hashes=[], size_limit=1 << 26)
    for row in _random_tokens(num_rows, sizes.seq_len, vocab_size):
        writer.write({"tokens": row, "segment_lengths": np.array(_lengths(sizes), np.int32)})
    writer.finish()
    shard_set = ShardSet(
        path=_SHARDS,
        num_samples=num_rows,
        num_tokens=num_rows * sizes.seq_len,
        num_texts=num_rows * TEXTS,
    )
    publish_manifest(
        corpus,
        Manifest(
            number=1,
            created="2026-01-01T00:00:00Z",
            seq_len=sizes.seq_len,
            tokenizer=fingerprint(load_tokenizer(model)),
            tokenizer_name="benchmark",
            pad_token_id=1,
            config_hash="0",
            increments=(Increment(number=1, streams={"domain": shard_set}, num_documents=1),),
        ),
    )


def _random_tokens(num_rows: int, seq_len: int, vocab_size: int) -> Any:
    return np.random.default_rng(7).integers(_FIRST_ID, vocab_size, (num_rows, seq_len), dtype=np.int32)


def _lengths(sizes: Sizes) -> list[int]:
    return [sizes.seq_len // TEXTS] * TEXTS


def train_config(sizes: Sizes, inputs: str, *, rows: int, **changes: Any) -> TrainConfig:
    """The configuration of a run; keyword arguments change top-level keys.

    Args:
        sizes: Its sizes.
        inputs: From `prepare`.
        rows: B, of a step, in one forward pass.
        **changes: Changes; those to `model` are added to its keys.
    """
    values: dict[str, Any] = {
        "run_name": "gpu",
        "train_loader": {
            "num_workers": 0,
            "dataset": {
                "streams": {"domain": {"corpus": os.path.join(inputs, "corpus")}},
                "cache_dir": os.path.join(inputs, "cache"),
            },
        },
        "max_duration": f"{sizes.warm_up + sizes.steps}ba",
        "global_train_batch_size": rows,
        "device_train_microbatch_size": rows,
        "precision": sizes.precision,
        "optimizer": {"name": "adamw", "lr": 1e-4, "no_decay": []},  # as in the bare loop
        "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
        "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        "loggers": {"jsonl": {"path": os.path.join(inputs, "metrics.jsonl")}},
        "progress_bar": False,
        **changes,
    }
    values["model"] = {
        "pretrained_model_name_or_path": os.path.join(inputs, "model"),
        "pretrained": False,
        **changes.get("model", {}),
    }
    path = os.path.join(inputs, f"{values['run_name']}.yaml")
    Path(path).write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_config(TrainConfig, path)


def random_batch(sizes: Sizes, *, rows: int, vocab_size: int, packed: bool, device: str) -> dict[str, Any]:
    """A batch of random tokens as the trainer makes it: texts that do not see each other, or one a row."""
    rules = RowRules(seq_len=sizes.seq_len, vocab_size=vocab_size, attention_boundaries=packed)
    tokens_BT = torch.from_numpy(_random_tokens(rows, sizes.seq_len, vocab_size))
    lengths = _lengths(sizes) if packed else [sizes.seq_len]
    return {name: values.to(device) for name, values in to_batch(tokens_BT, [lengths] * rows, rules).items()}
