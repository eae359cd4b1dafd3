"""Checks of a training configuration: names, times, contradictions, devices, installed packages.

Training and a dry run make the same checks, before torch is imported; only the last three need imported
classes or the tokenizer. Each raises a ConfigError that names the key, the value and the cure.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from plugins.callbacks import CALLBACKS
from plugins.registry import Registry
from plugins.tokenizers import fingerprint, load_tokenizer
from schemas.errors import ConfigError, unknown_name
from schemas.train_config import TrainConfig
from trainer.data.resolve_streams import ResolvedStream
from trainer.model.lora import check_adapters
from trainer.reporting.announce import announce
from trainer.startup.registries import ALGORITHMS, LOGGERS, OPTIMIZERS, SCHEDULERS
from trainer.startup.run_length import Duration, Pace, parse_duration

PRECISIONS = ("amp_bf16", "amp_fp16", "fp32")
"""Composer's precisions except amp_fp8, which needs Transformer Engine's layers instead of transformers'."""

_METADATA = ".metadata"
"""File of a sharded checkpoint."""

_IN_BATCHES = ("flush_interval",)
"""Composer's intervals that are plain numbers."""

FSDP_KEYS = (
    *("activation_checkpointing", "activation_cpu_offload", "load_monolith_rank0_only", "mixed_precision"),
    *("reshard_after_forward", "state_dict_type", "verbose"),
)
"""Keys of Composer's FSDP2Config except device_mesh, which YAML cannot express."""

_GPU_ATTENTION = {
    "flex_attention": "whose compiled form torch has for GPUs only",
    "flash_attention_2": "whose kernels are for GPUs only",
}


def check_config(config: TrainConfig, *, num_ranks: int) -> None:
    """Refuse a configuration that can only fail later."""
    for check in config_checks(config, num_ranks=num_ranks):
        check()


def config_checks(config: TrainConfig, *, num_ranks: int) -> Iterator[Callable[[], object]]:
    """Yield the checks of `check_config`, each on its own."""
    for key, _, registry, name, _ in _choices(config):
        yield functools.partial(_check_choice, key, registry, name)
    for check in (_check_times, _check_model, _check_checkpoints, _check_precision):
        yield functools.partial(check, config)
    yield functools.partial(rows_per_rank, config, num_ranks)


def _check_choice(key: str, registry: Registry, name: str) -> None:
    if name not in registry.targets():
        raise ConfigError(f"{key}: {unknown_name(registry.kind, name, registry.names())}")


def _check_precision(config: TrainConfig) -> None:
    if config.precision not in PRECISIONS:
        raise ConfigError(unknown_name("value", config.precision, PRECISIONS, shown="precision"))


def _choices(config: TrainConfig) -> Iterator[tuple[str, str, Registry, str, dict[str, Any]]]:
    """Yield everything chosen by name: key of the name, key of the arguments, registry, name, arguments."""
    for section, registry in (("optimizer", OPTIMIZERS), ("scheduler", SCHEDULERS)):
        named = getattr(config, section)
        yield f"{section}.name", section, registry, named.name, named.arguments
    for section, registry in (("algorithms", ALGORITHMS), ("callbacks", CALLBACKS), ("loggers", LOGGERS)):
        for name, arguments in getattr(config, section).items():
            yield section, f"{section}.{name}", registry, name, arguments


def rows_per_rank(config: TrainConfig, num_ranks: int) -> int:
    """Return the rows a step on one rank; refuse a batch that the ranks cannot share evenly."""
    total = config.global_train_batch_size
    if total % num_ranks:
        raise ConfigError(
            f"global_train_batch_size is {total}, which {num_ranks} ranks cannot share evenly. "
            f"Give a multiple of {num_ranks}."
        )
    return total // num_ranks


def _check_times(config: TrainConfig) -> None:
    run = parse_duration("max_duration", config.max_duration)
    if run.unit == "dur":
        raise ConfigError(
            f"max_duration is {config.max_duration!r}, a share of itself. Give batches (100ba), epochs (1ep) "
            "or tokens (1000000tok)."
        )
    for key, found in _times(config).items():
        fixed = ("ba", "sp", "tok")
        if key == "scheduler.t_warmup" and found.unit != run.unit and {found.unit, run.unit} <= set(fixed):
            raise ConfigError(
                f"{key} is in {found.unit} and max_duration in {run.unit}; a warm-up is measured as the run "
                f"is. Give both in {run.unit}, or the warm-up as a share of the run (0.1dur)."
            )


def _times(config: TrainConfig) -> dict[str, Duration]:
    """Return every time within a run, by key."""
    times: dict[str, Any] = {"save_interval": config.save_interval}
    for _, key, _, _, arguments in _choices(config):
        times |= {f"{key}.{name}": value for name, value in arguments.items() if _is_time(name)}
    return {key: parse_duration(key, value) for key, value in times.items() if value is not None}


def _is_time(name: str) -> bool:
    return name.startswith("t_") or (name.endswith("interval") and name not in _IN_BATCHES)


def check_schedule(config: TrainConfig, pace: Pace) -> None:
    """Check that schedule, intervals and later manifests fit into the run; announce what never happens.

    Times that the pace cannot convert are not checked.

    Raises:
        ConfigError: The run ends within the warm-up, or the schedule ends before the run.
    """
    run = parse_duration("max_duration", config.max_duration)
    end = pace.steps(run)
    if end is None:
        return
    whole = f"max_duration, {run}"
    for key, found in _times(config).items():
        at = pace.steps(found, run=run)
        if at is None or math.isclose(at, end):
            continue
        if key == "scheduler.t_warmup" and at > end:
            raise ConfigError(
                f"{key} is {found}, longer than {whole}: training would end before the learning rate is "
                "reached. Lower it, or give a share of the run (0.1dur)."
            )
        if key == "scheduler.t_max" and at < end:
            raise ConfigError(
                f"{key} ends the schedule at {found}, before {whole}. Raise it, or leave it out: the default "
                "is max_duration."
            )
        if key == "scheduler.t_max":
            announce(f"{key} is {found}, longer than {whole}: the run ends before the schedule does.")
        elif key.endswith("interval") and at > end and (key != "save_interval" or config.save_folder):
            announce(f"{key} is {found}, longer than {whole}: it comes due at the end only.")
    for name, stream in config.train_loader.dataset.streams.items():
        for later in stream.later:
            begins = sum(pace.epoch_steps[: later.epoch])
            if run.value <= later.epoch if run.unit == "ep" else begins >= end:
                announce(
                    f"train_loader.dataset.streams.{name}.later: manifest {later.manifest} at {later.at} is "
                    f"not read, since the run ends before, at {run}."
                )


def _check_model(config: TrainConfig) -> None:
    parallelism = config.parallelism_config or {}
    if "fsdp2" in parallelism:
        raise ConfigError(
            "parallelism_config has the key 'fsdp2', which Composer ignores silently. Write `fsdp:`; it "
            "means FSDP2 here."
        )
    for key, value in parallelism.items():
        if key not in ("fsdp", "tp"):  # Composer ignores it
            raise ConfigError(unknown_name("key", key, ("fsdp", "tp"), shown=f"parallelism_config.{key}"))
        for name in value or () if key == "fsdp" else ():
            if name not in FSDP_KEYS:  # of FSDP1, or misspelt: Composer only warns
                raise ConfigError(
                    unknown_name("key", name, FSDP_KEYS, shown=f"parallelism_config.fsdp.{name}")
                )
    if config.model.attn_implementation == "flash_attention_2" and config.precision == "fp32":
        raise ConfigError(
            "model.attn_implementation is 'flash_attention_2', which computes in 16 bits, but precision is "
            "'fp32'. Set precision: amp_bf16, or model.attn_implementation: sdpa."
        )
    check_model_name("model.pretrained_model_name_or_path", config.model.pretrained_model_name_or_path)
    check_adapters(config)
    if config.model.init_device == "mixed" and "fsdp" not in parallelism:
        raise ConfigError(
            "model.init_device is 'mixed', which leaves ranks other than 0 without weights unless FSDP sends "
            "them. Add `parallelism_config: {fsdp: {}}`, or set model.init_device: cpu."
        )
    if config.model.init_device == "meta":
        raise ConfigError(
            "model.init_device is 'meta', which would leave buffers empty that no checkpoint holds (rotary "
            "frequencies). Set it to mixed: rank 0 loads the weights and FSDP2 sends them to the others."
        )


def _check_checkpoints(config: TrainConfig) -> None:
    if config.autoresume and not config.save_folder:
        raise ConfigError(
            "autoresume is true, but save_folder is null: there is no checkpoint to resume from. Set "
            "save_folder."
        )
    if config.autoresume and config.save_num_checkpoints_to_keep == 0:
        raise ConfigError(
            "autoresume is true, but save_num_checkpoints_to_keep is 0: no checkpoint is kept to resume "
            "from. Keep at least 1; with 2 a run survives a damaged newest one."
        )
    if config.load_weights_only and not config.load_path:
        raise ConfigError(
            "load_weights_only is true, but load_path is null: nothing is loaded. Set load_path."
        )


def check_model_name(key: str, name: str, *, may_be_adapter: bool = False) -> None:
    """Refuse a name that is neither a Hugging Face directory nor a hub name.

    Args:
        key: Key or option of the name, for the message.
        name: Directory or hub name.
        may_be_adapter: Whether an adapter of peft is allowed instead of a model.
    """
    if _METADATA in (os.listdir(name) if os.path.isdir(name) else ()) or name.endswith("-rank0.pt"):
        raise ConfigError(
            f"{key} {name!r} is a training checkpoint, no Hugging Face directory. Convert it with `tutelage "
            "export FILE.yaml --checkpoint … --output DIR`; to continue training from it, set load_path."
        )
    if os.path.isdir(name):
        if os.path.isfile(os.path.join(name, "adapter_config.json")):
            if may_be_adapter:
                return
            raise ConfigError(
                f"{key} {name!r} is an adapter, no model. Give its base model and model.peft_config, or "
                "merge it into a model (`tutelage export` of its run)."
            )
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise ConfigError(
                f"{key} {name!r} is a directory without config.json; give a Hugging Face directory."
            )
    elif name.startswith((".", "/", "~")) or name.count("/") > 1 or os.path.exists(name):
        raise ConfigError(
            f"{key} {name!r}: no such directory. Give a Hugging Face directory or a hub name; "
            "`tutelage models fetch smollm2-135m` makes a small one."
        )


Device = Literal["cpu", "gpu"]


def known_device() -> Device | None:
    """Return "cpu" if no driver of a GPU is here, or GPUs are hidden; None if only torch can tell.

    This loads CUDA's driver library without starting it, and looks for the device file of AMD's driver.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return "cpu"
    if sys.platform != "linux" or os.path.exists("/dev/kfd"):
        return None
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "cpu"
    return None


def check_hardware(config: TrainConfig, *, device: Device | None) -> None:
    """Refuse a configuration that the device cannot run; None, an unknown device, refuses nothing."""
    attention = config.model.attn_implementation
    if device == "cpu" and config.precision != "fp32":
        raise ConfigError(
            f"precision is {config.precision!r}, but on a CPU Composer trains in fp32 only. Set "
            "precision: fp32."
        )
    if device == "cpu" and attention in _GPU_ATTENTION:
        raise ConfigError(
            f"model.attn_implementation is {attention!r}, {_GPU_ATTENTION[attention]}. Set "
            "model.attn_implementation: sdpa."
        )
    if device == "gpu" and config.device_train_microbatch_size == "auto" and config.parallelism_config:
        raise ConfigError(
            "device_train_microbatch_size is 'auto', which Composer cannot do together with FSDP2 or tensor "
            "parallelism. Give a number of rows."
        )


def check_installed(config: TrainConfig) -> None:
    """Refuse a configuration that needs a package which is not installed here."""
    attention = config.model.attn_implementation
    if attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise ConfigError(
            "model.attn_implementation is 'flash_attention_2', but the package flash-attn is not installed. "
            "Install it, or set model.attn_implementation: sdpa."
        )
    for name in ("tensorboard", "wandb"):  # loggers are named as their packages are
        if name in config.loggers and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"loggers.{name} needs a package that is not installed: {name}. Install it beside this "
                "trainer, or leave the key out."
            )


def check_named_arguments(config: TrainConfig) -> None:
    """Refuse unknown and missing arguments of everything chosen by name; imports all of it."""
    for _, key, registry, name, arguments in _choices(config):
        check_arguments(key, registry.load(name), arguments, num_positional=int(registry is OPTIMIZERS))


def check_arguments(key: str, kind: Any, arguments: dict[str, Any], *, num_positional: int = 0) -> None:
    """Refuse unknown and missing arguments of a callable."""
    parameters = list(inspect.signature(kind).parameters.values())[num_positional:]
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in arguments:
            if name not in named:
                ours = ["no_decay"] * (key == "optimizer")
                raise ConfigError(unknown_name("key", name, [*named, *ours], shown=f"{key}.{name}"))
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ConfigError(f"key '{key}.{name}' is missing.")


def run_tokenizer(config: TrainConfig) -> tuple[Any, str]:
    """Load the tokenizer of a run; return it and its name."""
    key = "tokenizer.name" if config.tokenizer.name else "model.pretrained_model_name_or_path"
    name = config.tokenizer.name or config.model.pretrained_model_name_or_path
    try:
        return load_tokenizer(name, trust_remote_code=config.model.trust_remote_code), name
    except ConfigError as error:
        raise ConfigError(f"{key} is {name!r}, but {error}") from error


def check_tokenizer(tokenizer: Any, name: str, streams: Sequence[ResolvedStream]) -> None:
    """Refuse rows that another tokenizer made."""
    manifest = streams[0].manifest
    found = fingerprint(tokenizer)
    if found != manifest.tokenizer:
        raise ConfigError(
            f"tokenizer {name!r} (fingerprint {found}) did not make the corpus {streams[0].corpus!r}: that "
            f"was {manifest.tokenizer_name!r} (fingerprint {manifest.tokenizer}). The token ids would stand "
            "for other words. Train the model that the corpus was made for, or rebuild the corpus with this "
            "tokenizer."
        )
