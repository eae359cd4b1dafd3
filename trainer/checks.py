"""What can be said of a configuration before anything heavy is imported: names, times, contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from plugins.callbacks import CALLBACKS
from plugins.registry import Registry
from schemas.errors import ConfigError, unknown_name
from schemas.train_config import TrainConfig
from trainer.duration import Duration, parse_duration
from trainer.registries import ALGORITHMS, LOGGERS, OPTIMIZERS, SCHEDULERS
from trainer.shards import ResolvedStream, rows_per_epoch

PRECISIONS = ("amp_bf16", "amp_fp16", "fp32")
"""Composer's, but amp_fp8, which needs Transformer Engine's layers, not those of transformers."""


def check_config(config: TrainConfig, *, num_ranks: int) -> None:
    """Refuse what can only fail later.

    Args:
        config: As written.
        num_ranks: Processes that share a batch.

    Raises:
        ConfigError: Names the keys that are wrong or contradict each other.
    """
    _check_names(config)
    _check_times(config)
    _check_model(config)
    _check_checkpoints(config)
    if config.precision not in PRECISIONS:
        raise ConfigError(unknown_name("value", config.precision, PRECISIONS, shown="precision"))
    rows_per_rank(config, num_ranks)


def rows_per_rank(config: TrainConfig, num_ranks: int) -> int:
    """Rows a step on one rank.

    Raises:
        ConfigError: The ranks cannot share a batch evenly.
    """
    total = config.global_train_batch_size
    if total % num_ranks:
        raise ConfigError(
            f"global_train_batch_size is {total}, which {num_ranks} ranks cannot share evenly. "
            f"Give a multiple of {num_ranks}."
        )
    return total // num_ranks


def check_batch(config: TrainConfig, streams: Sequence[ResolvedStream], *, num_ranks: int) -> int:
    """Rows a step on one rank, after checking that batches and epochs come out even.

    Raises:
        ConfigError: The batch cannot be divided over the ranks, or an epoch is smaller than a batch.
    """
    batch_size = rows_per_rank(config, num_ranks)
    num_rows = sum(map(sum, rows_per_epoch(config.train_loader.dataset, streams)))
    # The last, incomplete batch of a rank is dropped, and so is what a reader process has left over.
    readers = num_ranks * max(1, config.train_loader.num_workers)
    if -(-num_rows // readers) < batch_size:
        raise ConfigError(
            f"an epoch has {num_rows} rows, too few for {readers} reader(s) of {batch_size} rows a batch. "
            "Lower global_train_batch_size or train_loader.num_workers, or raise "
            "train_loader.dataset.epoch_size."
        )
    return batch_size


def _check_names(config: TrainConfig) -> None:
    chosen: list[tuple[str, Registry, Iterable[str]]] = [
        ("optimizer.name", OPTIMIZERS, [config.optimizer.name]),
        ("scheduler.name", SCHEDULERS, [config.scheduler.name]),
        ("algorithms", ALGORITHMS, config.algorithms),
        ("callbacks", CALLBACKS, config.callbacks),
        ("loggers", LOGGERS, config.loggers),
    ]
    for key, registry, names in chosen:
        for name in names:
            if name not in registry.targets():
                raise ConfigError(f"{key}: {unknown_name(registry.kind, name, registry.names())}")


def _check_times(config: TrainConfig) -> None:
    run = parse_duration("max_duration", config.max_duration)
    if run.unit == "dur":
        raise ConfigError(
            f"max_duration is {config.max_duration!r}, a share of itself. Give batches (100ba), epochs (1ep) "
            "or tokens (1000000tok)."
        )
    parse_duration("save_interval", config.save_interval)
    sections: dict[str, dict[str, Any]] = {
        "scheduler": config.scheduler.arguments,
        **{f"callbacks.{name}": arguments for name, arguments in config.callbacks.items()},
    }
    for section, arguments in sections.items():
        for name, value in arguments.items():
            if value is not None and (name.startswith("t_") or name == "interval"):
                _check_schedule(f"{section}.{name}", parse_duration(f"{section}.{name}", value), run)


def _check_schedule(key: str, found: Duration, run: Duration) -> None:
    """Composer turns shares of the run and epochs into other units; batches, rows and tokens it does not."""
    name = key.rsplit(".", 1)[-1]
    fixed = ("ba", "sp", "tok")
    if name == "t_warmup" and found.unit != run.unit and {found.unit, run.unit} <= set(fixed):
        raise ConfigError(
            f"{key} is in {found.unit} and max_duration in {run.unit}; a warm-up is measured as the run is. "
            f"Give both in {run.unit}, or the warm-up as a share of the run (0.1dur)."
        )
    if name == "t_max" and found.unit == run.unit and found.value < run.value:
        raise ConfigError(
            f"{key} ends the schedule at {found.value:g}{found.unit}, before max_duration, "
            f"{run.value:g}{run.unit}. Raise it, or leave it out: it is then max_duration."
        )


def _check_model(config: TrainConfig) -> None:
    parallelism = config.parallelism_config or {}
    if "fsdp2" in parallelism:
        raise ConfigError(
            "parallelism_config has the key 'fsdp2', which Composer ignores without a word. Write `fsdp:`; "
            "it means FSDP2 here."
        )
    if config.model.init_device == "mixed" and "fsdp" not in parallelism:
        raise ConfigError(
            "model.init_device is 'mixed', which leaves ranks other than 0 without weights unless FSDP hands "
            "them out. Add `parallelism_config: {fsdp: {}}`, or set model.init_device: cpu."
        )
    if config.model.init_device == "meta":
        raise ConfigError(
            "model.init_device is 'meta', with which buffers that no checkpoint holds (rotary frequencies) "
            "would stay empty. Set it to mixed: rank 0 loads the weights and FSDP2 hands them out."
        )


def _check_checkpoints(config: TrainConfig) -> None:
    if config.autoresume and not config.save_folder:
        raise ConfigError(
            "autoresume is true, but save_folder is null: there is nowhere to go on from. Set save_folder."
        )
    if config.autoresume and config.save_num_checkpoints_to_keep == 0:
        raise ConfigError(
            "autoresume is true, but save_num_checkpoints_to_keep is 0: no checkpoint stays to go on from. "
            "Keep at least 1; with 2 a damaged newest one is survived."
        )
    if config.load_weights_only and not config.load_path:
        raise ConfigError(
            "load_weights_only is true, but load_path is null: nothing is loaded. Set load_path."
        )
