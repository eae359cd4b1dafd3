"""Adapters of peft: reading their folder, and loading, merging and extracting their weights.

    adapter_config.json          the adapted modules, the rank, the base model
    adapter_model.safetensors    weights of the adapters, and of modules that are trained whole

A base model with adapters keeps its class; peft's layers replace some of its own.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import Any

from plugins.hub import folder_of, hub_options, why
from plugins.model_fingerprint import weights_fingerprint
from schemas.errors import ConfigError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE_WEIGHTS = "base_model_weights"
"""Key in the metadata of the weights: fingerprint of the base model's weights in training."""

_PREFIX = "base_model.model."
"""Prefix of names in peft's own class of models."""
_WRAPPED = "._checkpoint_wrapped_module"


def base_of(key: str, name: str) -> str | None:
    """Return the base model that an adapter names; None if `name`, a directory or hub name, is no adapter.

    Raises:
        ConfigError: The adapter names no base model, or cannot be read.
    """
    is_local, path = os.path.isdir(name), os.path.join(name, CONFIG)
    if not (os.path.isfile(path) if is_local else _is_hub_adapter(name)):
        return None
    try:
        if not is_local:
            from huggingface_hub import hf_hub_download

            path = hf_hub_download(name, CONFIG, **hub_options(name))
        with open(path, encoding="utf-8") as file:
            base = json.load(file).get("base_model_name_or_path")
    except Exception as error:  # of the hub, the disk or the parser
        raise ConfigError(f"{key} {name!r}: its {CONFIG} cannot be read: {why(error, name)}") from error
    if not base:
        raise ConfigError(
            f"{key} {name!r} is an adapter whose {CONFIG} has no base_model_name_or_path. Write the model "
            "that it was trained on there."
        )
    base = str(base)
    if (base.startswith((".", "/", "~")) or base.count("/") > 1) and not os.path.isdir(base):
        raise ConfigError(
            f"{key} {name!r} is an adapter whose base model {base!r} is no directory on this machine. Write "
            f"the model's path as base_model_name_or_path into its {CONFIG}."
        )
    return base


def other_base(name: str, base: str) -> str:
    """Return a warning if the weights of an adapter's base model are not those of its training, else ""."""
    from safetensors import SafetensorError, safe_open

    path = os.path.join(folder_of(name) or "", WEIGHTS)
    if not os.path.isfile(path):
        return ""
    try:
        with safe_open(path, framework="numpy") as file:
            was = (file.metadata() or {}).get(BASE_WEIGHTS)
    except SafetensorError:  # the adapter's loader reports it
        return ""
    now = weights_fingerprint(base)
    if was is None or now is None or was == now:
        return ""
    return (
        f"{name}: the weights of its base model {base!r} (fingerprint {now}) are not those that the adapter "
        f"was trained on ({was}), so that the two together may not work. Name the model that it was trained "
        f"on as base_model_name_or_path in its {CONFIG}."
    )


def tokenizer_of(key: str, name: str) -> str:
    """Return the name whose tokenizer a model or adapter uses: its own, or that of an adapter's base."""
    base = base_of(key, name)
    has_own = os.path.isfile(os.path.join(name, "tokenizer.json"))
    return name if base is None or has_own else base


def _is_hub_adapter(name: str) -> bool:
    from huggingface_hub import file_exists, try_to_load_from_cache

    try:
        for file in (CONFIG, "config.json"):
            if isinstance(try_to_load_from_cache(name, file), str):
                return file == CONFIG
        return not hub_options(name) and file_exists(name, CONFIG)
    except Exception:  # the model's loader reports it
        return False


def put_adapter(key: str, name: str, model: Any) -> Any:
    """Load an adapter into its base model, for inference; changes and returns the model.

    Raises:
        ConfigError: Adapter and model do not fit together, or peft is not installed.
    """
    try:
        from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ConfigError(
            f"{key} {name!r} is an adapter, which needs the package peft. Install it (it comes with "
            "tutelage[trainer]), or merge the adapter into its base model."
        ) from error
    try:
        config = PeftConfig.from_pretrained(name, **hub_options(name))
        config.inference_mode = True
        inject_adapter_in_model(config, model)
        weights = {
            each.removeprefix(_PREFIX): tensor
            for each, tensor in load_peft_weights(name, device="cpu", **hub_options(name)).items()
        }
        expected = _adapter_state(model, model.state_dict())
        for each in sorted(expected.keys() ^ weights.keys()):
            raise ValueError(
                f"it {'lacks' if each in expected else 'has'} weights {each!r}, which its {CONFIG} "
                f"{'asks for' if each in expected else 'leaves out'}"
            )
        set_peft_model_state_dict(model, weights)
    except Exception as error:  # peft raises many kinds for a model with other modules or shapes
        raise ConfigError(
            f"{key} {name!r}: the adapter does not fit its base model {model.config.name_or_path!r}: "
            f"{why(error, name)}"
        ) from error
    return model.eval()


def has_adapters(model: Any) -> bool:
    """True if a model of transformers has adapters."""
    return hasattr(model, "peft_config")


def merged_weights(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the adapters of a model into its weights: W + scaling · B·A, by peft, on the CPU.

    Args:
        model: With adapters; stays unchanged.
        weights: All of its weights, unsharded, by name.

    Returns:
        Weights of an equivalent model without adapters, by their names in the base model.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    plain = dict(weights)
    for path, module in model.named_modules():
        path = path.replace(_WRAPPED, "")
        layer: Any = module
        if isinstance(layer, BaseTunerLayer):
            # A copy with the whole weights: the module's own may be shards.
            memo: dict[int, Any] = {
                id(parameter): torch.nn.Parameter(
                    plain.pop(f"{path}.{name}").detach().to("cpu", copy=True), requires_grad=False
                )
                for name, parameter in module.named_parameters()
            }
            layer = copy.deepcopy(layer, memo)
            layer.merge()
            plain |= {f"{path}.{name}": each for name, each in layer.get_base_layer().state_dict().items()}
        elif isinstance(module, ModulesToSaveWrapper):
            trained = f"{path}.modules_to_save.default."
            for name in [each for each in plain if each.startswith(f"{path}.")]:
                tensor = plain.pop(name)
                if name.startswith(trained):
                    plain[f"{path}.{name.removeprefix(trained)}"] = tensor
    return plain


def adapter_weights(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of a model's adapter, by their names in its folder."""
    named = dict(weights)
    for block in [path for path, _ in model.named_modules() if path.endswith(_WRAPPED)]:
        outside = block.removesuffix(_WRAPPED)
        for name in [each for each in named if each.startswith(f"{outside}.")]:
            named[f"{block}{name.removeprefix(outside)}"] = named.pop(name)
    return {
        f"{_PREFIX}{name.replace(_WRAPPED, '')}": tensor
        for name, tensor in _adapter_state(model, named).items()
    }


def _adapter_state(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    return dict(get_peft_model_state_dict(model, state_dict=dict(weights), save_embedding_layers=False))
