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
