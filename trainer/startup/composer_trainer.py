"""Composer Trainer of a run, made from its configuration.

    TrainConfig ─► tokenizer ─► model ─► loader ─► optimizer, scheduler, algorithms
                                                └► callbacks, loggers ─► Trainer

Names in the YAML are looked up in lazy registries; the class is called with the arguments beside the name.
Faults that Composer would report only after minutes, or a GPU only as a device-side assertion, are checked
first.
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
from plugins.tokenizers import as_it_came
from schemas.errors import ConfigError, TutelageError
from schemas.process import keep_freed_memory
from schemas.train_config import TrainConfig
from trainer.checkpoints.checkpoint_files import keep_counting, list_checkpoints
from trainer.checkpoints.random_states import RandomStates
from trainer.checkpoints.resume_from import RunCheckpoints
from trainer.checkpoints.run_settings import apply_hyperparameters, hyperparameters, is_rescheduled
from trainer.checkpoints.uploads import CheckpointUploads
from trainer.data.batches import count_tokens
from trainer.data.resolve_streams import ResolvedStream
from trainer.data.row_loader import build_loader
from trainer.estimate.gpus import peak_flops_of
from trainer.estimate.memory import checkpoint_bytes
from trainer.evaluation.callback import DomainEval
from trainer.model.architecture import Architecture, describe
from trainer.model.lora import check_load_path
from trainer.model.nan_guard import FiniteSteps
from trainer.model.packed_model import build_model
from trainer.model.weight_decay import check_same_groups, parameter_groups
from trainer.reporting.announce import announce
from trainer.reporting.metrics_jsonl import MetricsFile, default_metrics_path
from trainer.reporting.report_writer import ReportWriter
from trainer.reporting.training_progress import ConsoleProgress
from trainer.startup.config_checks import (
    check_arguments,
    check_hardware,
    check_tokenizer,
    rows_per_rank,
    run_tokenizer,
)
from trainer.startup.disk_space import check_room
from trainer.startup.loopback import store_on_loopback
from trainer.startup.registries import ALGORITHMS, LOGGERS, OPTIMIZERS, SCHEDULERS
from trainer.startup.run_length import pace_of, parse_duration

if TYPE_CHECKING:
    from composer import Trainer

_CPU_MICROBATCH_TOKENS = 1024
"""Tokens of a forward pass on a CPU under `auto`: with a vocabulary of 49k the logits take 0.2 GB."""

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def build_trainer(
    config: TrainConfig, streams: Sequence[ResolvedStream], checkpoints: RunCheckpoints
) -> tuple[Trainer, ConsoleProgress]:
    """Make the Trainer of this rank.

    Args:
        config: The configuration, with the same pinned manifests on all ranks.
        streams: From `resolve_streams`; their shards verified.
        checkpoints: The run's; the one that it starts from is on this machine.

    Raises:
        ConfigError: A name, argument or combination is refused.
        TrainingError: Corpus, tokenizer and model do not fit together.
    """
    from composer import Trainer

    seq_len = streams[0].manifest.seq_len
    batch_size = rows_per_rank(config, dist.get_world_size())
    on_cpu = get_device(None).name == "cpu"
    check_hardware(config, device="cpu" if on_cpu else "gpu")
    if on_cpu:
        keep_freed_memory()
    microbatch_size = resolve_microbatch(config, batch_size, seq_len)
    tokenizer, tokenizer_name = run_tokenizer(config)
    check_tokenizer(tokenizer, tokenizer_name, streams)
    optimizer_class = OPTIMIZERS.load(config.optimizer.name)
    scheduler = construct("scheduler", SCHEDULERS.load(config.scheduler.name), config.scheduler.arguments)
    algorithms = [
        construct(f"algorithms.{name}", ALGORITHMS.load(name), arguments)
        for name, arguments in config.algorithms.items()
    ]
    loggers = [
        construct(f"loggers.{name}", LOGGERS.load(name), arguments)
        for name, arguments in {"jsonl": {"path": default_metrics_path(config)}, **config.loggers}.items()
    ]
    callbacks = build_callbacks(config, tokenizer)
    report = [
        ReportWriter(
            config, streams, each, next((one for one in callbacks if isinstance(one, DomainEval)), None)
        )
        for each in loggers
        if isinstance(each, MetricsFile)
    ]
    keep = config.save_num_checkpoints_to_keep
    if checkpoints.are_uploaded:
        loggers.append(CheckpointUploads(str(checkpoints.local_folder), checkpoints.save_folder, keep=keep))

    model = build_model(
        config.model,
        as_it_came(tokenizer),
        row_tokens=seq_len,
        attention_boundaries=config.train_loader.dataset.attention_boundaries,
        seed=config.seed,
        begins=checkpoints.begins_from is None,
    )
    groups = parameter_groups(model.model, config.optimizer.no_decay)
    _check_start(config, checkpoints, model, groups)
    optimizer = construct(
        "optimizer", optimizer_class, optimizer_arguments(config, optimizer_class, on_cpu=on_cpu), groups
    )
    wanted = hyperparameters(optimizer)
    architecture = describe(model.model)
    loader = build_loader(
        config.train_loader, streams, batch_size=batch_size, vocab_size=architecture.vocab_size
    )
    progress = ConsoleProgress(
        bar=config.progress_bar,
        flops_per_token=architecture.flops_per_token(seq_len),
        peak_flops=None
        if config.precision == "fp32" or not torch.cuda.is_available()
        else peak_flops_of(torch.cuda.get_device_name()),
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
            callbacks=[random_states, finite, progress, *report, *callbacks],
            loggers=loggers,
            max_duration=config.max_duration,
            run_name=config.run_name,
            seed=config.seed,
            precision=config.precision,
            device_train_microbatch_size=microbatch_size,
            # Makes the loss of a step its mean over tokens, not over rows with different padding.
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
    apply_hyperparameters(trainer.state, wanted, is_rescheduled=is_rescheduled(config, streams))
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
    """Check on rank 0 that the first checkpoint fits the run; an error ends every rank."""
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
    """Refuse disks of rank 0's machine without room for checkpoints and export."""
    size = checkpoint_bytes(architecture)
    if "fsdp" in (config.parallelism_config or {}):
        size = size // dist.get_world_size() * dist.get_local_world_size()
    export_dtype = config.callbacks.get("hf_export", {}).get("dtype", "bfloat16")
    check_room(
        config,
        checkpoint_folder=checkpoints.local_folder,
        checkpoint_bytes=size,
        num_checkpoints=2 if checkpoints.are_uploaded else _num_more(config, streams, checkpoints),
        export_bytes=architecture.parameters.total
        * dtype_of("callbacks.hf_export.dtype", export_dtype).itemsize,
    )


def _num_more(config: TrainConfig, streams: Sequence[ResolvedStream], checkpoints: RunCheckpoints) -> int:
    """Count the checkpoints that the run will add to the existing ones; 0 if unknown."""
    pace = pace_of(config, streams)
    run = parse_duration("max_duration", config.max_duration)
    steps, each = pace.steps(run), pace.steps(parse_duration("save_interval", config.save_interval), run=run)
    if steps is None or not each:
        return 0
    num, keep = math.ceil(steps / each), config.save_num_checkpoints_to_keep
    # Composer deletes the oldest once the newest is written.
    num = num if keep < 0 else min(num, keep + 1)
    return num - len(list_checkpoints(checkpoints.save_folder))


def is_done(trainer: Trainer) -> bool:
    """True if the run resumed from a checkpoint at its end; Composer refuses to train such a run."""
    end = trainer.state.max_duration
    return bool(end is not None and end <= trainer.state.timestamp.get(end.unit))


def complete_exports(trainer: Trainer) -> None:
    """Write the exports that are missing because a finished run ended before it wrote them."""
    for callback in trainer.state.callbacks:
        if isinstance(callback, HuggingFaceExport):
            callback.complete(trainer.state)


def complete_uploads(trainer: Trainer) -> None:
    """Wait until all checkpoints of the run are uploaded."""
    for destination in trainer.logger.destinations:
        if isinstance(destination, CheckpointUploads):
            destination.complete(sharded=trainer.state.fsdp_sharded_state_dict_enabled)


def resolve_microbatch(config: TrainConfig, batch_size: int, seq_len: int) -> int | str:
    """Return the rows of a forward pass; `auto` is resolved here on a CPU, and by Composer on a GPU."""
    wanted = config.device_train_microbatch_size
    if wanted != "auto":
        return min(wanted, batch_size)
    if get_device(None).name != "cpu":
        return wanted
    limit = max(1, _CPU_MICROBATCH_TOKENS // seq_len)
    rows = max(size for size in range(1, min(limit, batch_size) + 1) if batch_size % size == 0)
    announce(f"device_train_microbatch_size: auto is {rows} row(s) of {seq_len} tokens on this CPU.")
    return rows


def optimizer_arguments(config: TrainConfig, kind: Any, *, on_cpu: bool) -> dict[str, Any]:
    """Return the YAML's arguments; on a CPU AdamW takes the fused kernel, in a fifth of the time."""
    arguments = config.optimizer.arguments
    others = arguments.keys() & {"foreach", "capturable", "differentiable"}
    fuses = kind is torch.optim.AdamW and on_cpu and not config.parallelism_config and not others
    return {"fused": True, **arguments} if fuses else arguments


def build_callbacks(config: TrainConfig, tokenizer: Any) -> list[Any]:
    """Make the callbacks; one with `from_config` also gets the whole configuration."""
    callbacks = []
    # The card of an export has the scores of its step, so the export comes after the evaluation.
    for name, arguments in sorted(config.callbacks.items(), key=lambda each: each[0] == "hf_export"):
        key = f"callbacks.{name}"
        kind = CALLBACKS.load(name)
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

    Numbers such as `1e-5`, which YAML 1.1 reads as text, become numbers.

    Raises:
        ConfigError: An argument is unknown, missing or refused, or a package is not installed.
    """
    values = {
        name: float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
        for name, value in arguments.items()
    }
    check_arguments(key, kind, values, num_positional=len(positional))
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


def broadcast(value: Any, *, wait_sec: float) -> Any:
    """Return rank 0's value on every rank; `wait_sec` is the timeout of collectives from now on."""
    if dist.get_world_size() == 1:
        return value
    # Composer reads NODE_RANK to resume whole checkpoints; its launcher sets it, torchrun sets GROUP_RANK.
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
