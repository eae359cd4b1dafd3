"""Length of a run: times as Composer writes them, in steps; the number of steps; epochs over each stream.

Composer is not imported, so that a mistake in a time is found at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer.data.resolve_streams import ResolvedStream
from trainer.data.rows_per_epoch import rows_per_epoch, steps_per_epoch

_TIME = re.compile(r"(?P<value>\d+(\.\d*)?([eE][+-]?\d+)?)(?P<unit>iter|ep|ba|sp|tok|dur|sec)")


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """A length of training.

    Attributes:
        value: A whole number, except for `dur`.
        unit: ba (batches), ep (epochs), sp (rows), tok (tokens), dur (share of the run), iter, sec.
    """

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.15g}{self.unit}"


def parse_duration(key: str, value: Any) -> Duration:
    """Read the time that a person wrote under `key`; refuse a value that is no time."""
    match = _TIME.fullmatch(str(value))
    duration = Duration(float(match["value"]), match["unit"]) if match else None
    if duration is None or (duration.unit != "dur" and duration.value != int(duration.value)):
        raise ConfigError(
            f"{key} is {value!r}; expected a number and a unit, such as 100ba (batches), 1ep (epochs), "
            "1000000tok or 0.1dur (of the run)."
        )
    return duration


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Conversion of a run's times to steps.

    Attributes:
        batch_rows: Rows a step, over all ranks.
        seq_len: T, tokens a row; padding counts, as in Composer.
        epoch_steps: Steps of each epoch up to the last that begins with another manifest; empty without a
            corpus.
    """

    batch_rows: int
    seq_len: int
    epoch_steps: tuple[int, ...]

    def steps(self, duration: Duration, *, run: Duration | None = None) -> float | None:
        """Convert a duration to steps; `dur` is a share of `run`.

        Returns:
            Steps, with a fraction if it ends within a step; None if it cannot be converted.
        """
        if duration.unit == "dur":
            whole = self.steps(run) if run is not None else None
            return None if whole is None else duration.value * whole
        if duration.unit == "ep":
            return duration.value * self.epoch_steps[0] if self.epoch_steps else None
        per_step = {"ba": 1, "sp": self.batch_rows, "tok": self.batch_rows * self.seq_len}.get(duration.unit)
        return None if per_step is None else duration.value / per_step


def pace_of(config: TrainConfig, streams: Sequence[ResolvedStream], seq_len: int | None = None) -> Pace:
    """Return the pace of a run; `streams` is empty without a corpus, which then needs `seq_len`."""
    last = max((epoch for stream in streams for epoch, _ in stream.manifests), default=0)
    num_rows = [
        sum(map(sum, rows_per_epoch(config.train_loader.dataset, streams, epoch)))
        for epoch in (range(max(1, last)) if streams else ())
    ]
    batch_rows = config.global_train_batch_size
    return Pace(
        batch_rows=batch_rows,
        seq_len=streams[0].manifest.seq_len if seq_len is None else seq_len,
        epoch_steps=tuple(steps_per_epoch(each, batch_rows) for each in num_rows),
    )


def num_steps(config: TrainConfig, pace: Pace) -> int:
    """Count the optimizer steps of a run; refuse a `max_duration` that cannot be converted."""
    duration = parse_duration("max_duration", config.max_duration)
    steps = pace.steps(duration)
    if steps is not None:
        return math.ceil(steps)
    raise ConfigError(
        f"max_duration is {config.max_duration!r}, which cannot be converted to steps"
        f"{' without a corpus' if duration.unit == 'ep' else ''}. "
        "Give batches (100ba) or tokens (1000000tok)."
    )


def stream_epochs(
    config: TrainConfig, streams: Sequence[ResolvedStream], *, steps: int
) -> list[dict[str, Any]]:
    """Return name, rows, rows read and epochs of each stream in a run of so many steps.

    The number of rows is that of the first epoch's manifest; epochs say how often the run reads each row.
    """
    counts = [sum(rows) for rows in rows_per_epoch(config.train_loader.dataset, streams)]
    rows_read = [count * (steps * config.global_train_batch_size / sum(counts)) for count in counts]
    return [
        {
            "name": stream.name,
            "rows": stream.num_samples,
            "rows_read": rows,
            "epochs": rows / stream.num_samples,
        }
        for stream, rows in zip(streams, rows_read, strict=True)
    ]
