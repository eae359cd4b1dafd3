"""From a configuration to a Composer Trainer.

    TrainConfig ─► tokenizer ─► model ─► loader ─► optimizer, scheduler, algorithms
                                                └► callbacks, loggers ─► Trainer

What is chosen by name is looked up in a lazy registry and called with the arguments that stand
beside the name; an unknown argument is refused with the known ones. Everything that Composer would
find out only after minutes, or on a GPU only as a device-side assertion, is checked first.
"""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from composer.core import DataSpec
from composer.utils import dist, get_device

from plugins.callbacks import CALLBACKS
from plugins.callbacks.export_while_training import HuggingFaceExport
from plugins.hf_folder import dtype_of
from plugins.registry import Registry
from plugins.tokenizers import as_it_came
from schemas.errors import ConfigError, TutelageError
from schemas.train_config import NamedConfig, TrainConfig
from trainer.checkpoints.checkpoint_files import keep_counting, list_checkpoints
from trainer.checkpoints.local_folder import RunCheckpoints
from trainer.checkpoints.random_states import RandomStates
from trainer.checkpoints.remote_checkpoints import CheckpointUploads
from trainer.checkpoints.resumption import apply_hyperparameters, hyperparameters, is_rescheduled
from trainer.data.resolve_streams import ResolvedStream
from trainer.data.row_loader import build_loader, count_tokens
from trainer.data.stale_shared_memory import claim_segments, remove_stale_segments
from trainer.estimate.gpus import peak_flops_of
from trainer.estimate.memory import checkpoint_bytes
from trainer.estimate.run_length import run_pace
from trainer.model.architecture import Architecture, describe
from trainer.model.lora import check_load_path
from trainer.model.nan_guard import FiniteSteps
from trainer.model.packed_model import build_model
from trainer.model.weight_decay import check_same_groups, parameter_groups
from trainer.reporting.metrics_jsonl import default_metrics_path
from trainer.reporting.training_progress import ConsoleProgress, announce
from trainer.startup.config_checks import (
    check_arguments,
    check_batch,
    check_hardware,
    check_tokenizer,
    is_time,
    run_tokenizer,
)
from trainer.startup.duration import Pace, parse_duration
from trainer.startup.loopback import store_on_loopback
from trainer.startup.preflight import check_room
from trainer.startup.registries import ALGORITHMS, LOGGERS, OPTIMIZERS, SCHEDULERS

if TYPE_CHECKING:
    from composer import Trainer

_CPU_MICROBATCH_TOKENS = 1024
"""Tokens of a forward pass on a CPU under `auto`; with a vocabulary of 49k their logits alone take 0.2 GB."""

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def build_trainer(
    config: TrainConfig, streams: Sequence[ResolvedStream], checkpoints: RunCheckpoints
) -> tuple[Trainer, ConsoleProgress]:
    """Make the Trainer of this rank.

    Args:
        config: The configuration, its manifests pinned alike on all ranks.
        streams: What `resolve_streams` made of it; their shards verified.
        checkpoints: The run's; the one it starts from is on this machine.

    Raises:
        ConfigError: A name, argument or combination is refused.
        TrainingError: Corpus, tokenizer and model do not fit together.
    """
    from composer import Trainer

    batch_size = check_batch(config, streams, num_ranks=dist.get_world_size())
    check_hardware(config, device="cpu" if get_device(None).name == "cpu" else "gpu")
    microbatch_size = resolve_microbatch(config, batch_size, streams[0].manifest.seq_len)
    tokenizer, tokenizer_name = run_tokenizer(config)
    check_tokenizer(tokenizer, tokenizer_name, streams)
    optimizer_class = _load("optimizer.name", OPTIMIZERS, config.optimizer.name)
    scheduler = _named("scheduler", SCHEDULERS, config.scheduler)
    algorithms = _each("algorithms", ALGORITHMS, config.algorithms)
    loggers = _each("loggers", LOGGERS, {"jsonl": {"path": default_metrics_path(config)}, **config.loggers})
    callbacks = build_callbacks(config, tokenizer)
    keep = config.save_num_checkpoints_to_keep
    if checkpoints.are_uploaded:
        loggers.append(CheckpointUploads(str(checkpoints.local_folder), checkpoints.save_folder, keep=keep))

    model = build_model(
        config.model,
        as_it_came(tokenizer),
        row_tokens=streams[0].manifest.seq_len,
        attention_boundaries=config.train_loader.dataset.attention_boundaries,
        seed=config.seed,
        begins=checkpoints.begins_from is None,
    )
    groups = parameter_groups(model.model, config.optimizer.no_decay, announce)
    _check_start(config, checkpoints, model, groups)
    optimizer = construct("optimizer", optimizer_class, config.optimizer.arguments, groups)
    wanted = hyperparameters(optimizer)
    loader = build_loader(
        config.train_loader,
        streams,
        batch_size=batch_size,
        vocab_size=describe(model.model).vocab_size,
    )
    if dist.get_local_rank() == 0:
        remove_stale_segments()
        claim_segments(loader.dataset._shm_prefix_int)
    architecture = describe(model.model)
    progress = ConsoleProgress(
        bar=config.progress_bar,
        flops_per_token=architecture.flops_per_token(streams[0].manifest.seq_len),
        peak_flops=_peak_flops(config.precision),
    )
    random_states = RandomStates()
    finite = FiniteSteps(
        config.on_nan, max_skipped=config.max_skipped_steps, name_row=loader.dataset.name_row
    )
    if dist.get_global_rank() == 0:
        check_disks(config, streams, checkpoints, architecture)
    try:
        trainer = Trainer(
            model=model,
            train_dataloader=DataSpec(loader, get_num_tokens_in_batch=count_tokens),
            optimizers=optimizer,
            schedulers=scheduler,
            algorithms=algorithms,
            callbacks=[random_states, finite, progress, *callbacks],
            loggers=loggers,
            max_duration=config.max_duration,
            run_name=config.run_name,
            seed=config.seed,
            precision=config.precision,
            device_train_microbatch_size=microbatch_size,
            # The loss of a step is then its mean over tokens, not over rows of unlike padding.
            accumulate_train_batch_on_tokens=True,
            parallelism_config=config.parallelism_config,
            save_folder=checkpoints.local_folder,
            save_interval=config.save_interval,
            save_num_checkpoints_to_keep=-1 if checkpoints.are_uploaded else keep,
            load_path=checkpoints.load_path,
            load_weights_only=config.load_weights_only,
            load_progress_bar=False,
            autoresume=config.autoresume,
            progress_bar=False,
        )
    except TutelageError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Composer refuses this configuration: {error}") from error
    apply_hyperparameters(trainer.state, wanted, announce, is_rescheduled=is_rescheduled(config, streams))
    random_states.trainer = trainer
    finite.saver = saver = trainer._checkpoint_saver
    if saver is not None and dist.get_global_rank() == 0 and not checkpoints.are_uploaded:
        keep_counting(
            saver,
            checkpoints.save_folder,
            up_to_batch=int(trainer.state.timestamp.batch),
            sharded=trainer.state.fsdp_sharded_state_dict_enabled,
        )
    return trainer, progress


def _check_start(config: TrainConfig, checkpoints: RunCheckpoints, model: Any, groups: Any) -> None:
    """See on rank 0 that the checkpoint which the run begins from fits it; what is wrong ends every rank."""
    if checkpoints.begins_from is None:
        return
    problem: list[TutelageError | None] = [None]
    if dist.get_global_rank() == 0:
        try:
            check_load_path(checkpoints.begins_from, has_adapters=config.model.peft_config is not None)
            if checkpoints.newest or not config.load_weights_only:
                check_same_groups(checkpoints.begins_from, model, groups)
        except TutelageError as error:
            problem[0] = error
    dist.broadcast_object_list(problem, src=0)
    if problem[0] is not None:
        raise problem[0]


def check_disks(
    config: TrainConfig,
    streams: Sequence[ResolvedStream],
    checkpoints: RunCheckpoints,
    architecture: Architecture,
) -> None:
    """See that the disks have room for checkpoints and export, as far as rank 0's machine can tell.

    Raises:
        ConfigError: They have not.
    """
    num_ranks = dist.get_world_size()
    export_dtype = config.callbacks.get("hf_export", {}).get("dtype", "bfloat16")
    sharded = "fsdp" in (config.parallelism_config or {})
    check_room(
        config,
        checkpoint_folder=checkpoints.local_folder,
        checkpoint_bytes=checkpoint_bytes(architecture) // num_ranks * dist.get_local_world_size()
        if sharded
        else checkpoint_bytes(architecture),
        num_checkpoints=2
        if checkpoints.are_uploaded
        else _num_more(config, checkpoints, run_pace(config, streams, num_ranks=num_ranks)),
        export_bytes=architecture.num_parameters
        * dtype_of("callbacks.hf_export.dtype", export_dtype).itemsize,
        say=announce,
    )


def _num_more(config: TrainConfig, checkpoints: RunCheckpoints, pace: Pace) -> int:
    """Checkpoints that the run will have beyond those it has; 0 where it cannot be told."""
    run = parse_duration("max_duration", config.max_duration)
    steps, each = pace.steps(run), pace.steps(parse_duration("save_interval", config.save_interval), run=run)
    if steps is None or not each:
        return 0
    num, keep = math.ceil(steps / each), config.save_num_checkpoints_to_keep
    # The oldest goes once the newest is written.
    num = num if keep < 0 else min(num, keep + 1)
    return num - len(list_checkpoints(checkpoints.save_folder))


def is_done(trainer: Trainer) -> bool:
    """Whether the run went on from a checkpoint at its end; Composer refuses to train such a run."""
    end = trainer.state.max_duration
    return bool(end is not None and end <= trainer.state.timestamp.get(end.unit))


def complete_exports(trainer: Trainer) -> None:
    """Write the exports that a finished run lacks, because it ended before it could write them."""
    for callback in trainer.state.callbacks:
        if isinstance(callback, HuggingFaceExport):
            callback.complete(trainer.state)


def complete_uploads(trainer: Trainer) -> None:
    """Wait until what the run saved is where it belongs.

    Raises:
        TrainingError: An upload failed.
    """
    for destination in trainer.logger.destinations:
        if isinstance(destination, CheckpointUploads):
            destination.complete(sharded=trainer.state.fsdp_sharded_state_dict_enabled)


def resolve_microbatch(config: TrainConfig, batch_size: int, seq_len: int) -> int | str:
    """Rows of a forward pass; `auto` is resolved here on a CPU, by Composer on a GPU."""
    wanted = config.device_train_microbatch_size
    if wanted != "auto":
        return min(wanted, batch_size)
    if get_device(None).name != "cpu":
        return wanted
    limit = max(1, _CPU_MICROBATCH_TOKENS // seq_len)
    rows = max(size for size in range(1, min(limit, batch_size) + 1) if batch_size % size == 0)
    announce(f"device_train_microbatch_size: auto is {rows} row(s) of {seq_len} tokens on this CPU.")
    return rows


def _peak_flops(precision: str) -> float | None:
    """Of this rank's GPU in 16 bits, if it is a known one and computes in them."""
    if precision == "fp32" or not torch.cuda.is_available():
        return None
    return peak_flops_of(torch.cuda.get_device_name())


def build_callbacks(config: TrainConfig, tokenizer: Any) -> list[Any]:
    """Callbacks by name; one that has `from_config` is given the whole configuration too."""
    callbacks = []
    # An export's card has the scores of its step, so it comes after what takes them.
    for name, arguments in sorted(config.callbacks.items(), key=lambda each: each[0] == "hf_export"):
        key = f"callbacks.{name}"
        kind = _load("callbacks", CALLBACKS, name)
        if hasattr(kind, "from_config"):
            check_arguments(key, kind, arguments)
            try:
                callbacks.append(kind.from_config(dict(arguments), config=config, tokenizer=tokenizer))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{key}: {error}") from error
        else:
            callbacks.append(construct(key, kind, arguments))
    return callbacks


def construct(key: str, kind: Any, arguments: dict[str, Any], *positional: Any) -> Any:
    """Call `kind` with arguments that a person wrote under `key`.

    Numbers such as `1e-5`, which YAML 1.1 reads as text, are taken as numbers; durations (`t_…`) and
    intervals are checked to be times.

    Raises:
        ConfigError: An argument is unknown, missing or refused, or what it needs is not installed.
    """
    values = {name: _number(value) for name, value in arguments.items()}
    check_arguments(key, kind, values, num_positional=len(positional))
    for name, value in values.items():
        if is_time(name):
            parse_duration(f"{key}.{name}", value)
    try:
        return kind(*positional, **values)
    except TutelageError as error:
        raise type(error)(f"{key}: {error}") from error
    except ImportError as error:
        raise ConfigError(
            f"{key} needs a package that is not installed: {error.__cause__ or error}. Install it beside "
            "this trainer, or leave the key out."
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error


def _load(key: str, registry: Registry, name: str) -> Any:
    try:
        return registry.load(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


def _named(key: str, registry: Registry, config: NamedConfig) -> Any:
    return construct(key, _load(f"{key}.name", registry, config.name), config.arguments)


def _each(key: str, registry: Registry, configs: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        construct(f"{key}.{name}", _load(key, registry, name), arguments)
        for name, arguments in configs.items()
    ]


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def broadcast(value: Any, *, wait_sec: float) -> Any:
    """Rank 0's value on every rank.

    Args:
        value: Rank 0's.
        wait_sec: How long ranks wait for one another, now and while they train.
    """
    if dist.get_world_size() == 1:
        return value
    # Composer asks for it to resume whole checkpoints; its own launcher sets it, torchrun says GROUP_RANK.
    os.environ.setdefault("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    timeout = datetime.timedelta(seconds=wait_sec)
    if (store := store_on_loopback(timeout)) is None:
        dist.initialize_dist(get_device(None), timeout=wait_sec)
    else:
        torch.distributed.init_process_group(
            get_device(None).dist_backend,
            store=store,
            rank=dist.get_global_rank(),
            world_size=dist.get_world_size(),
            timeout=timeout,
        )
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
