"""Times as Composer writes them, read without importing Composer."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from schemas.errors import ConfigError

_TIME = re.compile(r"(?P<value>\d+(\.\d*)?([eE][+-]?\d+)?)(?P<unit>iter|ep|ba|sp|tok|dur|sec)")


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """A length of training.

    Attributes:
        value: How many; whole but for `dur`.
        unit: ba (batches), ep (epochs), sp (rows), tok (tokens), dur (share of the run), iter, sec.
    """

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.15g}{self.unit}"


def parse_duration(key: str, value: Any) -> Duration:
    """Read a time that a person wrote under `key`.

    Raises:
        ConfigError: It is none.
    """
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
    """How a run's units of time follow from one another.

    Attributes:
        batch_rows: Rows a step, over all ranks.
        seq_len: T, tokens a row; padding counts, as it does for Composer.
        epoch_steps: Steps of the first epoch; None if no corpus is known.
    """

    batch_rows: int
    seq_len: int
    epoch_steps: int | None

    def steps(self, duration: Duration, *, run: Duration | None = None) -> float | None:
        """A duration in steps.

        Args:
            duration: What is asked for.
            run: The whole run, of which `dur` is a share.

        Returns:
            Steps, with a fraction where it ends within one; None where they cannot be told.
        """
        if duration.unit == "dur":
            whole = self.steps(run) if run is not None else None
            return None if whole is None else duration.value * whole
        if duration.unit == "ep":
            return None if self.epoch_steps is None else duration.value * self.epoch_steps
        per_step = {"ba": 1, "sp": self.batch_rows, "tok": self.batch_rows * self.seq_len}.get(duration.unit)
        return None if per_step is None else duration.value / per_step
