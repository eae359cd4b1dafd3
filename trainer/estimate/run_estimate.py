"""Estimate of a run before it starts: steps, memory, work, hours and disk, for a person and as JSON."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.data.resolve_streams import ResolvedStream
from trainer.estimate.activations import count_activations
from trainer.estimate.memory import Memory, Sharding, checkpoint_bytes, estimate_memory
from trainer.model.architecture import build_on_meta, describe
from trainer.model.attention import check_attention
from trainer.model.chunked_loss import whole_loss_because
from trainer.model.lora import add_adapters, describe_adapters
from trainer.model.weight_decay import parameter_groups
from trainer.startup.config_checks import rows_per_rank
from trainer.startup.run_length import num_steps, pace_of, stream_epochs

_GIB = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """GPUs of a run.

    Attributes:
        num_gpus: Their number.
        name: Their name, for the reader.
        memory_bytes: Of each; None is not checked.
        peak_flops: Of each, a second; None gives no hours.
        mfu: Share of the peak that the model's own operations are assumed to reach.
    """

    num_gpus: int = 1
    name: str | None = None
    memory_bytes: int | None = None
    peak_flops: float | None = None
    mfu: float = 0.4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Needs of a run.

    Attributes:
        run_name: Its name.
        model: Class of the model.
        parameters: Its parameters, tied ones once.
        trained_parameters: Parameters that are trained.
        adapters: The adapters, in a sentence; empty without.
        tokens_per_step: Tokens of a batch over all ranks, padding included.
        steps: Optimizer steps.
        tokens: Tokens of the run.
        streams: Use of each stream, from `stream_epochs`.
        microbatch_rows: Rows of a forward pass.
        whole_loss_because: Why the loss needs all logits at once; None if it is computed in chunks.
        memory: Bytes of one GPU at its fullest.
        flops_per_token: Operations to train on a token: 6·N + 12·L·H·Q·T.
        flops: Operations of the run.
        checkpoint_bytes: Size of a checkpoint.
        export_bytes: Size of the exported model in bf16.
        machine: The GPUs.
        hours: Time of the run at `machine.mfu`; None if the peak is unknown.
    """

    run_name: str
    model: str
    parameters: int
    trained_parameters: int
    adapters: str
    tokens_per_step: int
    steps: int
    tokens: int
    streams: list[dict[str, Any]]
    microbatch_rows: int
    whole_loss_because: str | None
    memory: Memory
    flops_per_token: float
    flops: float
    checkpoint_bytes: int
    export_bytes: int
    machine: Machine
    hours: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values, sums and quotients included."""
        values = dataclasses.asdict(self)
        values["memory"]["total"] = self.memory.total
        values["gpu_hours"] = None if self.hours is None else self.hours * self.machine.num_gpus
        return values

    def lines(self) -> list[str]:
        """Return lines for a person."""
        machine = self.machine
        parts = ", ".join(
            f"{field.name} {getattr(self.memory, field.name) / _GIB:.1f}"
            for field in dataclasses.fields(self.memory)
        )
        room = f" of {machine.memory_bytes / _GIB:.1f}" if machine.memory_bytes else ""
        gpus = f"{machine.num_gpus} × {machine.name or 'GPU'}"
        lines = [
            f"{self.run_name}: {self.model}, {self.parameters:,} parameters",
            *([f"  adapters    {self.adapters}"] if self.adapters else []),
            f"  steps       {self.steps:,} of {self.tokens_per_step:,} tokens: {self.tokens:,} tokens",
            *(
                f"  stream      {stream['name']}: {stream['epochs']:.2f} epochs of {stream['rows']:,} rows"
                for stream in self.streams
            ),
            f"  work        {self.flops:.3g} FLOPs, {self.flops_per_token:.4g} a token (6·N + 12·L·H·Q·T)",
            f"  memory      {self.memory.total / _GIB:.1f}{room} GiB on each of {gpus}, at "
            f"{self.microbatch_rows} row(s) a forward pass",
            f"              {parts}",
            *(
                [f"              logits are those of a whole forward pass: {self.whole_loss_because}"]
                if self.whole_loss_because
                else []
            ),
            f"  disk        checkpoint {self.checkpoint_bytes / 1e9:.1f} GB, export "
            f"{self.export_bytes / 1e9:.1f} GB",
        ]
        if self.hours is not None:
            lines.append(
                f"  time        {self.hours:,.1f} h, {self.hours * machine.num_gpus:,.1f} GPU-hours at "
                f"{machine.mfu:.0%} of {(machine.peak_flops or 0) / 1e12:,.0f} TFLOP/s"
            )
        return lines

    def check_fit(self) -> None:
        """Raise a ConfigError if the run takes more memory than a GPU has."""
        limit = self.machine.memory_bytes
        if limit is not None and self.memory.total > limit:
            raise ConfigError(
                f"{self.run_name} needs about {self.memory.total / _GIB:.1f} GiB on each of "
                f"{self.machine.num_gpus} × {self.machine.name or 'GPU'}, which has {limit / _GIB:.1f}. Use "
                "more GPUs with parallelism_config.fsdp, set fsdp.activation_checkpointing: true, or lower "
                "device_train_microbatch_size."
            )


def estimate(
    config: TrainConfig,
    streams: Sequence[ResolvedStream],
    machine: Machine,
    *,
    seq_len: int | None = None,
    tokenizer: Any = None,
) -> Estimate:
    """Estimate a run without starting it or loading weights.

    Args:
        config: The run.
        streams: From `resolve_streams`; empty without a corpus.
        machine: GPUs of the run.
        seq_len: T, tokens a row; None takes the corpus's.
        tokenizer: The run's; None skips checks that need it.

    Raises:
        ConfigError: The configuration cannot work on so many GPUs, or is incomplete.
    """
    pace = pace_of(config, streams, seq_len)
    seq_len = pace.seq_len
    rows_of_rank = rows_per_rank(config, machine.num_gpus)
    wanted = config.device_train_microbatch_size
    microbatch_rows = 1 if wanted == "auto" else min(wanted, rows_of_rank)
    model = build_on_meta(config.model, tokenizer, check_vocabulary=tokenizer is not None)
    check_attention(config.model, model.config, row_tokens=seq_len)
    put_adapters = None
    if config.model.peft_config is not None:
        put_adapters = functools.partial(add_adapters, peft_config=config.model.peft_config, seed=config.seed)
        put_adapters(model)
    parameter_groups(model, config.optimizer.no_decay)
    architecture = describe(model)
    sharding = _sharding(config, machine.num_gpus)
    low = config.precision != "fp32"
    boundaries = config.train_loader.dataset.attention_boundaries
    activations = count_activations(
        model.config,
        rows=microbatch_rows,
        seq_len=seq_len,
        precision=config.precision,
        low_precision_weights=sharding.fsdp,
        attention_boundaries=boundaries,
        put_adapters=put_adapters,
    )
    because = whole_loss_because(config.model, model.config)
    biased = boundaries and config.model.attn_implementation == "sdpa"
    steps = num_steps(config, pace)
    tokens_per_step = config.global_train_batch_size * seq_len
    flops_per_token = architecture.flops_per_token(seq_len)
    flops = flops_per_token * tokens_per_step * steps
    rate = (machine.peak_flops or 0.0) * machine.mfu * machine.num_gpus
    return Estimate(
        run_name=config.run_name,
        model=architecture.kind,
        parameters=architecture.parameters.total,
        trained_parameters=architecture.trained.total,
        adapters=describe_adapters(model) if architecture.has_adapters else "",
        tokens_per_step=tokens_per_step,
        steps=steps,
        tokens=tokens_per_step * steps,
        streams=stream_epochs(config, streams, steps=steps),
        microbatch_rows=microbatch_rows,
        whole_loss_because=because,
        memory=estimate_memory(
            architecture,
            activations,
            sharding,
            micro_batch_tokens=microbatch_rows * seq_len,
            mask_bytes=microbatch_rows * seq_len**2 * sharding.compute_bytes if biased else 0,
            chunked_loss=because is None,
        ),
        flops_per_token=flops_per_token,
        flops=flops,
        checkpoint_bytes=checkpoint_bytes(architecture),
        export_bytes=2 * architecture.parameters.total,
        machine=machine,
        hours=flops / rate / 3600 if rate and low else None,
    )


def _sharding(config: TrainConfig, num_gpus: int) -> Sharding:
    fsdp = (config.parallelism_config or {}).get("fsdp")
    options = dict(fsdp or {})
    mixed = str(options.get("mixed_precision", "DEFAULT")).upper()
    low = config.precision != "fp32"
    return Sharding(
        num_gpus=num_gpus,
        fsdp=fsdp is not None,
        reshard=bool(options.get("reshard_after_forward", True)),
        compute_bytes=2 if low else 4,
        reduce_bytes=2 if low and mixed == "PURE" else 4,
        checkpointing=bool(options.get("activation_checkpointing", False)),
    )
