"""Checks of a training YAML for `tutelage check`: all that a dry run refuses, one by one, and the shards."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

from plugins.hf_folder import check_folder, dtype_of
from schemas import storage
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.checkpoints.resume_from import fill_in_places
from trainer.data.resolve_streams import ResolvedStream, pin_manifests, resolve_streams
from trainer.data.rows_per_epoch import check_epochs
from trainer.data.verify_shards import verify_streams
from trainer.estimate.dry_run import check_estimated_room, check_evaluation
from trainer.startup.config_checks import (
    check_hardware,
    check_installed,
    check_named_arguments,
    check_schedule,
    check_tokenizer,
    config_checks,
    known_device,
    run_tokenizer,
)
from trainer.startup.disk_space import check_writable, places_of
from trainer.startup.library_warnings import quiet_libraries
from trainer.startup.run_length import pace_of


def checks(
    config: TrainConfig, *, num_gpus: int | None = None
) -> Generator[Callable[[], object], bool, None]:
    """Yield the checks; to be sent whether the last one found nothing.

    Args:
        config: The run.
        num_gpus: GPUs of another machine that the run is for; None checks this machine.
    """
    here = num_gpus is None
    sound = True  # nothing that the estimate depends on is wrong
    for check in config_checks(config, num_ranks=num_gpus or 1):
        sound &= yield check
    yield functools.partial(_check_hardware, config, here=here)
    if here:
        yield functools.partial(check_installed, config)
        yield lambda: check_writable(fill_in_places(config), remote=False)
        yield functools.partial(_check_load_path, config)
    streams: list[ResolvedStream] = []
    yield lambda: streams.extend(resolve_streams(pin_manifests(config).train_loader.dataset))
    if streams:
        batch_rows = config.global_train_batch_size
        yield lambda: check_epochs(config.train_loader.dataset, streams, batch_rows=batch_rows)
        yield functools.partial(verify_streams, streams)
    if streams and sound:
        yield lambda: check_schedule(config, pace_of(config, streams))
    quiet_libraries(config.python_log_level)
    if sound:
        sound = yield functools.partial(check_named_arguments, config)
    if "hf_export" in config.callbacks:
        yield functools.partial(_check_export, config)
    loaded: list[Any] = []
    yield lambda: loaded.extend(run_tokenizer(config))
    if loaded and streams:
        yield lambda: check_tokenizer(loaded[0], loaded[1], streams)
    if loaded and sound and (arguments := config.callbacks.get("domain_eval")) is not None:
        yield lambda: check_evaluation(config, arguments, loaded[0], here=here)
    if here and sound and streams and loaded:
        yield lambda: _check_room(config, streams, loaded[0])


def _check_hardware(config: TrainConfig, *, here: bool) -> None:
    try:
        check_hardware(config, device=(known_device() or "gpu") if here else "gpu")
    except ConfigError as error:
        raise ConfigError(f"{error} For GPUs of another machine, give --gpus.") if here else error from error


def _check_load_path(config: TrainConfig) -> None:
    path = config.load_path
    if path and storage.is_local(path) and not storage.exists(path):
        raise ConfigError(f"load_path is {path!r}, and there is no such checkpoint. Correct it, or set null.")


def _check_export(config: TrainConfig) -> None:
    key = "callbacks.hf_export.folder"
    if (folder := places_of(config).get(key)) is None:
        found = ", ".join(config.callbacks["hf_export"]) or "none"
        raise ConfigError(f"key {key!r} is missing, the folder of the exported model; found: {found}.")
    check_folder(key, folder)
    dtype_of("callbacks.hf_export.dtype", config.callbacks["hf_export"].get("dtype", "bfloat16"))


def _check_room(config: TrainConfig, streams: list[ResolvedStream], tokenizer: Any) -> None:
    from trainer.estimate.run_estimate import Machine, estimate

    check_estimated_room(config, estimate(config, streams, Machine(), tokenizer=tokenizer))
