"""Dry run, `tutelage train FILE.yaml --dry-run`: estimate a run, and check that its GPUs can hold it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from schemas import storage
from schemas.errors import ConfigError, CorpusError
from schemas.train_config import TrainConfig
from trainer.checkpoints.resume_from import fill_in_places
from trainer.data.resolve_streams import ResolvedStream, pin_manifests, resolve_streams
from trainer.data.rows_per_epoch import check_epochs
from trainer.estimate.gpus import GPUS, find_gpu
from trainer.startup.config_checks import (
    check_config,
    check_hardware,
    check_installed,
    check_named_arguments,
    check_schedule,
    check_tokenizer,
    known_device,
    run_tokenizer,
)
from trainer.startup.disk_space import check_room, check_writable, places_of
from trainer.startup.library_warnings import quiet_libraries
from trainer.startup.run_length import pace_of

if TYPE_CHECKING:
    from trainer.estimate.run_estimate import Estimate

_MFU = 0.4

_OPTIONS: dict[str, dict[str, Any]] = {
    "gpus": {"type": int, "metavar": "N", "help": "GPUs of the run (default 1)"},
    "gpu": {"metavar": "NAME", "help": f"their kind: {', '.join(GPUS)}"},
    "gpu_memory": {"type": float, "metavar": "GIB", "help": "memory of a GPU that is not listed"},
    "peak_tflops": {"type": float, "metavar": "X", "help": "its dense bf16 rate"},
    "mfu": {"type": float, "metavar": "SHARE", "help": f"share of the peak that training reaches ({_MFU})"},
    "seq_len": {"type": int, "metavar": "T", "help": "tokens a row, if there is no corpus yet"},
}


def add_dry_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only a dry run reads."""
    group = parser.add_argument_group("dry run")
    group.add_argument(
        "--dry-run", action="store_true", help="estimate the run and start nothing; needs no GPU"
    )
    for name, settings in _OPTIONS.items():
        group.add_argument(_flag(name), **settings)


def refuse_without_dry_run(args: argparse.Namespace) -> None:
    """Refuse options of a dry run without `--dry-run`, so that no run starts by mistake."""
    for name in _OPTIONS:
        if getattr(args, name) is not None:
            raise ConfigError(
                f"{_flag(name)} is an assumption of a dry run, and changes no training. Add --dry-run, or "
                "leave it out."
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def dry_run(config: TrainConfig, args: argparse.Namespace) -> int:
    """Print the estimate, with `--json` as JSON; return the exit status."""
    num_gpus = 1 if args.gpus is None else args.gpus
    mfu = _MFU if args.mfu is None else args.mfu
    if num_gpus < 1 or not 0 < mfu <= 1:
        raise ConfigError(
            f"--gpus is {num_gpus} and --mfu {mfu}; expected at least 1 GPU, and a share over 0 and at "
            "most 1."
        )
    for name in ("gpu_memory", "peak_tflops", "seq_len"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{_flag(name)} is {value:g}; expected more than 0.")
    gpu = find_gpu(args.gpu) if args.gpu else None
    check_config(config, num_ranks=num_gpus)
    _check_machine(config, args)
    streams = _streams(config, required=args.seq_len is None)
    if streams:
        check_epochs(config.train_loader.dataset, streams, batch_rows=config.global_train_batch_size)
    check_schedule(config, pace_of(config, streams, args.seq_len))
    quiet_libraries(config.python_log_level)
    from plugins.hf_folder import check_folder, dtype_of
    from trainer.estimate.run_estimate import Machine, estimate

    check_named_arguments(config)
    if export := config.callbacks.get("hf_export"):
        check_folder("callbacks.hf_export.folder", places_of(config)["callbacks.hf_export.folder"])
        dtype_of("callbacks.hf_export.dtype", export.get("dtype", "bfloat16"))
    domain_eval = config.callbacks.get("domain_eval")
    if domain_eval and not (_is_here(args) or {"chat_template", "system"} & domain_eval.keys()):
        domain_eval = None  # its tasks, and the tokenizer, may lie on the other machine
    tokenizer = None
    if streams or config.tokenizer.name or config.model.new_embeddings or domain_eval:
        tokenizer, name = run_tokenizer(config)
        if streams:
            check_tokenizer(tokenizer, name, streams)
    if domain_eval:
        check_evaluation(config, domain_eval, tokenizer, here=_is_here(args))

    found = estimate(
        config,
        streams,
        Machine(
            num_gpus=num_gpus,
            name=args.gpu,
            memory_bytes=round(args.gpu_memory * 2**30)
            if args.gpu_memory
            else gpu.memory_bytes
            if gpu
            else None,
            peak_flops=args.peak_tflops * 1e12 if args.peak_tflops else gpu.peak_flops if gpu else None,
            mfu=mfu,
        ),
        seq_len=args.seq_len,
        tokenizer=tokenizer,
    )
    print(json.dumps(found.to_json(), sort_keys=True) if args.json else "\n".join(found.lines()), flush=True)
    found.check_fit()
    if _is_here(args):
        check_estimated_room(config, found)
    return 0


def check_estimated_room(config: TrainConfig, found: Estimate) -> None:
    """Refuse disks of this machine without room for one checkpoint and the export."""
    folder = fill_in_places(config).save_folder
    check_room(
        config,
        checkpoint_folder=folder if folder and storage.is_local(folder) else None,
        checkpoint_bytes=found.checkpoint_bytes,
        num_checkpoints=1,
        export_bytes=found.export_bytes,
    )


def _check_machine(config: TrainConfig, args: argparse.Namespace) -> None:
    """Refuse what this machine cannot run, unless the options describe GPUs of another machine."""
    if not _is_here(args):
        check_hardware(config, device="gpu")
        return
    try:
        check_hardware(config, device=known_device() or "gpu")
    except ConfigError as error:
        raise ConfigError(
            f"{error} For a run on GPUs that this machine does not have, give --gpus or --gpu."
        ) from error
    check_installed(config)
    check_writable(fill_in_places(config), remote=False)


def check_evaluation(config: TrainConfig, arguments: dict[str, Any], tokenizer: Any, *, here: bool) -> None:
    """Make the callback as training does; the tasks of a run on another machine may lie only there."""
    from trainer.evaluation.scoring.chat_turns import as_chat
    from trainer.startup.composer_trainer import build_callbacks

    if here:
        build_callbacks(config.model_copy(update={"callbacks": {"domain_eval": arguments}}), tokenizer)
        return
    template, system = arguments.get("chat_template", False), arguments.get("system")
    as_chat(tokenizer, template, system, add_bos=arguments.get("add_bos"))


def _is_here(args: argparse.Namespace) -> bool:
    """True if the run would be on this machine."""
    return args.gpus is args.gpu is args.gpu_memory is args.peak_tflops is None


def _streams(config: TrainConfig, *, required: bool) -> tuple[ResolvedStream, ...]:
    try:
        return resolve_streams(pin_manifests(config).train_loader.dataset)
    except CorpusError:
        if required:
            raise
        return ()
