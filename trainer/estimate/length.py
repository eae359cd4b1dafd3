"""How long a run is: steps and tokens, and how often it sees each stream."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.duration import parse_duration
from trainer.shards import ResolvedStream, rows_per_epoch


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
    batch_size = config.global_train_batch_size
    duration = parse_duration("max_duration", config.max_duration)
    if duration.unit == "ba":
        return int(duration.value)
    if duration.unit == "tok":
        return math.ceil(duration.value / (batch_size * seq_len))
    if duration.unit == "sp":
        return math.ceil(duration.value / batch_size)
    if duration.unit == "ep" and rows is not None:
        return int(duration.value) * (math.ceil(rows / num_ranks) // (batch_size // num_ranks))
    raise ConfigError(
        f"max_duration is {config.max_duration!r}, which cannot be told in steps"
        f"{' without a corpus' if duration.unit == 'ep' else ''}. "
        "Give batches (100ba) or tokens (1000000tok)."
    )


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
