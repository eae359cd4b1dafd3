"""Guard against loss and gradients that are not finite (NaN or infinite).

    forward, backward ─► loss and gradient norm finite on all ranks? ─► yes: step
                                                                   └─► no: stop, or skip the step

One NaN in a gradient makes every weight NaN at the next step. So the callback checks loss and gradients
before each step: one pass over the gradients, and one number reduced over the ranks, so that all ranks do the
same. A skipped step drops its gradients: weights and optimizer state stay, while clock and learning rate
advance. The callback checks the weights before each checkpoint and at the end, so that NaN never replaces a
good checkpoint.

With amp_fp16, Composer's gradient scaler handles infinite gradients; only the loss is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from composer.core import Callback, Event, State
from composer.loggers import Logger
from composer.utils import dist

from schemas.errors import TrainingError
from trainer.reporting.announce import announce

_SHOWN_ROWS = 8


class FiniteSteps(Callback):  # type: ignore[misc, unused-ignore]
    """Stop a run, or skip its step, when loss or gradients are not finite.

    Args:
        on_nan: `stop` or `skip`.
        max_skipped: Steps that may be skipped; one more stops the run.
        name_row: Names a row of a batch by its place in the corpus, given its number.

    Attributes:
        saver: Composer's checkpoint saver, if the run has one.
        num_skipped: Steps skipped since the run was started.
    """

    def __init__(self, on_nan: Literal["stop", "skip"], *, max_skipped: int, name_row: Callable[[int], str]):
        self.on_nan = on_nan
        self.max_skipped = max_skipped
        self.name_row = name_row
        self.saver: Any = None
        self.num_skipped = 0
        self._losses: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before_train_batch(self, state: State, logger: Logger) -> None:
        """Forget the microbatches of the last step, or of an attempt that ran out of memory."""
        self._losses = []

    def after_loss(self, state: State, logger: Logger) -> None:
        """Keep the loss of a microbatch on the GPU; reading it waits, and happens once a step."""
        self._losses.append((state.loss.detach().sum(), state.batch["rows"]))

    def after_train_batch(self, state: State, logger: Logger) -> None:
        """Check loss and gradients after all microbatches."""
        scaled = state.scaler is not None and state.scaler.is_enabled()
        gradients = (
            [] if scaled else [each.grad for each in state.model.parameters() if each.grad is not None]
        )
        losses = torch.stack([loss for loss, _ in self._losses])
        is_finite = (losses.isfinite().all() & _are_finite(gradients, losses.device)).int()
        dist.all_reduce(is_finite, reduce_operation="MIN")
        if is_finite.item():
            return
        found = self._describe(state)
        self.num_skipped += 1
        if self.on_nan == "stop":
            raise TrainingError(
                f"{found} The run stops before this step; checkpoints hold finite weights. Inspect these "
                "rows (`tutelage corpus show`), lower optimizer.lr, or set on_nan: skip."
            )
        if self.num_skipped > self.max_skipped:
            raise TrainingError(
                f"{found} {self.max_skipped} steps were skipped before it, the most that max_skipped_steps "
                "allows. Lower optimizer.lr, or raise max_skipped_steps."
            )
        announce(f"{found} The step is skipped ({self.num_skipped} of at most {self.max_skipped}).")
        for parameter in state.model.parameters():
            parameter.grad = None
        logger.log_metrics({"train/skipped_steps": self.num_skipped})

    def batch_checkpoint(self, state: State, logger: Logger) -> None:
        """Check the weights if they are saved now."""
        self._check_before_saving(state, Event.BATCH_CHECKPOINT)

    def epoch_checkpoint(self, state: State, logger: Logger) -> None:
        """Check the weights if they are saved now."""
        self._check_before_saving(state, Event.EPOCH_CHECKPOINT)

    def fit_end(self, state: State, logger: Logger) -> None:
        """Check the weights before they are exported."""
        self._check_weights(state)

    def _check_before_saving(self, state: State, event: Event) -> None:
        if self.saver is not None and self.saver.save_interval(state, event):
            self._check_weights(state)

    def _check_weights(self, state: State) -> None:
        weights = [each.detach() for each in state.model.parameters()]
        is_finite = _are_finite(weights, weights[0].device).int()
        dist.all_reduce(is_finite, reduce_operation="MIN")
        if not is_finite.item():
            raise TrainingError(
                f"after step {int(state.timestamp.batch)} the model's weights are not finite. They are not "
                "saved: the last checkpoint holds finite ones. Lower optimizer.lr and resume from there."
            )

    def _describe(self, state: State) -> str:
        """Name the value that is not finite, and its rows; a collective of all ranks."""
        bad = [int(row) for loss, rows in self._losses if not loss.isfinite() for row in rows.tolist()]
        of_loss = dist.all_gather_object(bad)
        of_step = dist.all_gather_object([int(row) for _, rows in self._losses for row in rows.tolist()])
        what, found = ("loss", of_loss) if any(of_loss) else ("gradient norm", of_step)
        numbers = sorted({row for rows in found for row in rows})
        named = ", ".join(map(self.name_row, numbers[:_SHOWN_ROWS]))
        more = f" and {len(numbers) - _SHOWN_ROWS} more" if len(numbers) > _SHOWN_ROWS else ""
        return f"step {int(state.timestamp.batch) + 1}: the {what} is not finite, in rows {named}{more}."


def _are_finite(tensors: Iterable[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Return a scalar: True if all numbers of the tensors, or of this rank's shards, are finite."""
    local = [each.to_local() if hasattr(each, "to_local") else each for each in tensors]
    local = [each for each in local if each.numel()]
    if not local:
        return torch.ones((), dtype=torch.bool, device=device)
    if local[0].device.type == "cpu":  # where the norm takes nine times as long as a sum
        found = [each.sum(dtype=torch.float32) for each in local]
    else:
        found = list(torch._foreach_norm(local, float("inf")))
    return torch.stack(found).isfinite().all().to(device)
