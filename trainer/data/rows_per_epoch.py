"""Rows that an epoch takes from each stream and shard directory, and the steps that they fill.

Streaming's own `proportion` rounds every sub-stream down and deals the rest out at random. Here the rows are
divided by largest remainder, first among the streams and then among a stream's increments by their size, so
the mix is exact to the row for any number of increments. Rows have one length, so a share of rows is a share
of tokens up to the padding at row ends.

Epochs that read the same manifests form a phase. A step takes one batch over all ranks; the rows at the end
of an epoch that fill no whole batch are not read.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.train_config import DatasetConfig
from trainer.data.resolve_streams import ResolvedStream


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs that read the same manifests.

    Attributes:
        first_epoch: The first of them, counted from 0.
        num_rows: Rows that each of them takes from each shard directory; 0 from one that it does not read.
    """

    first_epoch: int
    num_rows: tuple[int, ...]


def rows_per_epoch(
    dataset: DatasetConfig, streams: Sequence[ResolvedStream], epoch: int = 0
) -> list[list[int]]:
    """Divide an epoch's rows among streams and shard directories.

    Args:
        dataset: How streams are mixed.
        streams: From `resolve_streams`.
        epoch: Counted from 0; later epochs may read other manifests.

    Returns:
        Rows by stream and shard directory, in the order of `streams` and their `shard_sets`; 0 for a
        directory that this epoch does not read.

    Raises:
        ConfigError: `epoch_size` is given beside `repeat` or `choose`, which already fix the epoch's size.
    """
    configs = [dataset.streams[stream.name] for stream in streams]
    parts = [stream.num_samples_at(epoch) for stream in streams]
    sizes = [sum(counts) for counts in parts]
    if any(config.repeat or config.choose for config in configs):
        if dataset.epoch_size:
            raise ConfigError(
                f"train_loader.dataset.epoch_size is {dataset.epoch_size}, but repeat or choose of the "
                "streams already settle the epoch. Keep one of the two."
            )
        totals = [
            config.choose or max(1, round(size * (config.repeat or 1.0)))
            for config, size in zip(configs, sizes, strict=True)
        ]
    else:
        weights = [
            float(size) if config.proportion is None else config.proportion
            for config, size in zip(configs, sizes, strict=True)
        ]
        totals = _divide(dataset.epoch_size or sum(sizes), weights)
    return [_divide(total, counts) for total, counts in zip(totals, parts, strict=True)]


def _divide(total: int, weights: Sequence[float]) -> list[int]:
    """Divide `total` into integers in proportion to `weights`, by largest remainder."""
    exact = [total * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def phases(dataset: DatasetConfig, streams: Sequence[ResolvedStream]) -> list[Phase]:
    """Return the phases of a run, in order; the first begins at epoch 0."""
    epochs = sorted({epoch for stream in streams for epoch, _ in stream.manifests})
    return [
        Phase(first_epoch=epoch, num_rows=tuple(itertools.chain(*rows_per_epoch(dataset, streams, epoch))))
        for epoch in epochs
    ]


def steps_per_epoch(num_rows: int, batch_rows: int) -> int:
    """Count the steps of an epoch, or of what is left of one: its whole batches over all ranks."""
    return num_rows // batch_rows


def check_epochs(dataset: DatasetConfig, streams: Sequence[ResolvedStream], *, batch_rows: int) -> None:
    """Raise a ConfigError if an epoch has fewer rows than a batch over all ranks."""
    for phase in phases(dataset, streams):
        num_rows = sum(phase.num_rows)
        if not steps_per_epoch(num_rows, batch_rows):
            since = f"from epoch {phase.first_epoch} on " if phase.first_epoch else ""
            raise ConfigError(
                f"{since}an epoch has {num_rows} rows, too few for a batch of {batch_rows} rows. Lower "
                "global_train_batch_size, or raise train_loader.dataset.epoch_size."
            )
