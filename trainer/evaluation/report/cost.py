"""Cost of evaluation in a training run: its seconds, and their share of the run's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class EvaluationCost:
    """Counts the seconds of all evaluations and of the run, over all of its resumptions.

    Args:
        clock: A monotonic clock, in seconds.

    Attributes:
        evaluation_sec: Of all evaluations so far.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.evaluation_sec = 0.0
        self._clock = clock
        self._earlier_sec = 0.0
        self._started: float | None = None

    def start_run(self) -> None:
        """Start or resume counting; the time since the last saved state does not count."""
        self._earlier_sec = self.run_sec
        self._started = self._clock()

    def add(self, seconds: float) -> None:
        """Count an evaluation."""
        self.evaluation_sec += seconds

    @property
    def run_sec(self) -> float:
        """Seconds of training and evaluation so far."""
        return self._earlier_sec + (0.0 if self._started is None else self._clock() - self._started)

    @property
    def share(self) -> float:
        """Evaluation's share of the run's time, from 0 to 1."""
        return self.evaluation_sec / self.run_sec if self.run_sec else 0.0

    def state_dict(self) -> dict[str, float]:
        """The state for a resumed run."""
        return {"evaluation_sec": self.evaluation_sec, "run_sec": self.run_sec}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Load the state of a checkpoint; one of an earlier version has none, and counting starts at 0."""
        self.evaluation_sec = state.get("evaluation_sec", 0.0)
        self._earlier_sec = state.get("run_sec", 0.0)
        self._started = None
