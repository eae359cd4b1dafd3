"""Callback `hf_export`: write the model as a Hugging Face directory during training (`plugins/hf_folder.py`).

Composer's checkpoints are for resumption; this directory is the run's result. Rank 0 gathers the weights,
also from FSDP2 shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from composer.core import Callback, Event, State
from composer.loggers import Logger
from composer.utils import create_interval_scheduler, dist

from plugins.adapter_folder import has_adapters, merged_weights
from plugins.hf_folder import (
    BaseModel,
    check_folder,
    drop_tied,
    dtype_of,
    read_base,
    try_export,
    write_export,
)
from plugins.model_card import exported_steps, lineage, model_card
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from schemas.train_config import TrainConfig


class HuggingFaceExport(Callback):  # type: ignore[misc, unused-ignore]
    """Write the model at the end of training, and at intervals.

    Args:
        folder: Local directory for the newest export; `{run_name}` is filled in.
        interval: Time between exports, such as 500ba; null exports at the end only.
        dtype: bfloat16, float16 or float32.
        adapter: True writes only the adapter, in peft's format; false merges adapters into the model.
        made_from: Lines of the model card's table, by name; `from_config` sets them.
        base: Files to copy from the base model; None reads those of Composer's model.

    Raises:
        ConfigError: The folder cannot hold an export, or the dtype is unknown.
    """

    def __init__(
        self,
        folder: str,
        interval: str | None = None,
        dtype: str = "bfloat16",
        adapter: bool = False,
        *,
        made_from: Mapping[str, str] | None = None,
        base: BaseModel | None = None,
    ):
        self.dtype = dtype_of("callbacks.hf_export.dtype", dtype)
        self.adapter = adapter
        check_folder("callbacks.hf_export.folder", folder)
        self.folder = folder
        self.made_from = dict(made_from or {})
        self.base = base
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
        """Make the callback from a training configuration, with its streams and base model."""
        folder = str(arguments.pop("folder")).replace("{run_name}", config.run_name)
        base = read_base(
            config.model.pretrained_model_name_or_path, tokenizer, pretrained=config.model.pretrained
        )
        return cls(folder, made_from=lineage(config), base=base, **arguments)

    def init(self, state: State, logger: Logger) -> None:
        """Try an export without weights, so that a problem shows before training.

        Also set what `from_config` sets: llm-foundry constructs a callback with its own keys only.

        Raises:
            ConfigError: The export cannot be written, or its tokenizer cannot be loaded.
        """
        self.folder = self.folder.replace("{run_name}", str(state.run_name))
        model = hugging_face_model(state.model)
        if self.adapter and not has_adapters(model):
            raise ConfigError(
                "callbacks.hf_export.adapter is true, but the model has no adapters. Set model.peft_config, "
                "or remove callbacks.hf_export.adapter."
            )
        if self.base is None:
            self.base = read_base(model.config.name_or_path, getattr(state.model, "tokenizer", None))
        if dist.get_global_rank() == 0:
            try_export("callbacks.hf_export.folder", self.folder, model, dtype=self.dtype, base=self.base)

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        """Export if an interval of batches or tokens has passed."""
        self._export_if_due(state, Event.BATCH_CHECKPOINT)

    def epoch_checkpoint(self, state: State, logger: Logger) -> None:
        """Export if an interval of epochs has passed."""
        self._export_if_due(state, Event.EPOCH_CHECKPOINT)

    def fit_end(self, state: State, logger: Logger) -> None:
        """Export the finished model."""
        if int(state.timestamp.batch) != self._exported_step:
            self.export(state)

    def complete(self, state: State) -> None:
        """Write the model unless the folder holds this step's model. Every rank must call this."""
        is_outdated = [exported_steps(self.folder) != int(state.timestamp.batch)]
        dist.broadcast_object_list(is_outdated, src=0)
        if is_outdated[0]:
            self.export(state)

    def export(self, state: State) -> None:
        """Write the current model. Every rank must call this; rank 0 writes."""
        model = hugging_face_model(state.model)
        weights = gather_weights(model, sharded=state.fsdp_enabled)
        if dist.get_global_rank() == 0:
            assert self.base is not None, "init has read it"
            card = model_card(
                self.made_from,
                steps=int(state.timestamp.batch),
                tokens=int(state.timestamp.token),
                scores=scores_now(state),
                library="peft" if self.adapter else "transformers",
            )
            if not self.adapter:
                weights = merged_weights(model, weights) if has_adapters(model) else weights
                weights = drop_tied(model, weights)
            write_export(
                self.folder, model, weights, dtype=self.dtype, base=self.base, card=card, adapter=self.adapter
            )
        self._exported_step = int(state.timestamp.batch)
        dist.barrier()

    def _export_if_due(self, state: State, event: Event) -> None:
        if self._due is not None and self._due(state, event):
            self.export(state)


def hugging_face_model(model: Any) -> Any:
    """The transformers model inside the wrappers of Composer, DDP and peft."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    model = model.model
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def gather_weights(model: Any, *, sharded: bool) -> dict[str, torch.Tensor]:
    """The whole state dict; under FSDP2 only rank 0 gets it."""
    if sharded:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights: dict[str, Any] = get_model_state_dict(
            model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
    else:
        weights = model.state_dict()
    return {name.replace("_checkpoint_wrapped_module.", ""): tensor for name, tensor in weights.items()}


def scores_now(state: State) -> dict[str, float]:
    """Scores of the current step; empty if the newest evaluation was at an earlier step."""
    for callback in state.callbacks:
        if getattr(callback, "scored_batch", None) == int(state.timestamp.batch):
            return dict(callback.scores)
    return {}
