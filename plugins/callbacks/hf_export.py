"""A trained model as a Hugging Face directory, ready for transformers, SGLang or the Hub.

Composer's checkpoints are for resuming; this is what the run is for. The weights are gathered on
rank 0 (from FSDP2 shards too), cast, and written as safetensors with configuration, tokenizer and
a model card into a temporary sibling, which is then renamed: the folder is whole or not there.

Files are written with huggingface_hub rather than `save_pretrained`, which reads the live (possibly
sharded, fp32) module for the dtype and class name, and in transformers 5 empties the given dict.
"""

from __future__ import annotations

import copy
import os
import shutil
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from composer.core import Callback, State
from composer.loggers import Logger
from composer.utils import create_interval_scheduler, dist

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from schemas.train_config import TrainConfig

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class HuggingFaceExport(Callback):  # type: ignore[misc, unused-ignore]
    """Write the model at the end of training, and at intervals if asked to.

    Args:
        folder: Local directory; `{run_name}` is filled in. It always holds the newest export.
        interval: Time between exports, such as 500ba; null exports at the end only.
        dtype: bfloat16, float16 or float32.
        card: Lines of the model card's table, by name; `from_config` fills them in.
        tokenizer: Saved along with the model.

    Raises:
        ConfigError: The folder is no place for an export, or the dtype is unknown.
    """

    def __init__(
        self,
        folder: str,
        interval: str | None = None,
        dtype: str = "bfloat16",
        *,
        card: Mapping[str, str] | None = None,
        tokenizer: Any = None,
    ):
        if dtype not in _DTYPES:
            raise ConfigError(
                f"callbacks.hf_export.dtype is {dtype!r}; expected one of {', '.join(_DTYPES)}."
            )
        if "://" in folder:
            raise ConfigError(
                f"callbacks.hf_export.folder is {folder!r}; expected a local directory. Copy it "
                "to a store afterwards."
            )
        self.folder = folder
        self.dtype = _DTYPES[dtype]
        self.card = dict(card or {})
        self.tokenizer = tokenizer
        self._exported_step = -1
        self._due = None
        if interval is not None:
            try:
                self._due = create_interval_scheduler(interval, include_end_of_training=False)
            except ValueError as error:
                raise ConfigError(
                    f"callbacks.hf_export.interval is {interval!r}; expected a time such as 500ba."
                ) from error

    @classmethod
    def from_config(
        cls, arguments: dict[str, Any], *, config: TrainConfig, tokenizer: Any
    ) -> HuggingFaceExport:
        """Make it from a training configuration, which knows the streams and the base model."""
        folder = str(arguments.pop("folder")).replace("{run_name}", config.run_name)
        if (
            os.path.isdir(folder)
            and os.listdir(folder)
            and not os.path.exists(os.path.join(folder, "config.json"))
        ):
            raise ConfigError(
                f"callbacks.hf_export.folder {folder!r} holds files that are no export; it would "
                "be replaced. "
                "Give an empty or new directory."
            )
        card = {
            "base model": config.model.pretrained_model_name_or_path,
            "run": config.run_name,
            "planned duration": f"{config.max_duration} of {config.global_train_batch_size} rows",
        }
        for name, stream in config.train_loader.dataset.streams.items():
            share = f", proportion {stream.proportion:g}" if stream.proportion is not None else ""
            card[f"stream {name}"] = (
                f"{stream.corpus}, stream {stream.stream or name}, manifest {stream.manifest}{share}"
            )
        return cls(folder, card=card, tokenizer=tokenizer, **arguments)

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        """Export if the interval counts batches or tokens and has passed."""
        self._export_if_due(state, "BATCH_CHECKPOINT")

    def epoch_checkpoint(self, state: State, logger: Logger) -> None:
        """Export if the interval counts epochs and has passed."""
        self._export_if_due(state, "EPOCH_CHECKPOINT")

    def fit_end(self, state: State, logger: Logger) -> None:
        """Export the finished model."""
        if int(state.timestamp.batch) != self._exported_step:
            self.export(state)

    def export(self, state: State) -> None:
        """Write the model as it is now. Every rank must call this; rank 0 writes."""
        model = hugging_face_model(state.model)
        weights = gather_weights(model, sharded=state.fsdp_enabled)
        if dist.get_global_rank() == 0:
            self._write(model, weights, state)
        self._exported_step = int(state.timestamp.batch)
        dist.barrier()

    def _export_if_due(self, state: State, event: str) -> None:
        from composer.core import Event

        if self._due is not None and self._due(state, Event[event]):
            self.export(state)

    def _write(self, model: Any, weights: dict[str, torch.Tensor], state: State) -> None:
        from huggingface_hub import save_torch_state_dict

        parent = os.path.dirname(os.path.abspath(self.folder))
        os.makedirs(parent, exist_ok=True)
        temporary = os.path.join(
            parent, f".{os.path.basename(self.folder.rstrip('/'))}.{uuid.uuid4().hex}.tmp"
        )
        os.makedirs(temporary)
        try:
            cast = {
                name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor
                for name, tensor in weights.items()
            }
            save_torch_state_dict(cast, temporary)
            config = copy.deepcopy(model.config)
            # transformers 5 calls it dtype
            setattr(config, "dtype" if "dtype" in vars(config) else "torch_dtype", self.dtype)
            config.use_cache = True  # off in training only
            config.architectures = [type(model).__name__.removeprefix("FSDP")]
            config.save_pretrained(temporary)
            if getattr(model, "generation_config", None) is not None:
                model.generation_config.save_pretrained(temporary)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(temporary)
            with open(os.path.join(temporary, "README.md"), "w", encoding="utf-8") as file:
                file.write(self.model_card(state))
            _replace_directory(temporary, self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def model_card(self, state: State) -> str:
        """The README of the export: what it was made from, and how far training had come."""
        rows = {
            **self.card,
            "steps": f"{int(state.timestamp.batch):,}",
            "tokens seen": f"{int(state.timestamp.token):,}",
        }
        base = self.card.get("base model", "")
        # The Hub refuses a card whose base_model is a path on somebody's disk.
        on_hub = base.count("/") <= 1 and not os.path.isdir(base) and bool(base)
        return "\n".join(
            [
                "---",
                "library_name: transformers",
                *([f"base_model: {base}"] if on_hub else []),
                "tags: [instruction-pre-training, tutelage]",
                "---",
                "",
                f"# {self.card.get('run', 'Exported model')}",
                "",
                "Continually pre-trained with Tutelage on instruction-augmented text.",
                "",
                "| | |",
                "|---|---|",
                *(f"| {name} | {value} |" for name, value in rows.items()),
                "",
            ]
        )


def hugging_face_model(model: Any) -> Any:
    """The transformers model inside Composer's wrapper, which DDP may wrap once more."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    return model.model


def gather_weights(model: Any, *, sharded: bool) -> dict[str, torch.Tensor]:
    """The whole state dict, tied weights once; under FSDP2 complete on rank 0 only."""
    if sharded:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights: dict[str, Any] = get_model_state_dict(
            model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
    else:
        weights = model.state_dict()
    weights = {name.replace("_checkpoint_wrapped_module.", ""): tensor for name, tensor in weights.items()}
    if getattr(model.config, "tie_word_embeddings", False):
        for name in model._tied_weights_keys or ():  # a list; in transformers 5 a dict
            weights.pop(name, None)
    return weights


def _replace_directory(source: str, target: str) -> None:
    """Rename a directory over another; a directory cannot be replaced in one step."""
    old = None
    if os.path.exists(target):
        old = f"{source}.old"
        os.rename(target, old)
    os.rename(source, target)
    if old is not None:
        shutil.rmtree(old)
