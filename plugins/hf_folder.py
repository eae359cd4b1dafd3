"""Export of a model as a Hugging Face directory, for transformers, SGLang or the Hub.

Weights as safetensors with configuration, tokenizer and a model card go to a temporary sibling folder, which
is then renamed: an export is complete or absent.

huggingface_hub writes the weights, not `save_pretrained`, which takes dtype and class name from the live
(possibly sharded, fp32) module, and in transformers 5 empties the given dict. A run does not change tokenizer
and generation configuration: the export copies the base model's files.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from plugins import adapter_folder as adapters
from plugins.hub import folder_of
from plugins.model_fingerprint import weights_fingerprint
from plugins.tokenizers import as_it_came, fingerprint, load_tokenizer, tokenizer_files, write_files
from schemas import storage
from schemas.errors import ConfigError, unknown_name
from schemas.scratch_folder import scratch

GENERATION_CONFIG = "generation_config.json"

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """Parts of the base model that an export copies."""

    name: str  # its directory or hub name
    files: Mapping[str, bytes]  # content by name: tokenizer, generation configuration, code if there is any
    use_cache: bool  # whether it generates with a cache; a run trains without one
    tokenizer: str  # fingerprint of its tokenizer; empty without one


def read_base(name: str, tokenizer: Any, *, pretrained: bool = True) -> BaseModel:
    """Read the parts of a base model that an export copies; None for the run's tokenizer leaves it out.

    A run that began with the base model's weights (`pretrained`) keeps its generation configuration.
    """
    files: dict[str, bytes] = {}
    of_tokenizer = ""
    if tokenizer is not None:
        of_tokenizer = fingerprint(tokenizer)
        files = tokenizer_files(tokenizer.name_or_path, tokenizer)
        if not files:  # the tokenizer was made in memory
            with scratch("tokenizer") as saved:
                as_it_came(tokenizer).save_pretrained(saved)
                files = tokenizer_files(saved, tokenizer)
    use_cache = True
    folder = folder_of(name) if name else None
    if folder is not None and os.path.isfile(os.path.join(folder, "config.json")):
        config = json.loads(Path(folder, "config.json").read_bytes())
        use_cache = bool(config.get("use_cache", True))
        copied = [Path(folder, GENERATION_CONFIG)] if pretrained else []
        copied += Path(folder).glob("*.py") if "auto_map" in config else []
        files |= {path.name: path.read_bytes() for path in copied if path.is_file()}
    return BaseModel(name=name, files=files, use_cache=use_cache, tokenizer=of_tokenizer)


def check_folder(key: str, folder: str) -> None:
    """Check that an export may be written to a folder, which may be missing; messages name its `key`.

    Raises:
        ConfigError: It is on a store, or holds files that are no export.
    """
    if "://" in folder:
        raise ConfigError(f"{key} is {folder!r}; expected a local directory. Copy it to a store afterwards.")
    held = os.listdir(folder) if os.path.isdir(folder) else []
    if held and not {"config.json", adapters.CONFIG} & set(held):
        raise ConfigError(
            f"{key} {folder!r} holds files that are no export; an export would replace them. Give an empty "
            "or new directory."
        )


def dtype_of(key: str, name: str) -> torch.dtype:
    """Return the dtype of that name; raises ConfigError for other names than those of DTYPES."""
    if name not in DTYPES:
        raise ConfigError(f"{key}: {unknown_name('dtype', name, DTYPES)}")
    return DTYPES[name]


def write_export(
    folder: str,
    model: Any,
    weights: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype,
    base: BaseModel,
    card: str,
    adapter: bool,
) -> None:
    """Write a model, or its adapter alone as peft reads it, in place of an earlier export.

    Of `model` only the class and the configurations count. `weights` are by name: all of the model's, tied
    ones once, or at least those of the adapter; `dtype` is theirs in the files. `card` is the README.
    """
    with storage.new_folder(folder) as temporary:
        if adapter:
            _write_adapter(temporary, model, weights, dtype=dtype, base=base)
        else:
            from huggingface_hub import save_torch_state_dict

            save_torch_state_dict(_cast(_as_published(model, weights), dtype), temporary)
            _write_all_but_weights(temporary, model, dtype=dtype, base=base)
        write_files(temporary, {"README.md": card.encode()})


def try_export(key: str, folder: str, model: Any, *, dtype: torch.dtype, base: BaseModel) -> None:
    """Write an export without weights beside its folder, load its tokenizer, and remove both.

    Raises:
        ConfigError: A file cannot be written, or the tokenizer's files give other ids.
    """
    parent = os.path.dirname(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".try-", suffix=".tmp") as temporary:
            _write_all_but_weights(temporary, model, dtype=dtype, base=base)
            if base.tokenizer and "auto_map" not in json.loads(base.files.get("tokenizer_config.json", "{}")):
                found = fingerprint(load_tokenizer(temporary))
                if found != base.tokenizer:
                    raise ConfigError(
                        f"the tokenizer's files alone give other ids ({found}, expected {base.tokenizer}). "
                        "Write it with its save_pretrained, and set tokenizer.name to that directory"
                    )
    except Exception as error:  # of the disk, or of transformers
        raise ConfigError(
            f"{key} {folder!r}: the export at the end of the run could not be written: "
            f"{type(error).__name__}: {error}."
        ) from error


def _write_adapter(
    folder: str, model: Any, weights: Mapping[str, torch.Tensor], *, dtype: torch.dtype, base: BaseModel
) -> None:
    from safetensors.torch import save_file

    config = copy.deepcopy(model.peft_config["default"])
    # The adapter may be loaded from another directory, where peft would look up a relative path on the hub.
    config.base_model_name_or_path = os.path.abspath(base.name) if os.path.isdir(base.name) else base.name
    config.inference_mode = True
    config.save_pretrained(folder)
    metadata = {"format": "pt"}
    if weights_of_base := weights_fingerprint(base.name):
        metadata[adapters.BASE_WEIGHTS] = weights_of_base
    named = _cast(adapters.adapter_weights(model, weights), dtype)
    found = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    save_file(found, os.path.join(folder, adapters.WEIGHTS), metadata=metadata)
    of_model = {name for name in base.files if name == GENERATION_CONFIG or name.endswith(".py")}
    write_files(folder, {name: base.files[name] for name in base.files.keys() - of_model})


def _write_all_but_weights(folder: str, model: Any, *, dtype: torch.dtype, base: BaseModel) -> None:
    config = copy.deepcopy(model.config)
    # Servers read the dtype of each part of a multimodal model, which loading has set.
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        # transformers 5 calls it dtype
        setattr(part, "dtype" if "dtype" in vars(part) else "torch_dtype", dtype)
    config.get_text_config().use_cache = base.use_cache
    config.architectures = [type(model).__name__.removeprefix("FSDP")]
    # save_pretrained of either would refuse values that the base model has.
    config.to_json_file(os.path.join(folder, "config.json"))
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.to_json_file(os.path.join(folder, GENERATION_CONFIG))
    write_files(folder, base.files)


def _cast(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()
    }


def _as_published(model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights by the names and in the pieces of the family's files, which all servers read.

    Loaded models have other names (Gemma 3 with images; GPT-NeoX in transformers 5) or all experts of a
    layer in one tensor (Mixtral in transformers 5).
    """
    from transformers import modeling_utils

    revert = getattr(modeling_utils, "revert_weight_conversion", None)
    if revert is None:  # transformers 4
        renamed = {}
        for name, tensor in weights.items():
            for published, loaded in (getattr(model, "_checkpoint_conversion_mapping", None) or {}).items():
                prefix = re.sub(r"\(.*\)", "", published.lstrip("^"))
                name, is_renamed = re.subn(loaded, prefix, name)
                if is_renamed:
                    break
            renamed[name] = tensor
        return renamed
    found: dict[str, torch.Tensor] = revert(model, dict(weights))
    # A file cannot hold views of one storage.
    return {
        name: tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
        for name, tensor in found.items()
    }


def drop_tied(model: Any, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights without the second names of tied ones."""
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        tied = set(model._tied_weights_keys or ())  # a list; in transformers 5 a dict
        return {name: tensor for name, tensor in weights.items() if name not in tied}
    return weights
