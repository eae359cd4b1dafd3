"""What an interrupted run keeps to, and what a changed YAML changes in it.

    save_folder/run.json    settings of the run when it was last started, by key

Rows and schedule follow from some settings (`_is_fixed`): a run that goes on with others would repeat rows or
leave some out, and its schedule would end elsewhere, so a change of these is refused. So is another model:
base, `config_overrides`, and what shapes an adapter, which `tutelage export` compares, too. Others count from
where the run goes on, and each change is told. Composer restores the optimizer's learning rate, weight decay,
betas and eps from the checkpoint: they are set to what the YAML says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plugins.model_fingerprint import config_fingerprint, weights_fingerprint
from schemas import storage
from schemas.errors import ConfigError
from schemas.train_config import ModelConfig, TrainConfig
from schemas.validation import read_json
from trainer.data.resolve_streams import ResolvedStream
from trainer.startup.duration import parse_duration

SETTINGS = "run.json"

_HYPERPARAMETERS = ("lr", "weight_decay", "betas", "eps")
"""What is set in the optimizer's parameter groups."""

_DATASET = "train_loader.dataset"
_NO_DECAY = "optimizer.no_decay"
"""In files of before; what is decayed is compared with the checkpoint (`trainer/model/weight_decay.py`)."""

_BASE = "model.pretrained_model_name_or_path"
_CONFIG = "fingerprint of the base model's config.json"
_WEIGHTS = "fingerprint of the base model's weights"
_PEFT = "model.peft_config"


def settings_of(config: TrainConfig, streams: Sequence[ResolvedStream]) -> dict[str, Any]:
    """The settings of a run that are compared when it goes on, by key."""
    return {**_settings_of_rows(config, streams), **_settings_of_model(config.model)}


def _settings_of_rows(config: TrainConfig, streams: Sequence[ResolvedStream]) -> dict[str, Any]:
    dataset = config.train_loader.dataset
    settings: dict[str, Any] = {
        "max_duration": config.max_duration,
        "max_duration (unit)": parse_duration("max_duration", config.max_duration).unit,
        "rows' seq_len": streams[0].manifest.seq_len,
        "optimizer.name": config.optimizer.name,
        "scheduler.name": config.scheduler.name,
    }
    for key in ("global_train_batch_size", "seed", "precision", "algorithms"):
        settings[key] = getattr(config, key)
    for key in ("shuffle", "shuffle_seed", "epoch_size", "loss_on", "attention_boundaries"):
        settings[f"{_DATASET}.{key}"] = getattr(dataset, key)
    for name, stream in dataset.streams.items():
        of_stream = {**stream.model_dump(include={"corpus", "proportion", "repeat", "choose"})}
        of_stream["stream"] = stream.stream or name
        settings |= {f"{_DATASET}.streams.{name}.{key}": value for key, value in of_stream.items()}
    for section in ("optimizer", "scheduler"):
        for key, value in getattr(config, section).arguments.items():
            settings[f"{section}.{key}"] = value
    return _plain_settings(settings)


def _settings_of_model(config: ModelConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {
        _BASE: config.pretrained_model_name_or_path,
        _CONFIG: config_fingerprint(config.pretrained_model_name_or_path),
        "model.config_overrides": config.config_overrides,
        "model.new_embeddings": config.new_embeddings,
    }
    if config.peft_config is not None:  # its checkpoints hold nothing of the model itself
        settings[_WEIGHTS] = weights_fingerprint(config.pretrained_model_name_or_path)
        settings |= {f"{_PEFT}.{key}": value for key, value in config.peft_config.items()}
    return _plain_settings(settings)


def _plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return {key: value for key, value in plain.items() if value is not None}


def check_exported(config: ModelConfig, folder: str, say: Callable[[str], None]) -> None:
    """See that a model is exported as it was trained.

    Args:
        config: The model's configuration as of now.
        folder: Where the checkpoint lies, and beside it the settings of its run.
        say: Told what cannot be compared.

    Raises:
        ConfigError: The model would be another one.
        CorpusError: The file with the settings is damaged.
    """
    before = _read(folder)
    if before is not None:
        _check_model(before, _settings_of_model(config), folder, lambda line: None)
    else:
        say(_not_compared(config, folder))


def _not_compared(config: ModelConfig, folder: str) -> str:
    shown = [f"{_BASE} {config.pretrained_model_name_or_path}"]
    if config.config_overrides:
        shown.append(f"model.config_overrides {json.dumps(config.config_overrides)}")
    shown += [f"{_PEFT}.{key} {json.dumps(value)}" for key, value in (config.peft_config or {}).items()]
    return (
        f"{folder} holds no {SETTINGS}, so that whether the model was trained so cannot be seen: "
        f"{', '.join(shown)}."
    )


def _check_model(
    before: Mapping[str, Any], now: Mapping[str, Any], folder: str, say: Callable[[str], None]
) -> None:
    """Compare the model's settings with those that a run wrote down."""
    had_adapter, has_adapter = (any(key.startswith(_PEFT) for key in each) for each in (before, now))
    changed = {
        key: f"{key} was {_shown(before, key)} and is {_shown(now, key)}"
        for key in dict.fromkeys([*before, *now])
        if (key.startswith("model.") or key in (_CONFIG, _WEIGHTS)) and before.get(key) != now.get(key)
    }
    for key in (_CONFIG, _WEIGHTS):  # not known of a run of before, or of a hub's model that is not here yet
        if key not in before or key not in now:
            changed.pop(key, None)
    if _BASE not in before:  # a run of before that trained the whole model
        for key in (_BASE, "model.config_overrides"):
            changed.pop(key, None)
    same_files = _CONFIG in before and all(before.get(key) == now.get(key) for key in (_CONFIG, _WEIGHTS))
    if same_files and _BASE in changed:
        say(f"{changed.pop(_BASE)}: its files are the same.")
    if not had_adapter and not has_adapter and "model.new_embeddings" in changed:
        line = changed.pop("model.new_embeddings")
        say(f"{line}: this changes nothing, since the checkpoint holds the rows.")
    if not changed:
        return
    if had_adapter and has_adapter:
        why = (
            "Its checkpoints hold an adapter alone, which fits the model and the adapter's shape that it was "
            "trained with."
        )
    elif had_adapter:
        why = f"Its checkpoints hold an adapter alone, and without {_PEFT} the whole model is expected."
    elif has_adapter:
        why = (
            f"Its checkpoints hold the whole model, and {_PEFT} trains an adapter beside one. To train an "
            f"adapter on what that run made, leave {_PEFT} out, write the model with `tutelage export`, and "
            f"name that folder as {_BASE}."
        )
    else:
        why = "Its checkpoints hold the weights, which would be put into a model that computes otherwise."
    raise ConfigError(
        f"the run in {folder} has other settings than it was started with: {'; '.join(changed.values())}. "
        f"{why} Set them back (the same files of a model may lie elsewhere); or begin another run, with a "
        "save_folder of its own."
    )


def check_resumption(
    config: TrainConfig,
    streams: Sequence[ResolvedStream],
    *,
    newest: str,
    pins: Mapping[str, int] | None,
    say: Callable[[str], None],
) -> None:
    """Compare a run that goes on with its start.

    Args:
        config: Its configuration as of now, manifests pinned.
        streams: What `resolve_streams` made of it.
        newest: The checkpoint that it goes on from.
        pins: The manifests that it has read so far, if known.
        say: Told of each change that is allowed.

    Raises:
        ConfigError: What fixes rows and schedule was changed.
        CorpusError: The file with the settings is damaged.
    """
    folder = config.save_folder or ""
    now = settings_of(config, streams)
    for name, stream in config.train_loader.dataset.streams.items():
        known = (pins or {}).get(name)
        if known is not None and known != stream.manifest:
            raise ConfigError(
                f"{_DATASET}.streams.{name}.manifest is {stream.manifest}, but the run in {folder} reads "
                f"{known}: within an epoch rows would be repeated or left out. Set it back, and take the "
                f"other with `later: [{{at: 1ep, manifest: {stream.manifest}}}]`."
            )
    before = _read(folder)
    if before is None:
        say(
            f"{folder} holds no {SETTINGS}, as runs of before do not: whether batch size, seed, shuffle and "
            "mix are those that it started with cannot be seen. From here on they are kept."
        )
        if config.model.peft_config is not None:
            say(_not_compared(config.model, folder))
        return
    _check_model(before, now, folder, say)
    changed = {
        key: f"{key} was {_shown(before, key)} and is {_shown(now, key)}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
        and not key.startswith("model.")
        and key not in (_CONFIG, _WEIGHTS, _NO_DECAY)
    }
    if fixed := [line for key, line in changed.items() if _is_fixed(key)]:
        raise ConfigError(
            f"the run in {folder} has other settings than it was started with: {'; '.join(fixed)}. Rows "
            "would be repeated or left out, or the schedule end elsewhere. Set them back; or begin another "
            f"run, with a save_folder of its own, load_path: {newest} and load_weights_only: true."
        )
    for key, line in changed.items():
        if not (
            key.startswith("optimizer.") and key.split(".")[1] in _HYPERPARAMETERS
        ):  # told when they are set
            also = "; what the scheduler counts from the run's length moves with it" * (key == "max_duration")
            say(f"{line}: this holds from here on{also}.")


def write_settings(config: TrainConfig, streams: Sequence[ResolvedStream]) -> None:
    """Keep the settings of a run beside its checkpoints."""
    data = json.dumps(settings_of(config, streams), indent=2).encode() + b"\n"
    storage.write_bytes(storage.join(config.save_folder or "", SETTINGS), data)


def is_rescheduled(config: TrainConfig, streams: Sequence[ResolvedStream]) -> bool:
    """Whether a run goes on with another schedule, or another length, than it was last started with."""
    before = _read(config.save_folder or "")
    now = _settings_of_rows(config, streams)
    return before is not None and any(
        before.get(key) != now.get(key)
        for key in {**before, **now}
        if key.startswith("scheduler.") or key == "max_duration"
    )


def hyperparameters(optimizer: Any) -> list[dict[str, Any]]:
    """What the YAML says of each parameter group; taken before a checkpoint is loaded."""
    return [{key: group[key] for key in _HYPERPARAMETERS if key in group} for group in optimizer.param_groups]


def apply_hyperparameters(
    state: Any,
    wanted: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
    *,
    is_rescheduled: bool,
) -> None:
    """Set an optimizer that was loaded from a checkpoint to what the YAML says, and tell of each change.

    Args:
        state: Composer's, after loading.
        wanted: Of `hyperparameters`, before loading.
        say: Told of each change.
        is_rescheduled: Whether the schedule is another one than before.
    """
    if int(state.timestamp.batch) == 0:
        return
    lines: dict[str, None] = {}
    groups = state.optimizers[0].param_groups
    for group, values in zip(groups, wanted, strict=True):
        for key, value in values.items():
            name = "initial_lr" if key == "lr" else key
            was = group.get(name)
            if _plain(was) != _plain(value):
                if key == "lr" and was:
                    group["lr"] *= value / was
                group[name] = value
                lines[
                    f"optimizer.{key} is {_plain(was)} in the checkpoint and {_plain(value)} in the "
                    "configuration: the latter holds from here on."
                ] = None
    for scheduler in state.schedulers:
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        if is_rescheduled:  # else the rate of this step is in the checkpoint: Composer steps before its clock
            for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * factor(int(state.timestamp.batch))
    for line in lines:
        say(line)


def _is_fixed(key: str) -> bool:
    if key.startswith("optimizer."):
        return key.split(".")[1] not in _HYPERPARAMETERS
    if key.startswith(f"{_DATASET}.streams."):
        return not key.endswith(".corpus")
    return key in (
        *("global_train_batch_size", "seed", "max_duration (unit)", "rows' seq_len"),
        *(f"{_DATASET}.{each}" for each in ("shuffle", "shuffle_seed", "epoch_size")),
    )


def _read(folder: str) -> dict[str, Any] | None:
    uri = storage.join(folder, SETTINGS)
    try:
        settings: dict[str, Any] = read_json(
            uri, dict[str, Any], cure="Delete it to go on without comparing settings."
        )
    except FileNotFoundError:
        return None
    return settings


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "not set"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
