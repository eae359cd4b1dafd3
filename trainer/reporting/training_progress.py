"""Training progress for a person: steps, loss, speed, time left.

    step 120/600  loss 2.413  1,050 tok/s  MFU 41.2%  0:12:40 left

MFU is the share of the GPUs' peak that the model's own operations reach; it is left out if the peak is
unknown, as on a CPU. Speed and MFU are logged as metrics too, as means since the start, and the learning
rate of each step.

A terminal shows a bar; a log file gets the same line every few seconds, and with `--json` an event
(`plugins/progress.py`), with tokens, loss, tokens_per_sec and mfu. Rank 0 writes to stderr, so that stdout
stays free for the result.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping

from composer.core import Callback, State, TimeUnit
from composer.loggers import Logger
from composer.utils import dist

from plugins.progress import Progress
from trainer.reporting.announce import announce

_INTERVAL_SEC = 5.0
"""Time between lines if there is no bar."""


class ConsoleProgress(Callback):  # type: ignore[misc, unused-ignore]
    """Progress in one line. Callbacks such as domain_eval print their own results.

    Args:
        bar: Whether a terminal shows a bar.
        flops_per_token: Operations to train on a token.
        peak_flops: Operations a second that one GPU can do; None gives no MFU.
    """

    def __init__(self, *, bar: bool = True, flops_per_token: float = 0.0, peak_flops: float | None = None):
        self.bar = bar
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.started = self.stopped = time.monotonic()
        self.first_step = self.first_token = 0
        self.loss: float | None = None
        # The first line shows that training works.
        self._progress = Progress("train", unit="steps", first_sec=0, every_sec=_INTERVAL_SEC, live=bar)

    @property
    def seconds(self) -> float:
        """Return the duration of training, evaluation and checkpoints included."""
        return self.stopped - self.started

    def fit_start(self, state: State, logger: Logger) -> None:
        """Start the clock; a resumed run measures its speed from here."""
        self.started = self.stopped = time.monotonic()
        self.first_step = int(state.timestamp.batch)
        self.first_token = int(state.timestamp.token)
        if dist.get_global_rank() != 0:
            return
        if self.first_step:
            announce(f"going on after step {self.first_step:,}")

    def batch_start(self, state: State, logger: Logger) -> None:
        """Log the learning rate of the step: that of the optimizer's first group."""
        if dist.get_global_rank() == 0 and state.optimizers:
            logger.log_metrics({"train/learning_rate": state.optimizers[0].param_groups[0]["lr"]})

    def batch_end(self, state: State, logger: Logger) -> None:
        """Update the bar, or print a line when one is due."""
        self.stopped = time.monotonic()
        self.loss = state.total_loss_dict.get("loss/train/total", self.loss)
        if dist.get_global_rank() != 0:
            return
        logger.log_metrics({"train/tokens_per_sec": self._speed(state)})
        mfu = self._mfu(state)
        if mfu is not None:
            logger.log_metrics({"train/mfu": mfu})
        self._progress.total = _total_steps(state)
        fields = {
            "per_sec": round((int(state.timestamp.batch) - self.first_step) / self._elapsed(), 3),
            "left_sec": round(self._left_sec(state), 1),
            "tokens": int(state.timestamp.token),
            "loss": self.loss,
            "tokens_per_sec": round(self._speed(state), 1),
            "mfu": mfu,
        }
        self._progress.at(int(state.timestamp.batch), line=self._line(state), fields=fields)

    def fit_end(self, state: State, logger: Logger) -> None:
        """Stop the clock and remove the bar."""
        self.stopped = time.monotonic()
        self._progress.close()

    def close(self, state: State, logger: Logger) -> None:
        """Remove the bar after a failure too."""
        self._progress.close()

    def closing_line(self, state: State, places: Mapping[str, str], *, was_done: bool = False) -> str:
        """Return one line: steps of this process or an earlier one, and the places of the results."""
        loss = "none" if self.loss is None else f"{self.loss:.4f}"
        cost = "nothing is left to train" if was_done else f"{self.seconds:,.0f} s, last loss {loss}"
        return ", ".join(
            [
                f"done{' before this start' * was_done}: {int(state.timestamp.batch):,} steps",
                f"{int(state.timestamp.token):,} tokens",
                cost,
                *(f"{name} in {place}" for name, place in places.items()),
            ]
        )

    def _line(self, state: State) -> str:
        mfu = self._mfu(state)
        loss = float("nan") if self.loss is None else self.loss
        return (
            f"step {int(state.timestamp.batch):,}/{_total_steps(state):,}  loss {loss:.4f}  "
            f"{self._speed(state):,.0f} tok/s  {'' if mfu is None else f'MFU {mfu:.1%}  '}"
            f"{datetime.timedelta(seconds=round(self._left_sec(state)))} left"
        )

    def _elapsed(self) -> float:
        return max(1e-9, self.stopped - self.started)

    def _left_sec(self, state: State) -> float:
        step = int(state.timestamp.batch)
        return (_total_steps(state) - step) * self._elapsed() / max(1, step - self.first_step)

    def _speed(self, state: State) -> float:
        """Return tokens a second over all ranks since the start of this part of the run."""
        return (int(state.timestamp.token) - self.first_token) / self._elapsed()

    def _mfu(self, state: State) -> float | None:
        if not self.peak_flops:
            return None
        num_gpus: int = dist.get_world_size()
        return self._speed(state) * self.flops_per_token / (self.peak_flops * num_gpus)


def _total_steps(state: State) -> int:
    """Return the steps of the whole run, estimated from the share done or from the length of this epoch."""
    step = int(state.timestamp.batch)
    if state.max_duration is not None and state.max_duration.unit == TimeUnit.BATCH:
        return int(state.max_duration.value)
    if state.max_duration is not None and state.max_duration.unit == TimeUnit.EPOCH and state.dataloader_len:
        epochs_left = int(state.max_duration.value) - int(state.timestamp.epoch)  # this one included
        return max(step, step - int(state.timestamp.batch_in_epoch) + epochs_left * int(state.dataloader_len))
    elapsed = state.get_elapsed_duration()
    return max(step, round(step / min(1.0, float(elapsed)))) if elapsed else step
