"""Settings of a run, kept beside its checkpoints and compared when it resumes or is exported.

    save_folder/run.json         settings at the last start, by key
    save_folder/manifests.json   manifest that each stream reads

Rows and schedule follow from some settings (`_is_fixed`). A resumed run with other values would repeat rows
or skip some, and its schedule would end elsewhere, so a change of these is refused. So is a change of the
model: base, `config_overrides`, and everything that shapes an adapter; `tutelage export` refuses these, too.
Other changes apply from the resumption on, and each is announced. Composer restores the optimizer's learning
rate, weight decay, betas and eps from the checkpoint; here they are set to the values of the YAML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plugins.model_fingerprint import config_fingerprint, weights_fingerprint
from schemas import storage
from schemas.errors import ConfigError
from schemas.manifest import Number
from schemas.train_config import ModelConfig, TrainConfig
from schemas.validation import read_json
from trainer.data.resolve_streams import ResolvedStream
from trainer.reporting.announce import announce
from trainer.startup.run_length import parse_duration

SETTINGS = "run.json"

PINS = "manifests.json"

_HYPERPARAMETERS = ("lr", "weight_decay", "betas", "eps")
"""Keys of the optimizer's parameter groups that the YAML sets."""

_DATASET = "train_loader.dataset"
_NO_DECAY = "optimizer.no_decay"
"""In files of earlier versions; now compared with the checkpoint (`trainer/model/weight_decay.py`)."""

_BASE = "model.pretrained_model_name_or_path"
_CONFIG = "fingerprint of the base model's config.json"
_WEIGHTS = "fingerprint of the base model's weights"
_PEFT = "model.peft_config"


def read_pins(save_folder: str | None) -> dict[str, int] | None:
    """Return the manifests that an earlier part of this run read, by stream; None if there was none."""
    return _read(save_folder, PINS, dict[str, Number], cure="Delete it to read the newest manifests.")


def write_settings(config: TrainConfig, streams: Sequence[ResolvedStream]) -> None:
    """Write settings and manifests of a run beside its checkpoints."""
    pins = {stream.name: stream.manifest.number for stream in streams}
    _write(config, PINS, json.dumps(pins))
    _write(config, SETTINGS, json.dumps(_settings_of(config, streams), indent=2) + "\n")


def _write(config: TrainConfig, name: str, text: str) -> None:
    storage.write_bytes(storage.join(config.save_folder or "", name), text.encode())


def _read(folder: str | None, name: str, kind: Any, *, cure: str) -> dict[str, Any] | None:
    if not folder:
        return None
    try:
        found: dict[str, Any] = read_json(storage.join(folder, name), kind, cure=cure)
    except FileNotFoundError:
        return None
    return found


def _read_settings(folder: str | None) -> dict[str, Any] | None:
    return _read(folder, SETTINGS, dict[str, Any], cure="Delete it to go on without comparing settings.")


def _settings_of(config: TrainConfig, streams: Sequence[ResolvedStream]) -> dict[str, Any]:
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
    if config.peft_config is not None:  # its checkpoints hold no weights of the model itself
        settings[_WEIGHTS] = weights_fingerprint(config.pretrained_model_name_or_path)
        settings |= {f"{_PEFT}.{key}": value for key, value in config.peft_config.items()}
    return _plain_settings(settings)


def _plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return {key: value for key, value in plain.items() if value is not None}


def check_exported(config: ModelConfig, folder: str) -> None:
    """Check that a model is exported with the settings of its run, which lie in the checkpoint's folder.

    Raises:
        ConfigError: The model would be another one.
        CorpusError: The file of settings is damaged.
    """
    before = _read_settings(folder)
    if before is None:
        _announce_unknown(config, folder)
    else:
        _check_model(before, _settings_of_model(config), folder)


def _announce_unknown(config: ModelConfig, folder: str) -> None:
    shown = [f"{_BASE} {config.pretrained_model_name_or_path}"]
    if config.config_overrides:
        shown.append(f"model.config_overrides {json.dumps(config.config_overrides)}")
    shown += [f"{_PEFT}.{key} {json.dumps(value)}" for key, value in (config.peft_config or {}).items()]
    announce(
        f"{folder} holds no {SETTINGS}, so the settings of the trained model are unknown. Taken from the "
        f"configuration: {', '.join(shown)}."
    )


def _check_model(before: Mapping[str, Any], now: Mapping[str, Any], folder: str) -> None:
    """Compare the model's settings with those of the run."""
    had_adapter, has_adapter = (any(key.startswith(_PEFT) for key in each) for each in (before, now))
    changed = {key: line for key, line in _changes(before, now).items() if _is_of_model(key)}
    for key in (_CONFIG, _WEIGHTS):  # unknown for runs of earlier versions, and for models not yet fetched
        if key not in before or key not in now:
            changed.pop(key, None)
    if _BASE not in before:  # a run of an earlier version that trained the whole model
        for key in (_BASE, "model.config_overrides"):
            changed.pop(key, None)
    same_files = _CONFIG in before and all(before.get(key) == now.get(key) for key in (_CONFIG, _WEIGHTS))
    if same_files and _BASE in changed:
        announce(f"{changed.pop(_BASE)}: its files are the same.")
    if not had_adapter and not has_adapter and "model.new_embeddings" in changed:
        line = changed.pop("model.new_embeddings")
        announce(f"{line}: this changes nothing, since the checkpoint holds the rows.")
    if not changed:
        return
    if had_adapter and has_adapter:
        why = "Its checkpoints hold an adapter, which fits only the model and shape that it was trained with."
    elif had_adapter:
        why = f"Its checkpoints hold an adapter alone, but without {_PEFT} the whole model is expected."
    elif has_adapter:
        why = (
            f"Its checkpoints hold the whole model, and {_PEFT} trains an adapter beside a model. To train "
            f"an adapter on that run's model, leave {_PEFT} out, write the model with `tutelage export`, and "
            f"set {_BASE} to that folder."
        )
    else:
        why = "Its checkpoints hold weights of a model that computes differently."
    raise ConfigError(
        f"the run in {folder} has other settings than it was started with: {'; '.join(changed.values())}. "
        f"{why} Set them back (the same files of a model may lie elsewhere); or begin another run, with a "
        "save_folder of its own."
    )


def check_resumption(
    config: TrainConfig, streams: Sequence[ResolvedStream], *, newest: str, pins: Mapping[str, int] | None
) -> None:
    """Compare a resumed run with its start, and announce each allowed change.

    Args:
        config: Its present configuration, manifests pinned.
        streams: From `resolve_streams`.
        newest: The checkpoint that it resumes from.
        pins: The manifests that it has read so far, if known.

    Raises:
        ConfigError: A setting was changed that fixes rows, schedule or model.
        CorpusError: The file of settings is damaged.
    """
    folder = config.save_folder or ""
    now = _settings_of(config, streams)
    for name, stream in config.train_loader.dataset.streams.items():
        known = (pins or {}).get(name)
        if known is not None and known != stream.manifest:
            raise ConfigError(
                f"{_DATASET}.streams.{name}.manifest is {stream.manifest}, but the run in {folder} reads "
                f"{known}: within an epoch rows would be repeated or left out. Set it back, and take the "
                f"other with `later: [{{at: 1ep, manifest: {stream.manifest}}}]`."
            )
    before = _read_settings(folder)
    if before is None:
        announce(
            f"{folder} holds no {SETTINGS}, as in earlier versions: batch size, seed, shuffle and mix cannot "
            "be compared with those at the start. From now on they are kept."
        )
        if config.model.peft_config is not None:
            _announce_unknown(config.model, folder)
        return
    _check_model(before, now, folder)
    changed = {
        key: line for key, line in _changes(before, now).items() if not _is_of_model(key) and key != _NO_DECAY
    }
    if fixed := [line for key, line in changed.items() if _is_fixed(key)]:
        raise ConfigError(
            f"the run in {folder} has other settings than it was started with: {'; '.join(fixed)}. Rows "
            "would be repeated or left out, or the schedule end elsewhere. Set them back; or begin another "
            f"run, with a save_folder of its own, load_path: {newest} and load_weights_only: true."
        )
    for key, line in changed.items():
        if not _is_hyperparameter(key):  # those are announced when they are set
            also = "; what the scheduler counts from the run's length moves with it" * (key == "max_duration")
            announce(f"{line}: this applies from here on{also}.")


def is_rescheduled(config: TrainConfig, streams: Sequence[ResolvedStream]) -> bool:
    """True if schedule or length of a run have changed since its last start."""
    before = _read_settings(config.save_folder)
    return before is not None and any(
        key.startswith("scheduler.") or key == "max_duration"
        for key in _changes(before, _settings_of_rows(config, streams))
    )


def hyperparameters(optimizer: Any) -> list[dict[str, Any]]:
    """Return the YAML's values for each parameter group; to be called before a checkpoint is loaded."""
    return [{key: group[key] for key in _HYPERPARAMETERS if key in group} for group in optimizer.param_groups]


def apply_hyperparameters(state: Any, wanted: Sequence[Mapping[str, Any]], *, is_rescheduled: bool) -> None:
    """Set an optimizer loaded from a checkpoint to the YAML's values (`wanted`), and announce each change."""
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
                    "configuration: the latter applies from here on."
                ] = None
    for scheduler in state.schedulers:
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        if is_rescheduled:  # else the checkpoint has the rate of this step: Composer steps before its clock
            for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * factor(int(state.timestamp.batch))
    for line in lines:
        announce(line)


def _is_fixed(key: str) -> bool:
    if key.startswith("optimizer."):
        return not _is_hyperparameter(key)
    if key.startswith(f"{_DATASET}.streams."):
        return not key.endswith(".corpus")
    return key in (
        *("global_train_batch_size", "seed", "max_duration (unit)", "rows' seq_len"),
        *(f"{_DATASET}.{each}" for each in ("shuffle", "shuffle_seed", "epoch_size")),
    )


def _is_hyperparameter(key: str) -> bool:
    return key.startswith("optimizer.") and key.split(".")[1] in _HYPERPARAMETERS


def _is_of_model(key: str) -> bool:
    return key.startswith("model.") or key in (_CONFIG, _WEIGHTS)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Describe the settings that differ, by key."""
    return {
        key: f"{key} was {_shown(before, key)} and is {_shown(now, key)}"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    }


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "not set"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
