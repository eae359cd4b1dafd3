"""What is measured: sizes on a GPU and on a CPU, and the steps in their order.

What matters most comes first, since the time may not suffice for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class NotHere(Exception):
    """A step that cannot run here for a reason that is no fault, such as a missing package."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sizes:
    """How much is measured."""

    model: dict[str, Any]  # arguments of LlamaConfig
    seq_len: int  # T, tokens a row
    rows: tuple[int, ...]  # B, of a forward pass; the largest number whose estimated memory fits is taken
    precision: str  # Composer's name of it
    matrices: tuple[int, ...]  # sides of square matrices
    warm_up: int  # steps before the clock starts
    steps: int  # steps on the clock
    compiler: str  # backend of torch.compile
    eval_rows: int  # rows of ChemProt's shape
    head_tokens: int  # words that they share at their beginning, as few-shot examples
    eval_batches: tuple[int, ...]  # batch sizes that our scorer tries, in tokens
    option_batches: tuple[int, ...]  # batch sizes of one pass an option, in sequences


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One measurement."""

    name: str
    function: str  # `module:function`; called with the sizes, the folder, and `arguments`
    arguments: dict[str, Any] = field(default_factory=dict)
    group: str  # consecutive steps of a group share a process, and so its imports
    limit_sec: float = 100  # it is stopped then
    in_small: bool = True  # whether `--small` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Outcome of a step."""

    name: str
    status: str  # done, failed or skipped
    sec: float = 0.0
    found: dict[str, Any] | None = None  # its figures, if done
    error: str | None = None  # why not, if failed or skipped


def _mfu(attention: str, *, packed: bool, compiled: bool, chunked: bool, group: str) -> Step:
    words = [attention, *["packed"] * packed, *["compiled"] * compiled, *["chunked loss"] * chunked]
    return Step(
        name=f"mfu: {', '.join(words)}",
        function="benchmarks.gpu.speed:training_rate",
        arguments={"attention": attention, "packed": packed, "compiled": compiled, "chunked": chunked},
        group=group,
        in_small=attention == "sdpa" and not packed,
    )


STEPS = (
    Step(name="matrix", function="benchmarks.gpu.speed:matrix_rate", group="model"),
    *(
        _mfu("sdpa", packed=False, compiled=compiled, chunked=chunked, group="model")
        for compiled in (False, True)
        for chunked in (False, True)
    ),
    Step(name="training", function="benchmarks.gpu.training:measure", group="training"),
    Step(name="evaluation", function="benchmarks.gpu.evaluation:measure", group="others"),
    Step(name="resumption", function="benchmarks.gpu.training:resume", group="others"),
    *(
        _mfu(attention, packed=True, compiled=compiled, chunked=True, group="packed")
        for attention in ("sdpa", "flex_attention", "flash_attention_2")
        for compiled in (False, True)
    ),
)
