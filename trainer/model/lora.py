"""LoRA adapters: low-rank weights trained beside a frozen model, through peft.

    linear layer W      W·x + (lora_alpha / r) · B·A·x      A of shape (r, in), B of shape (out, r)

peft puts its layers into the model, which keeps its class and its forward: probes, FSDP's blocks and
evaluation see the class that they know. The model's own weights stay frozen in fp32. They have no gradients
and no optimizer state, and no checkpoint holds them, so a run can only resume with the model that it began
with.

Composer's `HuggingFaceModel(peft_config=…)` would wrap the model in another class, and its checkpoints would
omit `modules_to_save`. Here a checkpoint holds every trained weight.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from schemas.errors import ConfigError, unknown_name
from schemas.train_config import TrainConfig
from trainer.checkpoints.checkpoint_files import weight_names

_KEY = "model.peft_config"
_PEFT_KEYS = (
    *("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias"),
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"),
    *("rank_pattern", "alpha_pattern", "fan_in_fan_out", "init_lora_weights"),
)
"""Keys of peft's LoraConfig that leave the model's own weights unchanged."""
_LORA_INITS = (True, False, "gaussian")
"""Other values change the model's own weights, which no checkpoint of an adapter holds."""
_OF_MODULES = ("target_modules", "exclude_modules", "modules_to_save")


def check_adapters(config: TrainConfig) -> None:
    """Refuse adapters that cannot be made, saved or exported."""
    model = config.model
    if (config.callbacks.get("hf_export") or {}).get("adapter"):
        check_adapter_export("callbacks.hf_export.adapter", config)
    if model.peft_config is None:
        return
    check_peft_config(model.peft_config)
    if not model.pretrained or model.weights_may_differ:
        key = "weights_may_differ is set" if model.pretrained else "pretrained is false"
        raise ConfigError(
            f"model.{key}, so weights of the model may start at random values, but model.peft_config trains "
            "an adapter, whose checkpoints do not hold these weights. Write a whole model first (`tutelage "
            "export`), and train the adapter on that."
        )


def check_peft_config(peft_config: Mapping[str, Any]) -> None:
    """Refuse a wrong `peft_config`, as far as possible without the model."""
    if "peft_type" not in peft_config:
        raise ConfigError("key 'model.peft_config.peft_type' is missing. Available: LORA.")
    for key, fitting in (("peft_type", "LORA"), ("task_type", "CAUSAL_LM")):
        found = str(peft_config.get(key, fitting))
        if found.upper() != fitting:
            raise ConfigError(f"model.peft_config: {unknown_name(key, found, [fitting])}")
    for key in peft_config:
        if key not in _PEFT_KEYS:
            raise ConfigError(unknown_name("key", key, _PEFT_KEYS, shown=f"model.peft_config.{key}"))
    for key, patterns, is_fitting, expected in (
        ("r", "rank_pattern", _is_rank, "a whole number of at least 1"),
        ("lora_alpha", "alpha_pattern", _is_scale, "a number over 0; with 0 nothing is learned"),
    ):
        values = {f"{patterns}.{each}": value for each, value in (peft_config.get(patterns) or {}).items()}
        if key in peft_config:
            values[key] = peft_config[key]
        for shown, value in values.items():
            if not is_fitting(value):
                raise ConfigError(f"{_KEY}.{shown} is {value!r}; expected {expected}.")
    init = peft_config.get("init_lora_weights", True)
    if init not in _LORA_INITS:
        raise ConfigError(
            f"model.peft_config.init_lora_weights is {init!r}; expected true, false or gaussian. Other "
            "values change the model's own weights, which a checkpoint of the adapter does not hold."
        )


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_scale(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def check_adapter_export(key: str, config: TrainConfig) -> None:
    """Refuse the export of an adapter alone (`key`) if the base model lacks more than the adapter."""
    if config.model.peft_config is None:
        raise ConfigError(
            f"{key} asks for an adapter, but the run trains the whole model. Set model.peft_config, or "
            "leave it out."
        )
    for changing in ("config_overrides", "new_embeddings"):
        if getattr(config.model, changing):
            raise ConfigError(
                f"{key} asks for an adapter alone, but model.{changing} changes the model that it was "
                "trained with, and an adapter cannot record that. Leave it out, to write the merged model."
            )


def add_adapters(model: Any, peft_config: Mapping[str, Any], *, seed: int) -> None:
    """Put adapters into a causal LM, on any device, and freeze the rest of it.

    Raises:
        ConfigError: An argument is wrong, or names a module that the model lacks.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    from trainer.model.architecture import freeze_other_modes

    check_peft_config(peft_config)
    for key in _OF_MODULES:
        _check_modules(model, f"{_KEY}.{key}", peft_config.get(key))
    arguments = {key: value for key, value in peft_config.items() if key not in ("peft_type", "task_type")}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(LoraConfig(task_type="CAUSAL_LM", **arguments), model)
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, re.error) as error:
        raise ConfigError(
            f"{_KEY}: peft cannot put these adapters into {type(model).__name__}: {error}"
        ) from error
    freeze_other_modes(model)
    targeted = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in peft_config.get(key) or ():
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in targeted):
                raise ConfigError(f"{_KEY}.{key}: {pattern!r} is the name of no module that has an adapter.")
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False) and any(
        isinstance(end, BaseTunerLayer | AuxiliaryTrainingWrapper) for end in ends
    ):
        raise ConfigError(
            f"{_KEY} trains the embedding or the output layer, but in {type(model).__name__} they share "
            "their weights (tie_word_embeddings), and a merged model could hold only one of them. Leave "
            "both out of target_modules and modules_to_save."
        )


def _check_modules(model: Any, key: str, named: Any) -> None:
    """Check that the model has each module of a list; a string is a pattern of peft's."""
    if named is None or isinstance(named, str):
        return
    import torch

    names = [name for name, _ in model.named_modules()]
    for each in named:
        if not any(name == each or name.endswith(f".{each}") for name in names):
            kinds = (torch.nn.Linear, torch.nn.Embedding)
            fitting = {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if isinstance(module, kinds)
                or (key == f"{_KEY}.modules_to_save" and any(True for _ in module.parameters(recurse=False)))
            }
            raise ConfigError(f"{key}: {unknown_name('module', str(each), fitting)}")


def describe_adapters(model: Any) -> str:
    """Describe the adapted modules and the number of trained parameters; warn of probable mistakes."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    kinds: dict[str, Counter[str]] = {"adapters in": Counter(), "trained whole": Counter()}
    over: dict[str, None] = {}
    for name, module in model.named_modules():
        shown = re.sub(r"\.\d+\.", ".*.", name)
        is_adapted, is_whole = isinstance(module, BaseTunerLayer), isinstance(module, ModulesToSaveWrapper)
        if (is_adapted or is_whole) and any(parameter.requires_grad for parameter in module.parameters()):
            kinds["trained whole" if is_whole else "adapters in"][shown] += 1
        if isinstance(module, LoraLayer):
            sides = module.in_features or 0, module.out_features or 0
            if module.r["default"] > min(sides):
                over[f"{shown} (r {module.r['default']}, {max(sides)} × {min(sides)})"] = None
    listed = "; ".join(
        f"{how} " + ", ".join(f"{name} ({count})" if count > 1 else name for name, count in names.items())
        for how, names in kinds.items()
        if names
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = f"{trained:,} of {total:,} parameters are trained ({trained / total:.2%})"
    said = f"{type(model).__name__}: {share}; {listed}."
    if over:
        said += (
            f" r is over the smaller side of {', '.join(over)}: a smaller r learns the same, since with r "
            "equal to that side an adapter can be any matrix."
        )
    if model.peft_config["default"].init_lora_weights is False:
        said += " init_lora_weights is false: training begins with random adapters, not with the base model."
    return said


def save_adapters_alone(model: Any) -> None:
    """Restrict the state dict of Composer's model to trained weights, when saved and when loaded.

    Hooks do it, since wrappers such as DDP do not call the model's `state_dict`. Composer unsets
    `should_save_peft_only` while FSDP sends weights to the ranks.
    """

    def names_of_trained(prefix: str) -> set[str]:
        return {
            f"{prefix}{name.replace('_checkpoint_wrapped_module.', '')}"
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def leave_out_frozen(_: Any, state_dict: dict[str, Any], prefix: str, __: Any) -> None:
        if model.should_save_peft_only:
            for name in state_dict.keys() - names_of_trained(prefix):
                del state_dict[name]

    def frozen_are_not_missing(_: Any, incompatible: Any) -> None:
        if model.should_save_peft_only:
            trained = names_of_trained("")
            missing = [name for name in incompatible.missing_keys if name.removeprefix("module.") in trained]
            incompatible.missing_keys[:] = missing

    model.register_state_dict_post_hook(leave_out_frozen)
    model.register_load_state_dict_post_hook(frozen_are_not_missing)


def check_load_path(path: str, *, has_adapters: bool) -> None:
    """Refuse a checkpoint of an adapter for a run without adapters, and the reverse."""
    of_adapter = any(".lora_" in name for name in weight_names(path))
    if of_adapter and not has_adapters:
        raise ConfigError(
            f"checkpoint {path!r} holds an adapter alone, but model.peft_config is not set. Set it as the "
            "adapter was trained; or merge it with `tutelage export`, and set "
            "model.pretrained_model_name_or_path to that folder."
        )
    if has_adapters and not of_adapter:
        raise ConfigError(
            f"checkpoint {path!r} holds a whole model, but model.peft_config trains an adapter. Write the "
            "model with `tutelage export`, set model.pretrained_model_name_or_path to that folder, and leave "
            "load_path out and save_folder to its own run."
        )
