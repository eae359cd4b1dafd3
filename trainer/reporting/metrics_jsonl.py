"""Metrics of a run as JSON lines: one object a step, beside any other loggers.

    {"step": 119, "loss/train/total": 2.413, "train/tokens_per_sec": 1050.2}

`step` is Composer's: batches done when the value was logged. NaN and infinity become null. Rank 0 writes. A
resumed run removes the lines of steps that it repeats, so the file equals that of an unbroken run.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

from composer.core import State
from composer.loggers import Logger, LoggerDestination
from composer.utils import dist

from schemas import storage
from schemas.train_config import TrainConfig

_NAME = "metrics.jsonl"


def default_metrics_path(config: TrainConfig) -> str:
    """Return a path beside the checkpoints if they are local, else in `runs/`."""
    if config.save_folder and storage.is_local(config.save_folder):
        return os.path.join(config.save_folder, _NAME)
    return os.path.join("runs", "{run_name}", _NAME)


class MetricsFile(LoggerDestination):
    """Appends metrics to a file."""

    def __init__(self, path: str):
        self.path = path
        self._step: int | None = None
        self._values: dict[str, Any] = {}

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Collect the metrics of a step; the first metric of the next step writes them."""
        if dist.get_global_rank() != 0:
            return
        if step != self._step:
            self._write()
            self._step = step
        for name, value in metrics.items():
            number = value.item() if hasattr(value, "item") else value
            is_number = not isinstance(number, float) or math.isfinite(number)
            self._values[name] = number if is_number else None  # JSON has no NaN

    def init(self, state: State, logger: Logger) -> None:
        """Put the run's name into the path."""
        self.path = self.path.replace("{run_name}", state.run_name)

    def fit_start(self, state: State, logger: Logger) -> None:
        """Remove lines that an earlier part of the run logged after this part's first step."""
        if dist.get_global_rank() != 0:
            return
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        first_step = int(state.timestamp.batch)
        kept = [line for line in _lines(self.path) if _step(line) < first_step]
        storage.write_bytes(self.path, "".join(kept).encode())

    def fit_end(self, state: State, logger: Logger) -> None:
        """Write the last step."""
        self._write()

    def close(self, state: State, logger: Logger) -> None:
        """Write the last step after a failure too."""
        self._write()

    def _write(self) -> None:
        if not self._values:
            return
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        line = json.dumps({"step": self._step, **self._values}, default=str)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._values = {}


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line for line in file if line.endswith("\n")]  # a crash may cut the last one short
    except FileNotFoundError:
        return []


def _step(line: str) -> float:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return float("inf") if step is None else float(step)
