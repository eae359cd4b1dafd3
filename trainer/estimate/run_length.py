"""How long a run is: steps and tokens, and how often it sees each stream."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.data.resolve_streams import ResolvedStream, rows_per_epoch
from trainer.startup.duration import Pace, parse_duration


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StreamEpochs:
    """How often a run sees one stream.

    Attributes:
        name: Its key in the configuration.
        rows: Rows it has, in the manifest of the first epoch.
        rows_read: Rows the run takes from it.
    """

    name: str
    rows: int
    rows_read: float

    @property
    def epochs(self) -> float:
        """Times each of its rows is seen, on average."""
        return self.rows_read / self.rows


def num_steps(config: TrainConfig, *, seq_len: int, num_ranks: int, rows: int | None) -> int:
    """Optimizer steps of a run.

    Args:
        config: Its configuration.
        seq_len: T, tokens a row.
        num_ranks: Ranks that share a batch.
        rows: Rows of an epoch; None if no corpus is known.

    Raises:
        ConfigError: Its duration is of a kind that cannot be told in steps.
    """
    duration = parse_duration("max_duration", config.max_duration)
    steps = pace(config, seq_len=seq_len, num_ranks=num_ranks, rows=rows).steps(duration)
    if steps is not None:
        return math.ceil(steps)
    raise ConfigError(
        f"max_duration is {config.max_duration!r}, which cannot be told in steps"
        f"{' without a corpus' if duration.unit == 'ep' else ''}. "
        "Give batches (100ba) or tokens (1000000tok)."
    )


def pace(config: TrainConfig, *, seq_len: int, num_ranks: int, rows: int | None) -> Pace:
    """How a run's units of time follow from one another; arguments as of `num_steps`."""
    batch_rows = config.global_train_batch_size
    of_rank = None if rows is None else math.ceil(rows / num_ranks)
    return Pace(
        batch_rows=batch_rows,
        seq_len=seq_len,
        epoch_steps=None if of_rank is None else of_rank // (batch_rows // num_ranks),
    )


def run_pace(config: TrainConfig, streams: Sequence[ResolvedStream], *, num_ranks: int) -> Pace:
    """The pace of a run whose streams are known."""
    return _pace_in(config, streams, 0, num_ranks=num_ranks)


def steps_by_epoch(config: TrainConfig, streams: Sequence[ResolvedStream], *, num_ranks: int) -> list[int]:
    """Steps of each epoch up to the last that begins with another manifest."""
    last = max(
        (later.epoch for stream in config.train_loader.dataset.streams.values() for later in stream.later),
        default=0,
    )
    paces = (_pace_in(config, streams, epoch, num_ranks=num_ranks) for epoch in range(last))
    return [each.epoch_steps or 0 for each in paces]


def _pace_in(config: TrainConfig, streams: Sequence[ResolvedStream], epoch: int, *, num_ranks: int) -> Pace:
    rows = sum(map(sum, rows_per_epoch(config.train_loader.dataset, streams, epoch)))
    return pace(config, seq_len=streams[0].manifest.seq_len, num_ranks=num_ranks, rows=rows)


def stream_epochs(
    config: TrainConfig, streams: Sequence[ResolvedStream], *, steps: int
) -> tuple[StreamEpochs, ...]:
    """How often a run of so many steps sees each stream."""
    counts = [sum(rows) for rows in rows_per_epoch(config.train_loader.dataset, streams)]
    epochs = steps * config.global_train_batch_size / sum(counts)
    return tuple(
        StreamEpochs(name=stream.name, rows=stream.num_samples, rows_read=count * epochs)
        for stream, count in zip(streams, counts, strict=True)
    )
