"""Sizes of the measurements, on a GPU and on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Attributes:
        model: Arguments of LlamaConfig.
        seq_len: T, tokens a row.
        rows: B, rows of a forward pass; the largest number whose estimate fits the memory is taken.
        precision: Composer's name of it.
        matrices: Sides of square matrices.
        warm_up: Steps before the clock starts.
        steps: Steps on the clock.
        compiler: Backend of torch.compile.
        eval_rows: Rows of ChemProt's shape.
        head_tokens: Words that they have in common at their beginning, as few-shot examples.
        eval_batches: Batch sizes that our scorer tries, in tokens.
        option_batches: Batch sizes of one pass an option, in sequences.
    """

    model: dict[str, Any]
    seq_len: int
    rows: tuple[int, ...]
    precision: str
    matrices: tuple[int, ...]
    warm_up: int
    steps: int
    compiler: str
    eval_rows: int
    head_tokens: int
    eval_batches: tuple[int, ...]
    option_batches: tuple[int, ...]


GPU = Sizes(
    model={  # of Llama 3.2 1B
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128_256,
        "max_position_embeddings": 8192,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": True,
    },
    seq_len=4096,
    rows=(4, 2, 1),
    precision="amp_bf16",
    matrices=(4096, 8192, 16_384),
    warm_up=3,
    steps=8,
    compiler="inductor",
    eval_rows=64,
    head_tokens=600,
    eval_batches=(8192, 32_768),
    option_batches=(16, 64),
)

SMALL = Sizes(
    model={
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    seq_len=64,
    rows=(2,),
    precision="fp32",
    matrices=(256, 512),
    warm_up=1,
    steps=3,
    compiler="aot_eager",
    eval_rows=4,
    head_tokens=60,
    eval_batches=(1024,),
    option_batches=(8,),
)
