"""A model as a Hugging Face directory, ready for transformers, SGLang or the Hub.

Weights as safetensors with configuration, tokenizer and a model card go into a temporary sibling, which is
then renamed: the folder is whole or not there.

Weights are written with huggingface_hub rather than `save_pretrained`, which reads the live (possibly
sharded, fp32) module for the dtype and class name, and in transformers 5 empties the given dict. What a run
does not change, tokenizer and generation configuration, is copied from the base model byte by byte.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from plugins import adapter_folder as adapters
from plugins.model_fingerprint import weights_fingerprint
from plugins.tokenizers import as_it_came, fingerprint, folder_of, load_tokenizer, tokenizer_files
from schemas import storage
from schemas.errors import ConfigError, unknown_name
from schemas.scratch_folder import scratch

if TYPE_CHECKING:
    from schemas.train_config import TrainConfig

GENERATION_CONFIG = "generation_config.json"

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What an export has of the model that a run began with.

    Attributes:
        files: Content by name: its tokenizer's, its generation configuration, its code if it brings any.
        use_cache: Whether it generates with a cache; a run trains without.
        tokenizer: Fingerprint of its tokenizer; empty without one.
    """

    files: Mapping[str, bytes]
    use_cache: bool
    tokenizer: str


def read_base(name: str, tokenizer: Any, *, pretrained: bool = True) -> BaseModel:
    """Read what an export takes over unchanged.

    Args:
        name: The base model's directory or hub name.
        tokenizer: The run's; None leaves it out.
        pretrained: Whether the run began with its weights, and so with its ways to generate.
    """
    files: dict[str, bytes] = {}
    if tokenizer is not None:
        files = tokenizer_files(tokenizer.name_or_path, tokenizer)
        if not files:  # it was made in memory
            with scratch("tokenizer") as saved:
                as_it_came(tokenizer).save_pretrained(saved)
                files = tokenizer_files(saved, tokenizer)
    named = "" if tokenizer is None else fingerprint(tokenizer)
    folder = folder_of(name) if name else None
    if folder is None or not os.path.isfile(os.path.join(folder, "config.json")):
        return BaseModel(files=files, use_cache=True, tokenizer=named)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    names = [GENERATION_CONFIG] if pretrained else []
    if "auto_map" in config:
        names += [each for each in os.listdir(folder) if each.endswith(".py")]
    for each in names:
        path = os.path.join(folder, each)
        if os.path.isfile(path):
            with open(path, "rb") as opened:
                files[each] = opened.read()
    return BaseModel(files=files, use_cache=bool(config.get("use_cache", True)), tokenizer=named)


def check_folder(key: str, folder: str) -> None:
    """See that a folder is a place for an export.

    Args:
        key: What names it, for the message.
        folder: A local directory, which may be missing.

    Raises:
        ConfigError: It is on a store, or holds files that are no export.
    """
    if "://" in folder:
        raise ConfigError(f"{key} is {folder!r}; expected a local directory. Copy it to a store afterwards.")
    held = os.listdir(folder) if os.path.isdir(folder) else []
    if held and not {"config.json", adapters.CONFIG} & set(held):
        raise ConfigError(
            f"{key} {folder!r} holds files that are no export; it would be replaced. Give an empty or new "
            "directory."
        )


def dtype_of(key: str, name: str) -> torch.dtype:
    """The dtype of that name.

    Raises:
        ConfigError: There is none that models are exported in.
    """
    if name not in DTYPES:
        raise ConfigError(f"{key}: {unknown_name('dtype', name, DTYPES)}")
    return DTYPES[name]


def write_model_folder(
    folder: str,
    model: Any,
    weights: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype,
    base: BaseModel,
    card: str,
) -> None:
    """Write a model, in place of what was there.

    Args:
        folder: Local directory.
        model: A transformers model; its class and configurations count, its weights do not.
        weights: All of its weights by name, tied ones once.
        dtype: Of the weights in the files.
        base: What is taken over from the model that the run began with.
        card: The README.
    """
    from huggingface_hub import save_torch_state_dict

    with _replacing(folder, card) as temporary:
        save_torch_state_dict(_cast(_as_published(model, weights), dtype), temporary)
        _write_all_but_weights(temporary, model, dtype=dtype, base=base)


def write_adapter_folder(
    folder: str,
    model: Any,
    weights: Mapping[str, torch.Tensor],
    *,
    dtype: torch.dtype,
    base: BaseModel,
    base_name: str,
    card: str,
) -> None:
    """Write the adapter of a model as peft reads it, in place of what was there.

    Args:
        folder: Local directory.
        model: With adapters; its weights do not count.
        weights: At least those of the adapter, by name.
        dtype: Of the weights in the files.
        base: What is taken over from the model that the run began with: its tokenizer.
        base_name: That model's directory or hub name.
        card: The README.
    """
    from safetensors.torch import save_file

    config = copy.deepcopy(model.peft_config["default"])
    # A relative path would be looked up on the hub by whoever loads the adapter from elsewhere.
    config.base_model_name_or_path = os.path.abspath(base_name) if os.path.isdir(base_name) else base_name
    metadata = {"format": "pt"}
    if weights_of_base := weights_fingerprint(base_name):
        metadata[adapters.BASE_WEIGHTS] = weights_of_base
    config.inference_mode = True
    found = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in _cast(adapters.adapter_weights(model, weights), dtype).items()
    }
    with _replacing(folder, card) as temporary:
        config.save_pretrained(temporary)
        save_file(found, os.path.join(temporary, adapters.WEIGHTS), metadata=metadata)
        of_model = {name for name in base.files if name == GENERATION_CONFIG or name.endswith(".py")}
        _write_files(temporary, {name: base.files[name] for name in base.files.keys() - of_model})


def _cast(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()
    }


@contextlib.contextmanager
def _replacing(folder: str, card: str) -> Iterator[str]:
    """A temporary folder, which then takes the place of `folder`."""
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    temporary = os.path.join(parent, f".{os.path.basename(folder.rstrip('/'))}.{uuid.uuid4().hex}.tmp")
    os.makedirs(temporary)
    try:
        yield temporary
        with open(os.path.join(temporary, "README.md"), "w", encoding="utf-8") as file:
            file.write(card)
        _replace_directory(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def try_model_folder(key: str, folder: str, model: Any, *, dtype: torch.dtype, base: BaseModel) -> None:
    """Write a model but for its weights beside a folder, load its tokenizer, and remove it all.

    Args:
        key: What names the folder, for the message.
        folder: As of `write_model_folder`, like what follows.

    Raises:
        ConfigError: Something cannot be written, or the tokenizer that was written is another one.
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
    except Exception as error:  # of the disk, or whatever transformers raises
        raise ConfigError(
            f"{key} {folder!r}: the export that ends the run could not be written: {type(error).__name__}: "
            f"{error}."
        ) from error


def _write_all_but_weights(folder: str, model: Any, *, dtype: torch.dtype, base: BaseModel) -> None:
    config = copy.deepcopy(model.config)
    # Loading gave each part of a multimodal model its dtype, which servers read.
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        # transformers 5 calls it dtype
        setattr(part, "dtype" if "dtype" in vars(part) else "torch_dtype", dtype)
    config.get_text_config().use_cache = base.use_cache
    config.architectures = [type(model).__name__.removeprefix("FSDP")]
    # save_pretrained of either would refuse values that the base model has.
    config.to_json_file(os.path.join(folder, "config.json"))
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.to_json_file(os.path.join(folder, GENERATION_CONFIG))
    _write_files(folder, base.files)


def _write_files(folder: str, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def _as_published(model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the names and in the pieces of the family's files, which servers and any transformers read.

    Loaded models have other names (Gemma 3 with images; GPT-NeoX in transformers 5) or all experts of a
    layer in one tensor (Mixtral there).
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
    # A file holds no pieces of one storage.
    return {
        name: tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
        for name, tensor in found.items()
    }


def drop_tied(model: Any, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights without the second names of tied ones."""
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        tied = set(model._tied_weights_keys or ())  # a list; in transformers 5 a dict
        return {name: tensor for name, tensor in weights.items() if name not in tied}
    return weights


def lineage(config: TrainConfig) -> dict[str, str]:
    """What a model was made from, by name: the lines of a card that its training configuration knows."""
    made_from = {
        "base model": config.model.pretrained_model_name_or_path,
        "run": config.run_name,
        "planned duration": f"{config.max_duration} of {config.global_train_batch_size} rows",
    }
    if config.model.peft_config is not None:
        given = ", ".join(f"{key} {value}" for key, value in config.model.peft_config.items())
        made_from["trained as an adapter"] = given
    for name, stream in config.train_loader.dataset.streams.items():
        share = f", proportion {stream.proportion:g}" if stream.proportion is not None else ""
        made_from[f"stream {name}"] = (
            f"{stream.corpus}, stream {stream.stream or name}, manifest {stream.manifest}{share}"
        )
    return made_from


def model_card(
    made_from: Mapping[str, str],
    *,
    steps: int,
    tokens: int | None,
    scores: Mapping[str, float],
    library: str = "transformers",
) -> str:
    """The README of an export: what it was made from, how far training had come, how it scores.

    Args:
        made_from: Of `lineage`.
        steps: Batches trained.
        tokens: Tokens trained on; None where that is not known.
        scores: By `<task>/<metric>`, of the domain evaluation at that step.
        library: What loads it: transformers, or peft.
    """
    rows = {**made_from, "steps": f"{steps:,}", **({} if tokens is None else {"tokens seen": f"{tokens:,}"})}
    base = made_from.get("base model", "")
    # The Hub refuses a card whose base_model is a path on somebody's disk.
    on_hub = base.count("/") <= 1 and not os.path.isdir(base) and bool(base)
    scored = ["", "| domain evaluation | score |", "|---|---|"] if scores else []
    return "\n".join(
        [
            "---",
            f"library_name: {library}",
            *([f"base_model: {base}"] if on_hub else []),
            "tags: [instruction-pre-training, tutelage]",
            "---",
            "",
            f"# {made_from.get('run', 'Exported model')}",
            "",
            "Continually pre-trained with Tutelage on instruction-augmented text.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
            *scored,
            *(f"| {name} | {score:.4f} |" for name, score in scores.items()),
            "",
        ]
    )


def exported_steps(folder: str) -> int | None:
    """Batches trained of the model in a folder, as its card says; None where there is no export."""
    try:
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
            found = re.search(r"^\| steps \| ([\d,]+) \|$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return int(found[1].replace(",", "")) if found else None


def _replace_directory(source: str, target: str) -> None:
    """Rename a directory over another; a directory cannot be replaced in one step."""
    storage.sync_tree(source)
    old = None
    if os.path.exists(target):
        old = f"{source}.old"
        os.rename(target, old)
    os.rename(source, target)
    storage.sync(os.path.dirname(os.path.abspath(target)))
    if old is not None:
        shutil.rmtree(old)
