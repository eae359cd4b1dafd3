"""A trained model as a Hugging Face directory, written while it trains (`plugins/hf_folder.py`).

Composer's checkpoints are for resuming; this is what the run is for. The weights are gathered on
rank 0, from FSDP2 shards too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from composer.core import Callback, State
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
    """Write the model at the end of training, and at intervals if asked to.

    Adapters are merged into the model, or written by themselves.

    Args:
        folder: Local directory; `{run_name}` is filled in. It always holds the newest export.
        interval: Time between exports, such as 500ba; null exports at the end only.
        dtype: bfloat16, float16 or float32.
        adapter: Whether the adapter alone is written, as peft reads it.
        made_from: Lines of the model card's table, by name; `from_config` fills them in.
        base: What is taken over from the base model; None reads that of Composer's model.

    Raises:
        ConfigError: The folder is no place for an export, or the dtype is unknown.
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
        """Make it from a training configuration, which knows the streams and the base model."""
        folder = str(arguments.pop("folder")).replace("{run_name}", config.run_name)
        base = read_base(
            config.model.pretrained_model_name_or_path, tokenizer, pretrained=config.model.pretrained
        )
        return cls(folder, made_from=lineage(config), base=base, **arguments)

    def init(self, state: State, logger: Logger) -> None:
        """Write everything but the weights once, and remove it: what the end needs is there at the start.

        What `from_config` knows is filled in, too: llm-foundry gives a callback its own keys alone.

        Raises:
            ConfigError: The export could not be written, or its tokenizer not be loaded.
        """
        self.folder = self.folder.replace("{run_name}", str(state.run_name))
        model = hugging_face_model(state.model)
        if self.adapter and not has_adapters(model):
            raise ConfigError(
                "callbacks.hf_export.adapter is true, but the model has no adapters. Set model.peft_config, "
                "or leave it out."
            )
        if self.base is None:
            self.base = read_base(model.config.name_or_path, getattr(state.model, "tokenizer", None))
        if dist.get_global_rank() == 0:
            try_export("callbacks.hf_export.folder", self.folder, model, dtype=self.dtype, base=self.base)

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

    def complete(self, state: State) -> None:
        """Write the model unless the folder holds it as it is now. Every rank must call this."""
        is_lacking = [exported_steps(self.folder) != int(state.timestamp.batch)]
        dist.broadcast_object_list(is_lacking, src=0)
        if is_lacking[0]:
            self.export(state)

    def export(self, state: State) -> None:
        """Write the model as it is now. Every rank must call this; rank 0 writes."""
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
                self.folder,
                model,
                weights,
                dtype=self.dtype,
                base=self.base,
                card=card,
                adapter=self.adapter,
            )
        self._exported_step = int(state.timestamp.batch)
        dist.barrier()

    def _export_if_due(self, state: State, event: str) -> None:
        from composer.core import Event

        if self._due is not None and self._due(state, Event[event]):
            self.export(state)


def hugging_face_model(model: Any) -> Any:
    """The transformers model inside Composer's wrapper, which DDP and peft may wrap once more."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    model = model.model
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def gather_weights(model: Any, *, sharded: bool) -> dict[str, torch.Tensor]:
    """The whole state dict; under FSDP2 complete on rank 0 only."""
    if sharded:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights: dict[str, Any] = get_model_state_dict(
            model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
    else:
        weights = model.state_dict()
    return {name.replace("_checkpoint_wrapped_module.", ""): tensor for name, tensor in weights.items()}


def scores_now(state: State) -> dict[str, float]:
    """Scores of an evaluation of the model as it is now; empty if the newest one is of an earlier step."""
    for callback in state.callbacks:
        if getattr(callback, "scored_batch", None) == int(state.timestamp.batch):
            return dict(callback.scores)
    return {}
