"""The checkpoint with the best score so far, beside the checkpoints of the training run itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from composer import Event, Logger, State
from composer.callbacks import CheckpointSaver


class BestCheckpoint:
    """Saves a whole checkpoint whenever a score beats all earlier ones, and deletes the previous best.

    `best-rank0.pt` in the folder is a link to it. The score before training is not a candidate for the best.

    Args:
        metric: The score's name, such as `MQP/accuracy` or `biomedicine/average`.
        folder: A local folder; `{run_name}` is filled in.
        lower_is_better: Whether a lower score is better.
    """

    def __init__(self, metric: str, folder: str, *, lower_is_better: bool = False):
        self.metric = metric
        self._sign = -1 if lower_is_better else 1
        self.score: float | None = None
        self._is_due = False
        self._saver = CheckpointSaver(
            folder=folder,
            filename="ba{batch}-rank{rank}.pt",
            remote_file_name=None,
            latest_filename="best-rank{rank}.pt",
            latest_remote_file_name=None,
            save_interval=lambda state, event: self._is_due,
            overwrite=True,
            num_checkpoints_to_keep=1,
        )

    def consider(self, scores: Mapping[str, float]) -> None:
        """Take the scores of an evaluation; the next checkpoint event saves a better one."""
        score = scores.get(self.metric)
        if score is not None and (self.score is None or self._sign * (score - self.score) > 0):
            self.score = score
            self._is_due = True

    def run_event(self, event: Event, state: State, logger: Logger) -> None:
        """Prepare the folder, and save at the event after an evaluation; the same on every rank."""
        if event == Event.INIT:
            self._saver.init(state, logger)
        elif event == Event.FIT_START:
            self._saver.fit_start(state, logger)
        elif event in (Event.BATCH_CHECKPOINT, Event.FIT_END) and self._is_due:
            self._saver.batch_checkpoint(state, logger)
            self._is_due = False

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run."""
        return {"score": self.score, "saved": [str(path) for path in self._saver.saved_checkpoints]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.score = state["score"]
        self._saver.saved_checkpoints = [path for path in state["saved"] if os.path.exists(path)]
