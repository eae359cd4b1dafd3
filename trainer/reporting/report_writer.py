"""Report of a run while it trains: `report.html` and `description.json` beside its metrics.

Written by rank 0 before the first step, after each evaluation and at the end. It changes nothing in the run,
and a failure is one line. The clock assigns the time between two of Composer's events to a phase; on a GPU,
work that a step started may be waited for in the next phase.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from composer.core import Callback, Event, State
from composer.loggers import Logger
from composer.utils import dist

from plugins.report.page import render
from schemas import storage
from schemas.train_config import TrainConfig
from trainer.data.resolve_streams import ResolvedStream
from trainer.data.rows_per_epoch import rows_per_epoch
from trainer.evaluation.callback import DomainEval
from trainer.reporting.announce import announce
from trainer.reporting.metrics_jsonl import MetricsFile
from trainer.reporting.run_folder import DESCRIPTION
from trainer.reporting.run_part import run_part

_REPORT = "report.html"
_PACKAGES = ("tutelage", "mosaicml", "mosaicml-streaming", "torch", "transformers", "peft")
_EVALUATIONS, _CALLBACKS = "evaluations", "other callbacks"
_PHASES = {
    Event.FIT_START: _CALLBACKS,
    Event.BEFORE_DATALOADER: "waiting for rows",
    Event.BATCH_START: "training steps",
    Event.BATCH_END: _CALLBACKS,
    Event.BATCH_CHECKPOINT: "checkpoints",
    Event.FIT_END: _CALLBACKS,
}


class ReportWriter(Callback):  # type: ignore[misc, unused-ignore]
    """Writes the report of a run; belongs before the callbacks whose time it measures.

    Args:
        config: Configuration of the run.
        streams: Its streams.
        metrics: Its metrics file, in whose folder the report lies.
        evaluation: Its evaluations, if it has any.
    """

    def __init__(
        self,
        config: TrainConfig,
        streams: Sequence[ResolvedStream],
        metrics: MetricsFile,
        evaluation: DomainEval | None,
    ):
        self._config = config
        self._streams = streams
        self._metrics = metrics
        self._evaluation = evaluation
        self._seconds: dict[str, float] = defaultdict(float)
        self._phase, self._since = "", 0.0
        self._reported: int | None = None

    def run_event(self, event: Event, state: State, logger: Logger) -> None:
        """Measure the time, and write the report when there is a new evaluation."""
        if dist.get_global_rank() != 0 or event not in _PHASES:
            return
        now = time.monotonic()
        if event == Event.FIT_START:
            self._continue(state)
        else:
            self._seconds[self._phase] += now - self._since
        self._phase, self._since = _PHASES[event], now
        scored = -1 if self._evaluation is None else self._evaluation.scored_batch
        if event in (Event.BATCH_START, Event.BATCH_CHECKPOINT) and scored != self._reported:
            self._reported = scored
            self._write()
            self._since = time.monotonic()
            self._seconds["reports"] += self._since - now

    def post_close(self) -> None:
        """Write the last report, after the metrics of the last step."""
        if dist.get_global_rank() == 0 and self._phase:
            self._write()

    @property
    def _folder(self) -> str:
        return os.path.dirname(self._metrics.path) or "."

    def _continue(self, state: State) -> None:
        """Go on counting the seconds of an earlier part of the run."""
        if int(state.timestamp.batch):
            try:
                earlier = json.loads(storage.read_bytes(storage.join(self._folder, DESCRIPTION)))
                seconds = {str(name): float(value) for name, value in earlier["seconds"].items()}
                seconds[_CALLBACKS] = seconds.get(_CALLBACKS, 0.0) + seconds.pop(_EVALUATIONS, 0.0)
                self._seconds.update(seconds)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                pass  # the first part did not describe itself

    def _write(self) -> None:
        try:
            data = json.dumps(self._description(), indent=1, ensure_ascii=False, default=str)
            storage.write_bytes(storage.join(self._folder, DESCRIPTION), data.encode("utf-8", "replace"))
            part = run_part([self._folder])
            storage.write_bytes(storage.join(self._folder, _REPORT), render(part.title, [part]))
        except Exception as error:  # a report must never end a training
            announce(f"{self._folder}/{_REPORT} is not written: {type(error).__name__}: {error}")

    def _description(self) -> dict[str, Any]:
        import torch

        installed = {name: _version(name) for name in _PACKAGES}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        counts = rows_per_epoch(self._config.train_loader.dataset, self._streams)
        seconds = dict(self._seconds)
        if self._evaluation is not None:  # they run among the callbacks
            seconds[_EVALUATIONS] = self._evaluation.cost.evaluation_sec
            seconds[_CALLBACKS] = max(0.0, seconds.get(_CALLBACKS, 0.0) - seconds[_EVALUATIONS])
        return {
            "run_name": self._config.run_name,
            "evaluations": self._evaluations(),
            "seconds": seconds,
            "streams": [
                {
                    "name": stream.name,
                    "corpus": stream.corpus,
                    "manifest": stream.manifest.number,
                    "rows_per_epoch": sum(rows),
                }
                for stream, rows in zip(self._streams, counts, strict=True)
            ],
            "versions": {
                **{name: version for name, version in installed.items() if version},
                "device": device,
                "ranks": dist.get_world_size(),
            },
            "config": self._config.model_dump(mode="json"),
        }

    def _evaluations(self) -> str | None:
        """Folder of the evaluations; relative to the metrics if both are local, so that both can be moved."""
        folder = self._evaluation and self._evaluation.output
        if not folder:
            return None
        folder = folder.replace("{run_name}", self._config.run_name)
        return os.path.relpath(folder, self._folder) if storage.is_local(folder) else folder


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
