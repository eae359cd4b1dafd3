"""Our streams in llm-foundry: the data loader `tutelage`, found through an entry point.

    train_loader:
      name: tutelage
      dataset:
        streams:
          domain: {corpus: s3://bucket/corpus, manifest: 3, proportion: 0.5}
          general: {corpus: s3://bucket/general, manifest: 1, proportion: 0.5}
      num_workers: 2

llm-foundry keeps no record of the manifests that a run began with, so each stream must name its own. It does
not check whether a model keeps packed texts apart; only this trainer does (`trainer/model/attention.py`).
"""

from __future__ import annotations

from typing import Any

from composer.core import DataSpec
from composer.utils import dist

from schemas.config import validate
from schemas.errors import ConfigError
from schemas.train_config import LoaderConfig
from trainer.data.batches import count_tokens
from trainer.data.resolve_streams import resolve_streams
from trainer.data.row_loader import build_loader
from trainer.data.rows_per_epoch import check_epochs
from trainer.data.verify_shards import verify_streams
from trainer.startup.config_checks import check_tokenizer


def build_dataloader(tokenizer: Any, device_batch_size: int | float, **train_loader: Any) -> DataSpec:
    """Make the loader of this rank; llm-foundry's registry of data loaders calls this function.

    Args:
        tokenizer: The model's tokenizer.
        device_batch_size: Rows a step on this rank.
        **train_loader: The section `train_loader` of llm-foundry's YAML without its `name`: keys of
            `LoaderConfig`.

    Raises:
        ConfigError: A key is unknown, a stream names no manifest, the batch size is no whole number, or
            another tokenizer made the rows.
    """
    config = validate(LoaderConfig, train_loader, name="train_loader")
    for name, stream in config.dataset.streams.items():
        if stream.manifest is None:
            raise ConfigError(
                f"train_loader.dataset.streams.{name}.manifest is missing. llm-foundry does not record which "
                "manifest a run reads, and a resumed run would read the rows of a newer one. Give the number "
                f"that `tutelage corpus show {stream.corpus}` prints."
            )
    if device_batch_size != int(device_batch_size):
        raise ConfigError(
            f"global_train_batch_size leaves {device_batch_size} rows for each rank. Give a multiple of the "
            "number of ranks."
        )
    batch_size = int(device_batch_size)
    streams = resolve_streams(config.dataset)
    check_epochs(config.dataset, streams, batch_rows=batch_size * dist.get_world_size())
    check_tokenizer(tokenizer, tokenizer.name_or_path, streams)
    if dist.get_global_rank() == 0:
        verify_streams(streams)
    loader = build_loader(config, streams, batch_size=batch_size, vocab_size=len(tokenizer))
    return DataSpec(loader, get_num_tokens_in_batch=count_tokens)
