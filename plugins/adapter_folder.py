"""An adapter of peft: its folder, a model with it, and a model into which it is merged.

    adapter_config.json          which modules have adapters, of which rank, beside which base model
    adapter_model.safetensors    their weights, and those of modules that are trained whole

A base model that has adapters is the class that it was, with peft's layers in place of some of its own.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import Any

from plugins.hub import hub_options, why
from plugins.model_fingerprint import weights_fingerprint
from schemas.errors import ConfigError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE_WEIGHTS = "base_model_weights"
"""In the metadata of the weights: the fingerprint of those that it was trained beside."""

_PREFIX = "base_model.model."
"""What peft's own class of models puts before names."""
_WRAPPED = "._checkpoint_wrapped_module"


def base_of(key: str, name: str) -> str | None:
    """The base model that an adapter names; None where `name` is no adapter but a model.

    Args:
        key: What names it, for the message.
        name: Directory or hub name.

    Raises:
        ConfigError: The adapter names no base model, or cannot be read.
    """
    if os.path.isdir(name):
        path = os.path.join(name, CONFIG)
        if not os.path.isfile(path):
            return None
    elif not _is_hub_adapter(name):
        return None
    try:
        if not os.path.isdir(name):
            from huggingface_hub import hf_hub_download

            path = hf_hub_download(name, CONFIG, **hub_options(name))
        with open(path, encoding="utf-8") as file:
            base = json.load(file).get("base_model_name_or_path")
    except Exception as error:  # of the hub, the disk, or what is in the file
        raise ConfigError(f"{key} {name!r}: its {CONFIG} cannot be read: {why(error, name)}") from error
    if not base:
        raise ConfigError(
            f"{key} {name!r} is an adapter whose {CONFIG} names no base_model_name_or_path. Write the model "
            "that it was trained on there."
        )
    base = str(base)
    if (base.startswith((".", "/", "~")) or base.count("/") > 1) and not os.path.isdir(base):
        raise ConfigError(
            f"{key} {name!r} is an adapter whose base model {base!r} is no directory on this machine. Write "
            f"where that model lies as base_model_name_or_path into its {CONFIG}."
        )
    return base


def other_base(name: str, base: str) -> str:
    """A sentence if the base model's files are not those that an adapter's export wrote down; else "".

    Args:
        name: Directory or hub name of the adapter.
        base: Of its base model.
    """
    from huggingface_hub import try_to_load_from_cache
    from safetensors import SafetensorError, safe_open

    path = os.path.join(name, WEIGHTS) if os.path.isdir(name) else try_to_load_from_cache(name, WEIGHTS)
    if not isinstance(path, str) or not os.path.isfile(path):
        return ""
    try:
        with safe_open(path, framework="numpy") as file:
            was = (file.metadata() or {}).get(BASE_WEIGHTS)
    except SafetensorError:  # its loader says what is wrong
        return ""
    now = weights_fingerprint(base)
    if was is None or now is None or was == now:
        return ""
    return (
        f"{name}: the weights of its base model {base!r} (fingerprint {now}) are not those that the adapter "
        f"was trained on ({was}): the two together may be no good model. Name the one that it was trained "
        f"on as base_model_name_or_path in its {CONFIG}."
    )


def tokenizer_of(key: str, name: str) -> str:
    """Where the tokenizer of a model or adapter is: an adapter's may be that of its base model."""
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
    except Exception:  # the model's loader says what is wrong with the name
        return False


def put_adapter(key: str, name: str, model: Any) -> Any:
    """Put an adapter into its base model, for inference.

    Args:
        key: What names it, for the message.
        name: Directory or hub name of the adapter.
        model: Its base model; changed, and returned.

    Raises:
        ConfigError: Adapter and model do not fit together, or peft is not installed.
    """
    try:
        from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ConfigError(
            f"{key} {name!r} is an adapter, which needs a package that is not installed: peft. Install it "
            "(it comes with tutelage[trainer]), or merge the adapter into its base model."
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
    except Exception as error:  # whatever peft makes of a model that has other modules or shapes
        raise ConfigError(
            f"{key} {name!r}: the adapter does not fit its base model {model.config.name_or_path!r}: "
            f"{why(error, name)}"
        ) from error
    return model.eval()


def has_adapters(model: Any) -> bool:
    """Whether a model of transformers has adapters in it."""
    return hasattr(model, "peft_config")


def merged_weights(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of the model without adapters that computes the same: W + scaling · B·A, by peft, on the CPU.

    Args:
        model: With adapters; it is left as it is.
        weights: All of its weights, whole, by name.

    Returns:
        By the names that they have in the base model.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    plain = dict(weights)
    for path, module in model.named_modules():
        path = path.replace(_WRAPPED, "")
        layer: Any = module
        if isinstance(layer, BaseTunerLayer):
            # A copy that has the whole weights, where the module's own may be shards.
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
    """Weights of the adapter alone, by the names that they have in its folder.

    Args:
        model: With adapters.
        weights: Its weights by name; those of the adapter are enough.
    """
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
