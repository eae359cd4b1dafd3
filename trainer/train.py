"""Train a model on the streams of a corpus: `tutelage train FILE.yaml [key=value …]`.

    python -m trainer.train FILE.yaml max_duration=100ba
    composer -n 8 -m trainer.train FILE.yaml                          # many GPUs of one machine
    torchrun --nproc-per-node 8 -m trainer.train FILE.yaml
    tutelage train FILE.yaml --dry-run --gpus 8 --gpu h100            # estimate the run; starts nothing

Before torch is imported, the command validates the configuration, names its contradictions, pins the
manifests and verifies the shards, so a mistake is reported within a second. Exit status: 0 done, 1 failed, 2
wrong use or config.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugins.commands.parser import Parser
from schemas import storage
from schemas.config import load_config
from schemas.crash_messages import understood
from schemas.errors import TrainingError, TutelageError, report
from schemas.process import keep_to_loopback
from schemas.train_config import TrainConfig
from trainer.checkpoints.checkpoint_files import list_checkpoints
from trainer.checkpoints.resume_from import RunCheckpoints, fill_in_places, find_sound
from trainer.checkpoints.run_settings import check_resumption, read_pins, write_settings
from trainer.checkpoints.unpickling import data_only
from trainer.data.resolve_streams import ResolvedStream, pin_manifests, resolve_streams
from trainer.data.rows_per_epoch import check_epochs, rows_per_epoch
from trainer.data.verify_shards import verify_streams
from trainer.estimate.dry_run import add_dry_run_arguments, dry_run, refuse_without_dry_run
from trainer.reporting.announce import announce
from trainer.startup.config_checks import (
    check_config,
    check_hardware,
    check_installed,
    check_schedule,
    known_device,
)
from trainer.startup.disk_space import check_writable, full_disk, places_of
from trainer.startup.library_warnings import quiet_libraries
from trainer.startup.loopback import is_one_machine
from trainer.startup.run_length import pace_of

_WAIT_SEC = 300.0
"""Timeout of collective operations; machines read at different speeds."""

_FETCH_SEC = 3600.0
"""The same if checkpoints are fetched first, since large ones take long."""


def main(argv: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(
        prog="tutelage train", description="Train a model on the streams of a corpus with Composer."
    )
    parser.add_argument("config", metavar="FILE.yaml", help="training configuration; see trainer/yamls")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="change a key: max_duration=100ba"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    parser.add_quiet()
    add_dry_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        config = load_config(TrainConfig, args.config, args.overrides)
        if args.dry_run:
            return dry_run(config, args)
        refuse_without_dry_run(args)
        result = _train(config)
    except TutelageError as error:
        return report(error)
    if result is not None:
        announce(result.pop("line"))
        if args.json:
            print(json.dumps(result, sort_keys=True), flush=True)
    return 0


def train(
    config: TrainConfig | Mapping[str, Any] | str | Path, overrides: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Run a training to its end, in this process.

    Args:
        config: A YAML file, a mapping with its keys, or a validated configuration.
        overrides: `key=value` strings that change it.

    Returns:
        On rank 0 `run_name`, `steps`, `tokens`, `seconds`, `loss`, the `manifests` of its streams by name,
        the folders `checkpoints` and `export` if the run writes them, and a `line` for a person; None on
        other ranks.

    Raises:
        TutelageError: It cannot start, or fails.
    """
    return _train(load_config(TrainConfig, config, overrides))


def _train(config: TrainConfig) -> dict[str, Any] | None:
    rank_zero = int(os.environ.get("RANK", "0")) == 0
    local_rank_zero = int(os.environ.get("LOCAL_RANK", "0")) == 0
    check_config(config, num_ranks=int(os.environ.get("WORLD_SIZE", "1")))
    check_hardware(config, device=known_device())
    check_installed(config)
    config = fill_in_places(config)
    checkpoints = RunCheckpoints(config)
    earlier_pins = read_pins(config.save_folder) if config.autoresume else None
    config = pin_manifests(config, earlier_pins)
    streams = resolve_streams(config.train_loader.dataset)
    check_epochs(config.train_loader.dataset, streams, batch_rows=config.global_train_batch_size)
    check_schedule(config, pace_of(config, streams))
    if local_rank_zero:
        checkpoints.claim()
    if rank_zero:  # one rank reads the files; the launcher ends the others if it fails
        check_writable(config, remote=True)
        verify_streams(streams)
        checkpoints.settle()
        if checkpoints.newest:
            check_resumption(config, streams, newest=checkpoints.newest, pins=earlier_pins)

    quiet_libraries(config.python_log_level)
    from composer.utils import dist

    from trainer.startup import composer_trainer as build

    if is_one_machine():
        keep_to_loopback(os.environ)

    # A corpus may grow while ranks start one after another: rank 0's manifests hold for all.
    config, checkpoints.newest = build.broadcast(
        (config, checkpoints.newest), wait_sec=_FETCH_SEC if checkpoints.are_fetched else _WAIT_SEC
    )
    streams = resolve_streams(config.train_loader.dataset)
    if local_rank_zero and not rank_zero:
        checkpoints.fetch()
    if checkpoints.are_fetched:
        dist.barrier()
    with data_only(checkpoints.newest or config.load_path or ""):
        trainer, progress = build.build_trainer(config, streams, checkpoints)
    state = trainer.state
    try:
        if rank_zero and checkpoints.save_folder:
            write_settings(config, streams)
        if was_done := build.is_done(trainer):
            build.complete_exports(trainer)
        else:
            _announce_start(config, streams)
            try:
                trainer.fit()
            except FileExistsError as error:
                raise checkpoints.in_the_way() from error
            except BaseException as error:  # torch's CheckpointException is no Exception
                full = full_disk(error, checkpoints.local_folder)
                if isinstance(error, Exception) and build.is_done(trainer):
                    raise _after_the_end(config, int(state.timestamp.batch), full or error) from error
                if full:
                    raise full from error
                raise
            build.complete_uploads(trainer)
        checkpoints.release()
        written = places_of(config)
        keys = {"checkpoints": "save_folder", "export": "callbacks.hf_export.folder"}
        places = {name: written[key] for name, key in keys.items() if key in written}
        result = {
            "run_name": config.run_name,
            "steps": int(state.timestamp.batch),
            "tokens": int(state.timestamp.token),
            "seconds": round(progress.seconds, 3),
            "loss": progress.loss,
            "manifests": {stream.name: stream.manifest.number for stream in streams},
            **places,
            "line": progress.closing_line(state, places, was_done=was_done),
        }
    finally:
        trainer.close()
    return result if rank_zero else None


def _after_the_end(config: TrainConfig, steps: int, error: Exception) -> TrainingError:
    """Return the error to raise if all steps are done, and an export or upload after the last one fails."""
    folder, sound = config.save_folder, None
    if folder and storage.is_local(folder):
        sound, _ = find_sound(folder)
    elif folder:
        sound = next(reversed(list_checkpoints(folder)), None)
    kept = (
        f"The newest checkpoint is {sound}: `tutelage export FILE.yaml --output DIR` makes a model of "
        "it, and with autoresume: true the same command does what is left"
        if sound
        else "There is no sound checkpoint in save_folder, so the trained weights are lost"
    )
    return TrainingError(
        f"all {steps:,} steps are trained, but an action after the last one failed. {kept}. "
        f"{understood(error)}"
    )


def _announce_start(config: TrainConfig, streams: Sequence[ResolvedStream]) -> None:
    """Print the length of the run and the mix of its streams."""
    counts = [sum(rows) for rows in rows_per_epoch(config.train_loader.dataset, streams)]
    mix = ", ".join(
        f"{stream.name} {count / sum(counts):.1%} ({stream.num_samples:,} rows, manifest "
        f"{stream.manifest.number})"
        for stream, count in zip(streams, counts, strict=True)
    )
    announce(
        f"{config.run_name}: {config.max_duration} of {config.global_train_batch_size} rows × "
        f"{streams[0].manifest.seq_len} tokens; an epoch is {sum(counts):,} rows: {mix}"
    )


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
