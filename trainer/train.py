"""Train a model on the streams of a corpus: `tutelage train FILE.yaml [key=value …]`.

    python -m trainer.train FILE.yaml max_duration=100ba
    composer -n 8 -m trainer.train FILE.yaml                          # many GPUs of one machine
    torchrun --nproc-per-node 8 -m trainer.train FILE.yaml
    tutelage train FILE.yaml --dry-run --gpus 8 --gpu h100            # what it would take; starts nothing

The configuration is validated, its contradictions are named, the manifests are pinned and the shards
verified before torch is imported, so a mistake is told in a second. Exit status: 0 done, 1 failed, 2
wrong use or config.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from plugins.commands.parser import Parser
from schemas import storage
from schemas.config import load_config
from schemas.crash_messages import understood
from schemas.errors import TrainingError, TutelageError, report
from schemas.manifest import Number
from schemas.process import keep_to_loopback
from schemas.train_config import TrainConfig
from schemas.validation import read_json
from trainer.checkpoints.checkpoint_files import find_damage, list_checkpoints
from trainer.checkpoints.local_folder import RunCheckpoints, fill_in_places
from trainer.checkpoints.resumption import check_resumption, write_settings
from trainer.checkpoints.unpickling import data_only
from trainer.data.resolve_streams import pin_manifests, resolve_streams, rows_per_epoch, verify_shards
from trainer.estimate.dry_run import add_dry_run_arguments, dry_run, refuse_without_dry_run
from trainer.estimate.run_length import run_pace, steps_by_epoch
from trainer.startup.config_checks import (
    check_batch,
    check_config,
    check_hardware,
    check_installed,
    check_schedule,
    known_device,
)
from trainer.startup.library_warnings import quiet_libraries
from trainer.startup.loopback import is_one_machine
from trainer.startup.preflight import check_writable, full_disk

PINS = "manifests.json"
"""File in the save folder that says which manifests a run reads, so that it resumes on the same rows."""

_WAIT_SEC = 300.0
"""For ranks whose machine reads slower than others'."""

_FETCH_SEC = 3600.0
"""The same where checkpoints are fetched first, which takes long if they are large."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(
        prog="tutelage train", description="Train a model on the streams of a corpus with Composer."
    )
    parser.add_argument("config", metavar="FILE.yaml", help="training configuration; see trainer/yamls")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="change a key: max_duration=100ba"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on the last line")
    add_dry_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        config = load_config(TrainConfig, args.config, args.overrides)
        if args.dry_run:
            return dry_run(config, args)
        refuse_without_dry_run(args)
        result = train(config)
    except TutelageError as error:
        return report(error)
    if result is not None:
        print(result.pop("line"), file=sys.stderr, flush=True)
        if args.json:
            print(json.dumps(result, sort_keys=True), flush=True)
    return 0


def train(config: TrainConfig) -> dict[str, Any] | None:
    """Run a training to its end.

    Returns:
        On rank 0 what was done, with `line` for a person; None on other ranks.

    Raises:
        TutelageError: It cannot start or go on.
    """
    rank_zero = int(os.environ.get("RANK", "0")) == 0
    local_rank_zero = int(os.environ.get("LOCAL_RANK", "0")) == 0
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    check_config(config, num_ranks=num_ranks)
    check_hardware(config, device=known_device())
    check_installed(config)
    config = fill_in_places(config)
    checkpoints = RunCheckpoints(config)
    earlier_pins = read_pins(checkpoints.save_folder) if config.autoresume else None
    config = pin_manifests(config, earlier_pins)
    streams = resolve_streams(config.train_loader.dataset)
    check_batch(config, streams, num_ranks=num_ranks)
    check_schedule(
        config,
        run_pace(config, streams, num_ranks=num_ranks),
        epochs=steps_by_epoch(config, streams, num_ranks=num_ranks),
        say=say if rank_zero else lambda line: None,
    )
    if local_rank_zero:
        checkpoints.claim()
    if rank_zero:
        check_writable(config, remote=True)
    if rank_zero:  # one rank reads the files; the launcher ends the others if it fails
        for stream in streams:
            for shard_set in stream.shard_sets:
                verify_shards(stream.corpus, shard_set)
        checkpoints.settle(say)
        if checkpoints.newest:
            check_resumption(config, streams, newest=checkpoints.newest, pins=earlier_pins, say=say)

    quiet_libraries(config.python_log_level)
    from composer.utils import dist

    from trainer.startup import composer_trainer as build

    if is_one_machine():
        keep_to_loopback(os.environ)

    # A corpus may grow between the looks of two ranks: rank 0's manifests hold.
    config, checkpoints.newest = build.broadcast(
        (config, checkpoints.newest), wait_sec=_FETCH_SEC if checkpoints.are_fetched else _WAIT_SEC
    )
    streams = resolve_streams(config.train_loader.dataset)
    pins = {name: stream.manifest or 0 for name, stream in config.train_loader.dataset.streams.items()}
    if local_rank_zero and not rank_zero:
        checkpoints.fetch()
    if checkpoints.are_fetched:
        dist.barrier()
    with data_only(checkpoints.newest or config.load_path or ""):
        trainer, progress = build.build_trainer(config, streams, checkpoints)
    state = trainer.state
    try:
        if rank_zero and checkpoints.save_folder:
            storage.write_bytes(storage.join(checkpoints.save_folder, PINS), json.dumps(pins).encode())
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
        places = {"checkpoints": checkpoints.save_folder} if checkpoints.save_folder else {}
        if "hf_export" in config.callbacks:
            places["export"] = config.callbacks["hf_export"]["folder"].replace("{run_name}", config.run_name)
        result = {
            "run_name": config.run_name,
            "steps": int(state.timestamp.batch),
            "tokens": int(state.timestamp.token),
            "seconds": round(progress.seconds, 3),
            "loss": progress.loss,
            "manifests": pins,
            **places,
            "line": progress.closing_line(state, places, was_done=was_done),
        }
    finally:
        trainer.close()
    return result if rank_zero else None


def _after_the_end(config: TrainConfig, steps: int, error: Exception) -> TrainingError:
    """What is said when all steps are done, and something behind the last one fails."""
    there = [
        path
        for path in (list_checkpoints(config.save_folder) if config.save_folder else [])
        if not storage.is_local(path) or find_damage(path) is None
    ]
    kept = (
        f"The newest checkpoint is {there[-1]}: `tutelage export FILE.yaml --output DIR` makes a model of "
        "it, and with autoresume: true the same command does what is left"
        if there
        else "There is no sound checkpoint in save_folder, so what was trained is lost"
    )
    return TrainingError(
        f"all {steps:,} steps are trained, but what follows the last one failed. {kept}. {understood(error)}"
    )


def say(text: str) -> None:
    """Tell the person at the terminal, before there is anything else to do it."""
    print(text, file=sys.stderr, flush=True)


def _announce_start(config: TrainConfig, streams: Any) -> None:
    """Say what the mix is made of."""
    from trainer.reporting.training_progress import announce

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


def read_pins(save_folder: str) -> Mapping[str, int] | None:
    """The manifests that an earlier part of this run settled on, if there was one."""
    if not save_folder:
        return None
    try:
        pins: dict[str, int] = read_json(
            storage.join(save_folder, PINS), dict[str, Number], cure="Delete it to read the newest manifests."
        )
    except FileNotFoundError:
        return None
    return pins


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
