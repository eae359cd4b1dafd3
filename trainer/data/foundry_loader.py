"""Our streams in llm-foundry: the data loader `tutelage`, found through its entry points.

    train_loader:
      name: tutelage
      dataset:
        streams:
          domain: {corpus: s3://bucket/corpus, manifest: 3, proportion: 0.5}
          general: {corpus: s3://bucket/general, manifest: 1, proportion: 0.5}
      num_workers: 2

That both are installed is all that it takes. Keys are those of this trainer's own `train_loader`; what
llm-foundry hands over beside them, the tokenizer and a batch size, is put in their terms here. The
callbacks `domain_eval` and `hf_export` need no such adapter: llm-foundry calls them with the keys of its
YAML as Composer's own.

llm-foundry keeps no record of the manifests that a run began with, so each stream must name its own.
With `attention_boundaries` the position ids of each text begin anew and no mask is passed; whether the
model keeps texts apart by them is checked by this trainer and not by llm-foundry: see
`trainer/model/attention.py`.
"""

from __future__ import annotations

from typing import Any

from composer.core import DataSpec
from composer.utils import dist

from schemas.config import validate
from schemas.errors import ConfigError
from schemas.train_config import LoaderConfig
from trainer.data.resolve_streams import resolve_streams, verify_shards
from trainer.data.row_loader import build_loader, count_tokens
from trainer.data.stale_shared_memory import claim_segments, remove_stale_segments
from trainer.startup.config_checks import check_tokenizer


def build_dataloader(tokenizer: Any, device_batch_size: int | float, **train_loader: Any) -> DataSpec:
    """Make the loader of this rank, as llm-foundry's registry of data loaders calls for it.

    Args:
        tokenizer: The model's tokenizer.
        device_batch_size: Rows a step on this rank.
        **train_loader: The section `train_loader` of llm-foundry's YAML without its `name`: keys of
            `LoaderConfig`.

    Raises:
        ConfigError: A key is unknown, a stream names no manifest, the batch size is no whole number, or the
            rows were made with another tokenizer.
    """
    config = validate(LoaderConfig, train_loader, name="train_loader")
    for name, stream in config.dataset.streams.items():
        if stream.manifest is None:
            raise ConfigError(
                f"train_loader.dataset.streams.{name}.manifest is missing. llm-foundry does not write down "
                "what a run reads, and after a resumption a newer manifest would change the rows. Give the "
                f"number that `tutelage corpus show {stream.corpus}` tells."
            )
    if device_batch_size != int(device_batch_size):
        raise ConfigError(
            f"global_train_batch_size leaves {device_batch_size} rows for each rank. Give a multiple of the "
            "number of ranks."
        )
    streams = resolve_streams(config.dataset)
    check_tokenizer(tokenizer, tokenizer.name_or_path, streams)
    if dist.get_global_rank() == 0:
        for resolved in streams:
            for shard_set in resolved.shard_sets:
                verify_shards(resolved.corpus, shard_set)
    loader = build_loader(config, streams, batch_size=int(device_batch_size), vocab_size=len(tokenizer))
    if dist.get_local_rank() == 0:
        remove_stale_segments()
        claim_segments(loader.dataset._shm_prefix_int)
    return DataSpec(loader, get_num_tokens_in_batch=count_tokens)
